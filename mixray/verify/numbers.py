"""Read numbers, and compare them exactly: most golds are numbers, and a pair decided here costs no process and risks no hang.

In: normal forms (`mixray.verify.normal`). Out: an `Opinion`, or None where one of them is no number of the kind. Pure.

Read are integers, decimals with thousands commas or repeating digits, fractions, mixed numbers, powers of ten, percentages, ratios, words
up to twenty; numbers with a base; times of day.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Literal, NamedTuple

ROUNDED_DIGITS = 6
_LARGEST_POWER = 300  # 10^300 is still a number; more is left to algebra, which refuses it

Judgement = Literal["right", "wrong", "unknown"]


class Opinion(NamedTuple):
    """What is thought of an answer, and why, in one word a report can count."""

    verdict: Judgement
    reason: str


class Number(NamedTuple):
    """A value, and the decimal places of one that may be rounded (None where it is exact)."""

    value: Fraction
    places: int | None = None
    percent: bool = False


_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d*)?"
_PLAIN = re.compile(rf"([+-]*)({_DECIMAL})(?:\\cdot 10\^(?:\{{(-?\d{{1,3}})\}}|(\d))|(?<=\d)[eE]([+-]?\d{{1,3}}))?", re.ASCII)
_TENS = re.compile(r"([+-]?)(\d{1,4})\^(?:\{(-?\d{1,3})\}|(\d))", re.ASCII)
_OVER = re.compile(rf"([+-]?)\(?([+-]?)(?:\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))\)?", re.ASCII)
_MIXED = re.compile(r"([+-]?)(\d+)(?: ?\\frac\{(\d+)\}\{(\d+)\}| (\d+)/(\d+))", re.ASCII)
_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\overline\{(\d+)\}", re.ASCII)
_RATIO = re.compile(rf"({_DECIMAL})(?::|\\text\{{to\}})({_DECIMAL})", re.ASCII)
TIMES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
"""What a number is multiplied by that has such a word behind it."""
_MULTIPLE = re.compile(rf"(.+?)(?: ?\\text\{{({'|'.join(TIMES)})s?\}}| ({'|'.join(TIMES)})s?)")
SMALL_NUMBERS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
_BASE = re.compile(
    r"(?:(?:\\text)?\{|\((?=[0-9A-Z]+\)))?([0-9A-Z]+)[)}]?"
    r"(?:_(?:\{(\d{1,2})\}|(\d)|(?:\\text)?\{(?:\\text\{)?([a-z]+)\}*)| ?(?:\\text\{base\}|base) ?(\d{1,2}))"
)
_CLOCK = re.compile(r"(\d{1,2})(?::(\d\d))?(?::(\d\d))? ?(?:\\text\{)?(?:([ap])\.?m\.?)?\}?", re.ASCII | re.IGNORECASE)
_HALF_DAY_SECONDS = 12 * 3600


def number(text: str) -> Number | None:
    """Read one number, or return None."""
    percent = text.endswith("%")
    bare = text.removesuffix("%").strip()
    found = _plain(bare) or _over(bare) or _mixed(bare) or _repeating(bare) or _power(bare) or _multiple(bare) or _word(bare)
    return found._replace(percent=percent) if found else None


def compare_numbers(gold: str, answer: str) -> Opinion | None:
    """Return whether two numbers are equal; a percent sign may be left out or carried out."""
    one = number(gold)
    other = number(answer) if one else None
    if one is None or other is None:
        return _compare_ratios(gold, answer)
    scales = [Fraction(1)]
    if one.percent != other.percent:
        scales.append(Fraction(1, 100) if one.percent else Fraction(100))
    if any(_agree(one._replace(value=one.value * scale), other) for scale in scales):
        return Opinion("right", "same_number")
    if "," in gold and sorted(gold.split(",")) == sorted(answer.split(",")):
        return Opinion("unknown", "thousands_or_list")
    return Opinion("wrong", "different_number")


def compare_bases(gold: str, answer: str) -> Opinion | None:
    """Return whether two numbers written with a base, such as 52_8, are the same; None where neither has a base."""
    one, other = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if (not one and not other) or any(not match and "=" in text for match, text in ((one, gold), (other, answer))):
        return None
    values = [_based(gold, one), _based(answer, other)]
    if None in values:
        return Opinion("unknown", "base_on_one_side") if any(match and _based("", match) is not None for match in (one, other)) else None
    if one and other and values[0] == values[1]:
        return Opinion("right", "same_number") if _base(one) == _base(other) else Opinion("unknown", "different_bases")
    digits = [match[1] if match else text for match, text in ((one, gold), (other, answer))]
    if values[0] == values[1] or (digits[0] == digits[1] and not (one and other)):
        return Opinion("unknown", "base_on_one_side")
    return Opinion("wrong", "different_number")


def compare_times(gold: str, answer: str) -> Opinion | None:
    """Return whether two times of day are the same; None where neither says a.m. or p.m., since it may be a ratio."""
    one, other = _CLOCK.fullmatch(gold), _CLOCK.fullmatch(answer)
    if not one or not other or not (one[4] or other[4]):
        return None
    seconds = [_seconds(*clock.groups()) for clock in (one, other)]
    if seconds[0] == seconds[1] and all(clock[2] or clock[4] for clock in (one, other)):
        return Opinion("right", "same_time")
    unclear = not (one[4] and other[4]) and (seconds[0] - seconds[1]) % _HALF_DAY_SECONDS == 0
    return Opinion("unknown", "half_of_day_on_one_side") if unclear else Opinion("wrong", "different_time")


def rounds_to(stated: Number, exact: Any) -> bool:
    """Return whether a decimal of six or more digits is what `exact` rounds to, or is cut to; `exact` is any rational number."""
    if stated.places is None or (exact < 0) != (stated.value < 0):
        return False
    scaled = abs(exact) * 10**stated.places
    return int(abs(stated.value) * 10**stated.places) in (int(scaled), int(scaled + Fraction(1, 2)))


def _agree(one: Number, other: Number) -> bool:
    """Return whether two numbers are equal, or one is what the other, stated more exactly, rounds to."""
    if one.value == other.value:
        return True
    exact = [side.places is None for side in (one, other)]
    if all(exact):
        return False
    if any(exact):
        return rounds_to(other, one.value) if exact[0] else rounds_to(one, other.value)
    finer, coarser = sorted((one, other), key=lambda side: side.places or 0, reverse=True)
    return finer.places != coarser.places and rounds_to(coarser, finer.value)


def _plain(text: str) -> Number | None:
    in_brackets = text[:1] == "(" and text[-1:] == ")"
    match = _PLAIN.fullmatch(text[1:-1] if in_brackets else text)
    if in_brackets and "," in text:
        return None  # (1,234) is a point
    if not match or not match[2].strip(",."):
        return None
    power = int(match[3] or match[4] or match[5] or 0)
    value = _decimal(match[2])
    sign = -1 if match[1].count("-") % 2 else 1
    return None if abs(power) > _LARGEST_POWER else Number(sign * value.value * Fraction(10) ** power, None if power else value.places)


def _decimal(text: str) -> Number:
    whole, _, part = text.replace(",", "").partition(".")
    rounded = bool(part.strip("0")) and len((whole + part).lstrip("0")) >= ROUNDED_DIGITS
    return Number(Fraction(int(whole + part or "0"), 10 ** len(part)), len(part) if rounded else None)


def _over(text: str) -> Number | None:
    match = _OVER.fullmatch(text)
    if not match or text.count("(") != text.count(")"):
        return None
    over, under = (part for part in match.groups()[2:] if part is not None)
    if not over.strip("+-.,") or not under.strip("+-.,"):
        return None
    sign = -1 if (match[1] + match[2] + over + under).count("-") % 2 else 1
    values = [_decimal(part.lstrip("+-")).value for part in (over, under)]
    return Number(sign * values[0] / values[1]) if values[1] else None


def _mixed(text: str) -> Number | None:
    match = _MIXED.fullmatch(text)
    if not match:
        return None
    over, under = (int(part) for part in match.groups()[2:] if part is not None)
    return Number((-1 if match[1] == "-" else 1) * (int(match[2]) + Fraction(over, under))) if over < under else None


def _repeating(text: str) -> Number | None:
    match = _REPEATING.fullmatch(text)
    if not match:
        return None
    value = Fraction(int((match[2] + match[3]) or "0"), 10 ** len(match[3])) + Fraction(
        int(match[4]), (10 ** len(match[4]) - 1) * 10 ** len(match[3])
    )
    return Number(-value if match[1] == "-" else value)


def _power(text: str) -> Number | None:
    match = _TENS.fullmatch(text)
    if not match:
        return None
    base, power = int(match[2]), int(match[3] or match[4])
    if abs(power) > _LARGEST_POWER or not base:
        return None
    return Number((-1 if match[1] == "-" else 1) * Fraction(base) ** power)


def _multiple(text: str) -> Number | None:
    match = _MULTIPLE.fullmatch(text)
    found = _plain(match[1]) if match else None
    return found._replace(value=found.value * TIMES[match[2] or match[3]], places=None) if match and found else None


def _word(text: str) -> Number | None:
    return Number(Fraction(SMALL_NUMBERS.index(text.lower()))) if text.lower() in SMALL_NUMBERS else None


def _compare_ratios(gold: str, answer: str) -> Opinion | None:
    ratios = [_RATIO.fullmatch(text) for text in (gold, answer)]
    if not any(ratios):
        return None
    values = []
    for text, ratio in zip((gold, answer), ratios, strict=True):
        found = _over(f"{ratio[1]}/{ratio[2]}") if ratio else number(text)
        if found is None:
            return None
        values.append(found.value)
    return Opinion("right", "same_number") if values[0] == values[1] else Opinion("wrong", "different_number")


def _base(match: re.Match[str]) -> int:
    word = match[4]
    return SMALL_NUMBERS.index(word) if word in SMALL_NUMBERS else int(match[2] or match[3] or match[5] or 0)


def _based(text: str, match: re.Match[str] | None) -> int | None:
    """Return the value of a number with a base, of a bare one as a decimal; None where it is no whole number."""
    if match is None:
        found = number(text)
        return int(found.value) if found and found.value.denominator == 1 else None
    base = _base(match)
    digits = [int(sign, 36) for sign in match[1]]
    if not 2 <= base <= 36 or max(digits) >= base:
        return None
    return int(match[1], base)


def _seconds(hour: str, minute: str | None, second: str | None, half: str | None) -> int:
    hours = int(hour) if half is None else int(hour) % 12 + 12 * (half.lower() == "p")
    return hours * 3600 + int(minute or 0) * 60 + int(second or 0)
