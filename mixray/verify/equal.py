"""Decide what needs no algebra: the same text, or two numbers.

In: a gold and an answer. Out: an `Opinion`, or None where the two must be compared as expressions (`mixray.verify.symbolic`).
Pure and quick: most golds are integers, and every pair decided here costs no process and risks no hang.

The policy, where mathematics alone does not decide:
  * Numbers are exact: 27.0 is 27, 025 is 25, 10,000 is 10000, 1/2 is 0.5; 0.333 is not 1/3. Only where a decimal states six or more
    significant digits is it taken as rounded: 0.333333 is 1/3.
  * A percent sign may be left out or carried out: 10% is 10 and 0.1. Without a sign, 75 is not 0.75.
  * Degrees, dollar signs and a final full stop are dressing. Other units are left to Math-Verify.
  * A number with a base, 52_8, equals the same digits in the same base; where only one side states the base, nobody can tell.
  * 8:34 p.m. is 20:34; 8:34 alone could be either.
  * Words are compared without regard to case; single letters with it, since `a` and `A` may be two unknowns.
  * More than `MAX_CHARACTERS` are never compared as expressions: algebra on babble takes minutes and changes next to no verdict.
"""

from __future__ import annotations

import importlib.metadata
import re
from fractions import Fraction
from typing import Literal, NamedTuple

POLICY = f"1+math-verify {importlib.metadata.version('math-verify')}"
"""The version of what counts as equal; it belongs in the hash of whatever holds verdicts. Raise it with every change of a verdict."""

MAX_CHARACTERS = 300
ROUNDED_DIGITS = 6

Judgement = Literal["right", "wrong", "unknown"]


class Opinion(NamedTuple):
    """What is thought of an answer, and why, in one word a report can count."""

    verdict: Judgement
    reason: str


_SWAPS = (
    ("−", "-"), ("–", "-"), ("π", r"\pi"), ("°", r"^\circ"), ("×", r"\times"), ("·", r"\cdot"), ("√", r"\sqrt"), ("∞", r"\infty"),
    (r"\dfrac", r"\frac"), (r"\tfrac", r"\frac"), (r"\left", ""), (r"\right", ""), (r"\!", ""), (r"\,", " "), (r"\;", " "), (r"\:", " "),
    (r"\ ", " "), ("~", " "), ("{,}", ","), (r"^{\circ}", ""), (r"^\circ", ""), (r"\degree", ""), (r"\%", "%"), (r"\$", ""), ("$", ""),
)  # fmt: skip
_WRAPPED = re.compile(r"(?:\\(?:text|textnormal|textbf|textit|mathrm|mathbf|mbox)\s*)?\{([^{}]*)\}")
_SPACE = re.compile(r"\s+")
_LOOSE_SPACE = re.compile(r"(?<![a-zA-Z0-9]) | (?![a-zA-Z0-9])")
_PI = re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])")
_CHOICE = re.compile(r"\(([A-Z])\)")
_WORDS = re.compile(r"[a-zA-Z][a-zA-Z' -]{2,}")  # shorter ones may be products: xy is yx
_DECIMAL = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d*))?", re.ASCII)
_FRACTION = re.compile(r"([+-]?)(?:\\frac\{(-?\d+)\}\{(-?\d+)\}|\\frac(\d)(\d)|(\d+)/(\d+))", re.ASCII)
_BASE = re.compile(r"([0-9A-Z]+)_\{?(\d{1,2})\}?", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d) ?(?:([ap])\.?m\.?)?", re.ASCII | re.IGNORECASE)


def compare_quickly(gold: str, answer: str) -> Opinion | None:
    """Return what can be said of `answer` without algebra, or None."""
    one, other = normal_form(gold), normal_form(answer)
    if not one:
        return Opinion("unknown", "no_gold")
    if one == other:
        return Opinion("right", "same")
    if max(len(one), len(other)) > MAX_CHARACTERS:
        return Opinion("unknown", "too_long")
    if not other:
        return Opinion("unknown", "no_answer")
    return _as_numbers(one, other) or _with_base(one, other) or _as_times(one, other) or _as_words(one, other)


def normal_form(text: str) -> str:
    """Return `text` without what never changes a meaning: dressing, spacing commands, the many ways to write one sign."""
    for old, new in _SWAPS:
        text = text.replace(old, new)
    text = _PI.sub(r"\\pi", text.strip().removeprefix(r"\(").removesuffix(r"\)").removeprefix(r"\[").removesuffix(r"\]"))
    whole = _WRAPPED.fullmatch(text.strip())
    text = _SPACE.sub(" ", whole.group(1) if whole else text).strip().removesuffix(".")
    text = _LOOSE_SPACE.sub("", text)
    choice = _CHOICE.fullmatch(text)
    return choice.group(1) if choice else text


def number(text: str) -> tuple[Fraction, int] | None:
    """Read a plain integer, decimal or fraction; with it the significant digits a decimal states (0 where the value is exact)."""
    fraction = _FRACTION.fullmatch(text)
    if fraction:
        over, under = (int(part) for part in fraction.groups()[1:] if part is not None)
        return (Fraction(over, under) * (-1 if fraction[1] == "-" else 1), 0) if under else None
    decimal = _DECIMAL.fullmatch(text)
    if not decimal or not (decimal[2] or decimal[3]):
        return None
    whole, part = decimal[2].replace(",", ""), decimal[3] or ""
    value = Fraction(int(whole + part or "0"), 10 ** len(part))
    return (-value if decimal[1] == "-" else value), len((whole + part).lstrip("0")) if part.strip("0") else 0


def _as_numbers(gold: str, answer: str) -> Opinion | None:
    one, other = number(gold.removesuffix("%").strip()), number(answer.removesuffix("%").strip())
    if one is None or other is None:
        return None
    scales = [Fraction(1)]
    if gold.endswith("%") and not answer.endswith("%"):
        scales.append(Fraction(1, 100))
    elif answer.endswith("%") and not gold.endswith("%"):
        scales.append(Fraction(100))
    agrees = any(_agree(one[0] * scale, one[1], *other) for scale in scales)
    return Opinion("right", "same_number") if agrees else Opinion("wrong", "different_number")


def _agree(one: Fraction, one_digits: int, other: Fraction, other_digits: int) -> bool:
    if one == other:
        return True
    stated = [digits for digits in (one_digits, other_digits) if digits]
    if not stated or min(stated) < ROUNDED_DIGITS:
        return False
    return abs(one - other) <= max(abs(one), abs(other)) / 10**ROUNDED_DIGITS


def _with_base(gold: str, answer: str) -> Opinion | None:
    one, other = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if one and other:
        return Opinion("right", "same_number") if one.groups() == other.groups() else Opinion("wrong", "different_number")
    stated, bare = (one, answer) if one else (other, gold)
    if not stated or not re.fullmatch(r"[0-9A-Z]+", bare):
        return None
    return Opinion("unknown", "base_on_one_side") if stated[1] == bare else Opinion("wrong", "different_number")


def _as_times(gold: str, answer: str) -> Opinion | None:
    one, other = _CLOCK.fullmatch(gold), _CLOCK.fullmatch(answer)
    if not one or not other or not (one[3] or other[3]):
        return None  # without a.m. or p.m. on either side it may be a ratio
    minutes = [_minutes(*clock.groups()) for clock in (one, other)]
    if minutes[0] == minutes[1]:
        return Opinion("right", "same_time")
    unclear = not (one[3] and other[3]) and (minutes[0] - minutes[1]) % 720 == 0
    return Opinion("unknown", "half_of_day_on_one_side") if unclear else Opinion("wrong", "different_time")


def _minutes(hour: str, minute: str, half: str | None) -> int:
    hours = int(hour) if half is None else int(hour) % 12 + 12 * (half.lower() == "p")
    return hours * 60 + int(minute)


def _as_words(gold: str, answer: str) -> Opinion | None:
    one, other = (_WRAPPED.sub(r"\1", text) for text in (gold, answer))
    if not _WORDS.fullmatch(one):
        return None
    if one.casefold() == other.casefold():
        return Opinion("right", "same")
    return Opinion("wrong", "different_words") if _WORDS.fullmatch(other) and len(one) > 3 else None
