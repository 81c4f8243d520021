"""Take an answer apart: lists, tuples, sets, intervals, matrices, unions, named values.

In: normal forms (`mixray.verify.normal`), and what compares two elements. Out: an `Opinion`, `LATER` where it hangs on elements that need
algebra, or None where neither side has parts. Pure.

Lists and sets have no order; tuples, intervals and matrices do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from mixray.verify.guard import MAX_CHARACTERS
from mixray.verify.numbers import Opinion, compare_numbers, number

Compare = Callable[[str, str], Opinion]

LATER = Opinion("unknown", "needs_algebra")
"""Stands for an opinion that nobody can have without algebra; no verdict ever holds it."""

_OPENING, _CLOSING = "([{", ")]}"
_HALF_OPEN = ("[)", "(]")
_SUREST = ("right", "unknown", "wrong")
_RELATIONS = re.compile(r"[<>]|\\(?:le|ge|ne|in|notin|subset|equiv|mid)(?![a-zA-Z])|\|.*:|\\\{.*[|:]")
_NAME = re.compile(
    r"(?:[a-zA-Z]|\\[a-zA-Z]+(?:\{[^{}]*\})?|\\angle [A-Z ]+)(?:_(?:\w|\{[^{}]*\}))?'?(?:\([a-z](?:[,;][a-z])*\))?"
    r"|\\text\{[^{}]*\}|[A-Za-z ]{4,}|\([a-z](?:[,;][a-z])+\)"
)
_SCALED = re.compile(r"(?P<scalar>-|.*?[\d}])(?:\\cdot ?)?(?P<of>\\begin\{pmatrix\}.*\\end\{pmatrix\}|\(.*[,;].*\))", re.DOTALL)
_MATRIX = re.compile(r"\(?\\begin\{(pmatrix|vmatrix)\}((?:(?!\\end).)*)\\end\{\1\}\)?", re.DOTALL)
_SIGNED = re.compile(r"\\pm ?|\\mp ?")


class Parts(NamedTuple):
    """What an answer is made of; `kind` is list, set, matrix, union, or the two brackets of a tuple or an interval."""

    kind: str
    elements: tuple[str, ...]

    @property
    def ordered(self) -> bool:
        """Whether the elements have an order."""
        return self.kind not in ("list", "set", "union")


def compare_parts(gold: str, answer: str, compare: Compare) -> Opinion | None:
    """Return the opinion on two answers of which at least one has parts."""
    if _RELATIONS.search(gold) or _RELATIONS.search(answer):
        return None  # inequalities joined by commas are one condition, not a list
    one, other = take_apart(gold), take_apart(answer)
    if one is None and other is None:
        return None
    if any(side is None and "\\begin{" in text for side, text in ((one, gold), (other, answer))):
        return None  # a matrix within an expression
    for point, of in ((one, other), (other, one)):
        if point and of and point.kind == "()" and of.kind == "set" and len(of.elements) == 1:
            return compare(gold, of.elements[0]) if of is other else compare(of.elements[0], answer)
    if (one is None or other is None) and _may_be_set(one or other, answer if one else gold):
        return None
    one, other = one or Parts("list", (gold,)), other or Parts("list", (answer,))
    kinds = {one.kind, other.kind}
    if "union" in kinds or kinds & {"matrix", "row", "column"}:
        return _of_a_kind(one, other, compare)
    if one.ordered and other.ordered:
        opinion = _in_order(one.elements, other.elements, compare)
        return Opinion("wrong", "different_ends") if opinion and opinion.verdict == "right" and one.kind != other.kind else opinion
    if one.ordered or _named_apart(one) != _named_apart(other):
        opinion = _in_order(one.elements, other.elements, compare)
        lost = other.kind == "set" and opinion and len(one.elements) == len(other.elements)
        return Opinion("unknown", "order_lost") if lost else opinion
    opinion = _in_any_order(one, other, compare)
    if opinion.verdict != "wrong" and other.kind in _HALF_OPEN:
        return Opinion("wrong", "interval_for_list")
    return Opinion("unknown", "set_or_interval") if opinion.verdict == "right" and {one.kind, other.kind} == {"set", "[]"} else opinion


def take_apart(text: str) -> Parts | None:
    """Return the parts of an answer, or None where it is a single one."""
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        return _rows(matrix[1], matrix[2])
    parts = split(text, ",;")
    if len(parts) > 1 and all(parts):
        return Parts("list", tuple(signed for part in parts for signed in _both_signs(part)))
    union = split(text, "\\cup")
    if len(union) > 1 and all(union):
        return Parts("union", tuple(union))
    if text in (r"\emptyset", r"\{\}"):
        return Parts("set", ())
    braced = text.startswith("\\{") and text.endswith("\\}")
    inner = text[2:-2] if braced else text[1:-1]
    signed = _both_signs(text)
    if len(signed) > 1:
        return Parts("list", signed)
    if not (braced or (text[:1] in "([" and text[-1:] in ")]")) or not _closed(inner):
        return _scaled(text)
    inside = split(inner, ",;")
    if braced:
        return Parts("set", tuple(signed for part in inside for signed in _both_signs(part)))
    return Parts(text[0] + text[-1], tuple(inside)) if len(inside) > 1 and all(inside) else None


def _scaled(text: str) -> Parts | None:
    """Return the elements of a matrix or a tuple that a number stands before, each times that number."""
    match = _SCALED.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    parts = take_apart(match["of"]) if match else None
    factor = number("-1" if match["scalar"] == "-" else match["scalar"]) if match else None
    if parts is None or factor is None or factor.percent or not parts.ordered:
        return None
    values = [number(element) for element in parts.elements]
    if any(value is None or value.percent or value.places for value in values):
        return None
    products = [factor.value * value.value for value in values if value]
    return Parts(parts.kind, tuple(f"\\frac{{{each.numerator}}}{{{each.denominator}}}" for each in products))


def split(text: str, separator: str) -> list[str]:
    """Split at a command, or at any of some signs, outside all brackets; the whole text where brackets do not match."""
    found, depth, start, place = [], 0, 0, 0
    while place < len(text):
        sign = text[place]
        if depth == 0 and separator[0] == "\\" and text.startswith(separator, place) and not text[place + len(separator) :][:1].isalpha():
            found.append(text[start:place])
            start = place = place + len(separator)
            continue
        if sign == "\\" and text[place + 1 : place + 2] not in ("{", "}"):
            place += 2
            continue
        depth += (sign in _OPENING) - (sign in _CLOSING)
        if depth < 0:
            return [text]
        if depth == 0 and separator[0] != "\\" and sign in separator:
            found.append(text[start:place])
            start = place + 1
        place += 1
    return [part.strip() for part in (*found, text[start:])] if depth == 0 and found else [text]


def named(text: str) -> tuple[str, str] | None:
    """Return the name and the value of `x=5`, `x=2;3` or `f(x)=a=b` (the last value), or None where it is no such thing."""
    sides = split(text, "=")
    if len(sides) == 1:
        sides = split(text, "\\in")
    if len(sides) < 2 or not all(sides) or not _NAME.fullmatch(sides[0]) or any(map(_RELATIONS.search, sides)):
        return None
    several = any(len(split(side, ",;")) > 1 for side in sides[1:-1])  # x=1;y=2
    return None if several else (sides[0], sides[-1])


def settled(text: str) -> str:
    """Return what `0.5=1/2` comes to, where every side is the same number; else the text as it is."""
    sides = split(text, "=")
    same = len(sides) > 1 and all(agreed and agreed.verdict == "right" for agreed in map(compare_numbers, sides, sides[1:]))
    return sides[-1] if same else text


def _may_be_set(parts: Parts | None, single: str) -> bool:
    """Whether what has no parts may still be what has: the reals are an interval."""
    return parts is not None and parts.kind[0] in _OPENING and len(parts.elements) == 2 and number(single) is None


def has_relation(text: str) -> bool:
    """Whether the text is an equation, an inequality or a condition, not a value."""
    return "=" in text or bool(_RELATIONS.search(text))


def _closed(inner: str) -> bool:
    depth = 0
    for sign in inner.replace("\\{", "{").replace("\\}", "}"):
        depth += (sign in _OPENING) - (sign in _CLOSING)
        if depth < 0:
            return False
    return depth == 0


def _both_signs(text: str) -> tuple[str, ...]:
    """Return what `a \\pm b` stands for: two answers."""
    if not _SIGNED.search(text) or (text[:1] in _OPENING and len(_SIGNED.findall(text)) > 1):
        return (text,)
    name = named(text)
    value = name[1] if name else text
    upper = _SIGNED.sub(lambda match: "+" if match[0].startswith("\\pm") else "-", value)
    lower = _SIGNED.sub(lambda match: "-" if match[0].startswith("\\pm") else "+", value)
    return tuple((f"{name[0]}={side}" if name else side).replace("=+", "=").removeprefix("+") for side in (upper, lower))


def _rows(kind: str, inside: str) -> Parts | None:
    rows = [[cell.strip() for cell in row.split("&")] for row in inside.strip("\n ").split("\n")]
    if kind == "vmatrix" or len({len(row) for row in rows}) != 1:
        return None
    shape = "column" if len(rows[0]) == 1 else "row" if len(rows) == 1 else f"matrix of {len(rows)}"
    return Parts(shape, tuple(cell for row in rows for cell in row))


def _of_a_kind(one: Parts, other: Parts, compare: Compare) -> Opinion | None:
    """Compare unions with unions, matrices with matrices; a column with a tuple too."""
    if "union" in (one.kind, other.kind):
        opinion = _in_any_order(one, other, compare) if one.kind == other.kind else None
        return opinion if opinion and opinion.verdict == "right" else None  # intervals may overlap
    kinds = {one.kind, other.kind}
    if len(kinds) == 1 or kinds == {"column", "()"}:
        return _in_order(one.elements, other.elements, compare)
    if kinds <= {"column", "row", "()"} and len(one.elements) == len(other.elements):
        return Opinion("unknown", "row_or_column")
    return Opinion("wrong", "different_shape")


def _named_apart(parts: Parts) -> bool:
    """Whether each element has a name of its own, so that without the names the order counts."""
    names = [found[0] if (found := named(element)) else "" for element in parts.elements]
    return len(names) > 1 and "" not in names and len(set(names)) == len(names)


def _in_order(gold: tuple[str, ...], answer: tuple[str, ...], compare: Compare) -> Opinion:
    if len(gold) != len(answer):
        return Opinion("wrong", "different_count")
    opinions = [compare(one, other) for one, other in zip(gold, answer, strict=True)]
    wrong = next((opinion for opinion in opinions if opinion.verdict == "wrong"), None)
    if wrong or LATER in opinions:
        return wrong or LATER
    return next((opinion for opinion in opinions if opinion.verdict == "unknown"), Opinion("right", "same_elements"))


def _in_any_order(gold: Parts, answer: Parts, compare: Compare) -> Opinion:
    left, unmatched = list(answer.elements), []
    for element in gold.elements:
        match = next((place for place, other in enumerate(left) if compare(element, other).verdict == "right"), None)
        if match is None:
            unmatched.append(element)
        else:
            left.pop(match)
    if not left and not unmatched:
        return Opinion("right", "same_elements")
    if not left or not unmatched:
        return _repeated(gold, answer, left or unmatched, compare)
    between = [compare(one, other) for one in unmatched for other in left]
    if LATER in between:
        return LATER
    unsure = next((opinion for opinion in between if opinion.verdict == "unknown"), None)
    return unsure if unsure and len(unmatched) == len(left) else Opinion("wrong", "different_elements")


def _repeated(gold: Parts, answer: Parts, extra: list[str], compare: Compare) -> Opinion:
    """Return the opinion where one side has more elements than the other: they may only be said twice."""
    whole = min(gold.elements, answer.elements, key=len)
    again = [[compare(one, other) for other in whole] for one in extra]
    if any(LATER in row for row in again):
        return LATER
    best = {"wrong" if not row else min((opinion.verdict for opinion in row), key=_SUREST.index) for row in again}
    if "wrong" in best:
        return Opinion("wrong", "different_count")
    sets = "set" in (gold.kind, answer.kind) and best == {"right"}
    return Opinion("right", "same_elements") if sets else Opinion("unknown", "repeated_answers")
