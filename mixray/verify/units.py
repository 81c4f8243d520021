"""Take the unit off an answer, and tell whether two units are the same.

In: normal forms (`mixray.verify.normal`). Out: the value without its unit, and the unit in one spelling. Nothing is converted: 5 m and
500 cm may well be equal, but who was asked for metres should be told metres, so nobody can tell.
"""

from __future__ import annotations

import re

from mixray.verify.numbers import SMALL_NUMBERS, TIMES

_SPELLINGS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "dm": "decimeter decimetre", "m": "meter metre",
    "km": "kilometer kilometre", "in": "inch inches", "ft": "foot feet", "yd": "yard", "mi": "mile", "mg": "milligram", "g": "gram gm",
    "kg": "kilogram", "lb": "pound lbs", "oz": "ounce", "t": "ton tonne", "ml": "milliliter millilitre", "l": "liter litre",
    "gal": "gallon", "s": "sec second", "min": "minute", "h": "hr hour", "day": "days", "week": "weeks", "month": "months",
    "yr": "year", "hz": "hertz", "n": "newton", "j": "joule", "kj": "kilojoule", "w": "watt", "kw": "kilowatt", "v": "volt",
    "a": "ampere amp", "ohm": "", "pa": "pascal", "kpa": "kilopascal", "k": "kelvin", "°": "degree deg", "rad": "radian",
    "¤": "dollar usd", "cent": "", "€": "euro", "£": "gbp", "unit": "", "mol": "mole", "acre": "", "sq": "square", "cu": "cubic",
    "point": "",
}  # fmt: skip
_KNOWN = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in (unit, *spellings.split())}
_SPEEDS = {"mph": "mi per h", "kmh": "km per h", "kph": "km per h"}
_ENDING = re.compile(
    r"(?P<value>.*?[^\\ ]) ?(?P<unit>\\text\{[^{}]*\}(?:\^\d)?(?:/(?:\\text\{[^{}]*\}|[a-z]+)(?:\^\d)?)?|[°¤€£](?:(?:\\text\{)?[CF]\}?)?"
    r"|(?<![a-zA-Z\\])(?P<word>[a-zA-Z]{2,}(?:[ /][a-zA-Z]+)*|m/s|(?<=\d )[mgshlLNJWV]|(?<=\d)[mgshlLNJWV])(?:\^\d)?)",
    re.DOTALL,
)
_FRACTION = re.compile(r"\\frac\{(?P<over>\\text\{[a-zA-Z. ]+\}|[a-zA-Z])\}\{(?P<under>\\text\{[a-zA-Z. ]+\}|[a-zA-Z])\}")
_RATE = re.compile(r"(?P<value>.*\d)/(?P<unit>[a-zA-Z]{2,})", re.DOTALL)
_NUMERAL = re.compile(r"[\d.,/ ]+|\\frac\{\d+\}\{\d+\}")
_MONEY = re.compile(r"(?P<sign>-?)(?P<currency>[¤€£])(?P<value>.+)", re.DOTALL)
UNSURE = "?"
"""Begins a unit of one bare letter, as in 5 m, which may be an unknown instead."""
_POWER = re.compile(r"\^\{?(\d)\}?")


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text with blanks between."""
    return frozenset(text.split())


FRACTIONS = words_of("half halve third fourth fifth sixth seventh eighth ninth tenth hundredth thousandth millionth")
_DENYING = words_of("no not never none neither nor non without except wrong false incorrect cannot impossible but instead rather")
_COMPARING = words_of(
    "than least most maximum minimum up about approximately approx roughly nearly almost around over under above below between or beyond "
    "exceeding within past too"
)
_COUNTING = words_of(
    "dozen gross quarter percent percentage pct twice double triple squared cubed factorial plus minus negative mod modulo "
    "base infinity thirty forty fifty sixty seventy eighty ninety"
)
CHANGING = {
    *FRACTIONS, *_DENYING, *_COMPARING, *_COUNTING, *TIMES, *SMALL_NUMBERS, "first", "if", "unless", "assuming", "noon", "midnight", "am",
    "pm",
}  # fmt: skip
"""Words that count, order, deny or compare: beside a number they may make another of it."""
_NO_UNITS = CHANGING | words_of("a an the and when where more less to is are for all any each every only times of")
_SQUARES = {"sq": "2", "square": "2", "squared": "2", "cu": "3", "cubic": "3"}


def split_unit(text: str) -> tuple[str, str]:
    """Return the value and its unit in one spelling; the unit is empty where there is none."""
    money = _MONEY.fullmatch(text)
    if money:
        amount = money["sign"] + money["value"].strip()
        value, per = split_unit(amount)
        return (value, money["currency"] + per) if per.startswith(" per ") else (amount, money["currency"])
    rate = _RATE.fullmatch(text)
    if rate and _known(rate["unit"].lower()):
        return rate["value"], _one_spelling(f"/{rate['unit']}")
    match = _ENDING.fullmatch(_FRACTION.sub(_with_slash, text))
    if not match or match["value"][-1] in "=+-*/^_(<>,;:{" or (match["word"] and not _is_unit(match["value"], match["word"].lower())):
        return text, ""
    unit = _one_spelling(match["unit"])
    if match["word"] and len(match["word"]) == 1:
        unit = f"{UNSURE}{unit}"
    return (match["value"], unit) if unit else (text, "")


def same_unit(one: str, other: str) -> bool:
    """Return whether two units are the same, or one only says more of it: `apples` and `red apples`."""
    first, second = set(one.split()), set(other.split())
    return one == other or (not (first | second) & {*_SPELLINGS, "per"} and (first <= second or second <= first))


def _with_slash(match: re.Match[str]) -> str:
    """Return a fraction of units in one line; a fraction of two bare letters is one of unknowns."""
    parts = match["over"] + match["under"]
    return f"\\text{{{_bare(match['over'])}/{_bare(match['under'])}}}" if "\\text" in parts else match[0]


def _bare(unit: str) -> str:
    return unit.removeprefix("\\text{").removesuffix("}")


def known_unit(word: str) -> str | None:
    """Return the one spelling of a unit's name, or None where it is none that is known."""
    return _KNOWN.get(word) or _KNOWN.get(word.removesuffix("s"))


def _is_unit(value: str, words: str) -> bool:
    """Return whether bare words, which may also be a product of unknowns, are a unit."""
    parts = re.split("[ /]", words)
    return all(map(_known, parts)) or bool(_NUMERAL.fullmatch(value) and all(len(part) > 3 or _known(part) for part in parts))


def _known(word: str) -> bool:
    return word in _KNOWN or word.removesuffix("s") in _KNOWN or word in _SPEEDS or word == "per"


def _one_spelling(unit: str) -> str:
    """Return a unit in one spelling: `square inches` and `in^2` are `in^2`, `m/s` is `m per s`; empty where the words are no unit."""
    for speed, spelled in _SPEEDS.items():
        unit = re.sub(rf"\b{speed}\b", spelled, unit.lower())
    bare = _POWER.sub(r"^\1", unit.replace("\\text", " ").replace("{", " ").replace("}", " ")).replace("/", " per ")
    tokens = [token for token in re.split(r"[ .()\\-]+", re.sub("[°¤€£]", r"\g<0> ", bare.lower().replace(" ^", "^"))) if token]
    words = [token.partition("^")[0] for token in tokens]
    if not words or words in (["a", "m"], ["p", "m"]) or not all(map(_may_be_unit, words)):
        return ""
    over, under = _sides(tokens)
    return " ".join(sorted(over)) + (f" per {' '.join(sorted(under))}" if under else "")


def _may_be_unit(word: str) -> bool:
    is_no_unit = (word in _NO_UNITS or word.removesuffix("s") in _NO_UNITS) and not _known(word)
    return bool(re.fullmatch(r"[a-z']+|[°¤€£]", word)) and not word.endswith("n't") and (not is_no_unit or word in _SQUARES)


def _sides(tokens: list[str]) -> tuple[list[str], list[str]]:
    """Return the units above and below `per`, each with its power, whichever word says it."""
    sides: tuple[list[str], list[str]] = ([], [])
    at, waiting = 0, ""
    for token in tokens:
        word, _, power = token.partition("^")
        if word == "per":
            at, waiting = 1, ""
        elif word == "squared" and sides[at]:
            sides[at][-1] += "^2"
        elif word in _SQUARES:
            waiting = _SQUARES[word]
        else:
            name = known_unit(word) or word.removesuffix("s")
            power, waiting = power or waiting, ""
            sides[at].append(f"{name}^{power}" if power not in ("", "1") else name)
    return sides
