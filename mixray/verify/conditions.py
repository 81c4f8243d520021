"""Read conditions on one unknown as the intervals they describe: `x<-1 or x>1`, `1>x>-1`, `|x|<1`.

In: normal forms (`mixray.verify.normal`), and what compares two intervals. Out: an `Opinion`, or None where neither side is read. Pure.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from mixray.verify.numbers import Opinion, number
from mixray.verify.structure import LATER, Compare, split

_OR, _AND = "\\text{or}", "\\text{and}"
_SIGN = re.compile(r"\\(?:le|ge)(?![a-zA-Z])\s?|[<>]")
_NAME = re.compile(r"(?!\\(?:pi|infty)$)(?:[a-zA-Z]|\\[a-z]+)(?:_\w)?")
_LETTER = re.compile("[a-zA-Z]")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_NOWHERE = "\\infty"


class _Interval(NamedTuple):
    """From `low` to `high`, each None where there is no end, and whether the ends belong to it."""

    low: str | None
    high: str | None
    low_closed: bool = False
    high_closed: bool = False


def compare_conditions(gold: str, answer: str, again: Compare) -> Opinion | None:
    """Compare two conditions, or one with what it describes, as intervals; None where neither side is a condition that can be read so."""
    if not _SIGN.search(gold) and not _SIGN.search(answer):
        return None
    sides = [_Condition.read(text) for text in (gold, answer)]
    if all(side is None for side in sides):
        return _joined(gold, answer, again)
    texts = [side.text if side else text for side, text in zip(sides, (gold, answer), strict=True)]
    opinion = again(*texts)
    names = {side.name for side in sides if side} | {
        name for side, text in zip(sides, texts, strict=True) if not side for name in _free(text)
    }
    if opinion.verdict != "right":
        joined = any(side is None and _joins(text) for side, text in zip(sides, texts, strict=True))
        return Opinion("unknown", "unclear_condition") if joined and opinion is not LATER else opinion
    return Opinion("right", "equivalent") if len(names) == 1 else Opinion("unknown", "different_names")


class _Condition(NamedTuple):
    """The unknown of a condition, in small letters, and the intervals it may be in."""

    name: str
    intervals: tuple[_Interval, ...]

    @property
    def text(self) -> str:
        """The intervals as one would write them."""
        return "\\cup ".join(map(_written, self.intervals)) or "\\emptyset"

    @classmethod
    def read(cls, text: str) -> _Condition | None:
        """Read a condition, or return None."""
        found: list[_Interval] = []
        names = set()
        for option in text.split(_OR):
            parts = [_read(part) for part in option.split(_AND)]
            if any(part is None for part in parts):
                return None
            names |= {name for name, _ in filter(None, parts)}
            both = _both([intervals for _, intervals in filter(None, parts)])
            if both is None:
                return None
            found += both
        return cls(names.pop(), tuple(found)) if len(names) == 1 else None


def _joins(text: str) -> bool:
    return _OR in text or _AND in text or (bool(_SIGN.search(text)) and len(split(text, ",;")) > 1)


def _joined(gold: str, answer: str, again: Compare) -> Opinion | None:
    """Compare conditions that are not read, where a word joins them: the same ones joined by the same word are the same."""
    if not any(word in text for word in (_OR, _AND) for text in (gold, answer)):
        joined = _joins(gold)
        unclear = joined != _joins(answer) and re.search(r"[<>(\[]|\\(?:le|ge|cup)", answer if joined else gold)
        return Opinion("unknown", "unclear_condition") if unclear else None  # a comma says neither `or` nor `and`
    for word in (_OR, _AND):
        one, other = gold.split(word), answer.split(word)
        if len(one) == len(other) > 1:
            opinions = [[again(first, second) for second in other] for first in one]
            if any(opinion is LATER for row in opinions for opinion in row):
                return LATER
            each = [{place for place, opinion in enumerate(row) if opinion.verdict == "right"} for row in opinions]
            if all(each) and len(set.union(*each)) == len(other):
                return Opinion("right", "same_elements")
    return Opinion("unknown", "unclear_condition")


def _read(text: str) -> tuple[str, tuple[_Interval, ...]] | None:
    """Return the unknown of one inequality, or of a chain, and its intervals."""
    signs, sides = [match[0].strip() for match in _SIGN.finditer(text)], [side.strip() for side in _SIGN.split(text)]
    if len(signs) not in (1, 2) or not all(sides):
        return None
    if signs[0] in (">", "\\ge"):
        signs, sides = [{">": "<", "\\ge": "\\le"}.get(sign, ">") for sign in reversed(signs)], sides[::-1]
    if any(sign not in ("<", "\\le") for sign in signs):
        return None
    at = next((place for place, side in enumerate(sides) if _unknown(side)), None)
    if at is None or (len(sides) == 3 and at != 1) or any(_free(side) or not _is_end(side) for side in sides if side != sides[at]):
        return None
    name = _unknown(sides[at]) or ""
    low, high = (sides[at - 1] if at else None), (sides[at + 1] if at + 1 < len(sides) else None)
    interval = _Interval(_end(low), _end(high), bool(low) and signs[at - 1] == "\\le", bool(high) and signs[-1] == "\\le")
    if "|" not in sides[at]:
        return name, (interval,)
    return _of_size(name, interval)


def _of_size(name: str, size: _Interval) -> tuple[str, tuple[_Interval, ...]] | None:
    """Return the intervals of `|x|<2` or `|x|>2`."""
    end = size.low if size.high is None else size.high
    value = number(end) if end else None
    if end is None or (size.low and size.high) or value is None or value.value <= 0:
        return None
    if size.high:
        return name, (_Interval(f"-{end}", end, size.high_closed, size.high_closed),)
    return name, (_Interval(None, f"-{end}", False, size.low_closed), _Interval(end, None, size.low_closed))


def _unknown(side: str) -> str | None:
    bare = side[1:-1] if len(side) > 2 and side[0] == side[-1] == "|" else side
    return bare.lower() if _NAME.fullmatch(bare) else None


def _free(text: str) -> set[str]:
    """Return the letters of a text that stand for unknowns."""
    return {letter.lower() for letter in _LETTER.findall(_COMMAND.sub("", text))}


def _is_end(side: str) -> bool:
    return not re.search(r"[=,;|%°]|\\(?:in|ne|text|cup|cap|mid)(?![a-zA-Z])", side)


def _end(side: str | None) -> str | None:
    return None if side in (None, _NOWHERE, f"-{_NOWHERE}", f"+{_NOWHERE}") else side


def _both(parts: list[tuple[_Interval, ...]]) -> tuple[_Interval, ...] | None:
    """Return what several conditions leave that hold at once; None where that cannot be told."""
    if len(parts) == 1:
        return parts[0]
    if any(len(part) != 1 for part in parts):
        return None
    intervals = [part[0] for part in parts]
    lows = [(each.low, each.low_closed) for each in intervals if each.low is not None]
    highs = [(each.high, each.high_closed) for each in intervals if each.high is not None]
    low, high = _tightest(lows, 1), _tightest(highs, -1)
    if low is None or high is None:
        return None
    bounds = [number(end) for end in (low[0], high[0]) if end is not None]
    if len(bounds) == 2:
        first, last = bounds
        if first is None or last is None:
            return None  # which of them is larger is left to nobody's guess
        if first.value > last.value or (first.value == last.value and not (low[1] and high[1])):
            return ()
    return (_Interval(low[0], high[0], low[1], high[1]),)


def _tightest(ends: list[tuple[str, bool]], sign: int) -> tuple[str | None, bool] | None:
    """Return the end that rules out most, which only numbers tell; None where that is unclear."""
    if len(ends) < 2:
        return ends[0] if ends else (None, False)
    values: list[tuple[Fraction, bool, str]] = []
    for text, closed in ends:
        value = number(text)
        if value is None:
            return None
        values.append((sign * value.value, not closed, text))
    _, is_open, text = max(values)
    return text, not is_open


def _written(interval: _Interval) -> str:
    low, high = interval.low or f"-{_NOWHERE}", interval.high or _NOWHERE
    return f"{'[' if interval.low_closed else '('}{low};{high}{']' if interval.high_closed else ')'}"
