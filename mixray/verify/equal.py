"""Decide whether an answer equals the gold; `POLICY.md` beside this file holds every rule, with its reason, and is tested row by row.

In: a gold and an answer as they were written, and what compares two expressions (`mixray.verify.symbolic`, in a child process) or nothing.
Out: an `Opinion`; without algebra, None where it is needed. Pure: most pairs are decided here, and cost no process and risk no hang.
"""

from __future__ import annotations

import importlib.metadata
import re

from mixray.verify.conditions import compare_conditions
from mixray.verify.guard import MAX_CHARACTERS, MAX_DEPTH, danger, depth, has_degrees_in_function
from mixray.verify.normal import flat, normal_form
from mixray.verify.numbers import Opinion, compare_bases, compare_numbers, compare_times, number
from mixray.verify.structure import LATER, Compare, compare_parts, has_relation, named, settled, split, take_apart
from mixray.verify.units import UNSURE, same_unit, split_unit
from mixray.verify.words import compare_ordinals, holds_words, with_words

POLICY = f"4+math-verify {importlib.metadata.version('math-verify')}"
"""The version of what counts as equal; it belongs in the hash of whatever holds verdicts. Raise it with every change of a verdict."""

MAX_TEXT = 3000
MAX_PAIRS = 10_000
_TEXTS = re.compile(r"\\text\{([^{}]*)\}")
_WORDS = re.compile(r"(?:no|[a-zA-Z]{3})[a-zA-Z0-9' .-]*", re.IGNORECASE)  # shorter ones may be products: xy is yx
_CHOICE = re.compile(r"\(([A-J])\).*|([A-J])(?:[).:].*)?", re.DOTALL)
_SECOND_CHOICE = re.compile(r"\([A-J]\)|[,;] ?[A-J](?![a-zA-Z])")
_POINT = re.compile(r"\((?P<names>[a-zA-Z](?:[,;][a-zA-Z])+)\)=(?P<value>\(.*\))", re.DOTALL)
_YES = re.compile(r"(yes|no|true|false)(?: ?[,;] ?([a-z', ;]+))?")
_YES_TOO = re.compile(r"\b(?:yes|no|true|false)\b")  # a list of such answers
_DOUBT = re.compile(r"n't\b|\b(?:not|never|but|unless|if|only|except|or|sometimes|maybe|otherwise)\b")
_NO_CHOICE = tuple("^_*/+=<>-")  # behind a letter: it is an unknown
_LEAST_LETTERS = 4  # of words that are surely no product of unknowns


def compare(gold: str, answer: str, algebra: Compare | None = None) -> Opinion | None:
    """Return what is to be thought of `answer`; without `algebra` None where it would need some."""
    if not gold.strip():
        return Opinion("unknown", "no_gold")
    if gold.strip() == answer.strip():
        return Opinion("right", "same")
    if max(len(gold), len(answer)) > MAX_TEXT:
        return Opinion("unknown", "too_long")
    one, other = normal_form(gold), normal_form(answer)
    if not one or not other:
        return Opinion("unknown", "no_answer" if one else "no_gold")
    if flat(one) != flat(other) and max(depth(one), depth(other)) > MAX_DEPTH:
        return Opinion("unknown", "too_deep")
    try:
        opinion = _Comparison(algebra or _later).of(one, other)
    except RecursionError:
        return Opinion("unknown", "too_deep")
    except _TooMany:
        return Opinion("unknown", "too_long")
    return None if opinion is LATER else opinion


def _later(one: str, other: str) -> Opinion:
    return LATER


class _TooMany(Exception):
    """The parts of two answers make too many pairs: lists have no order, so each part may be compared with each."""


class _Comparison:
    """The comparison of two whole answers, which counts how many pairs of their parts it has looked at."""

    def __init__(self, algebra: Compare) -> None:
        self.algebra, self.pairs = algebra, 0

    def of(self, one: str, other: str) -> Opinion:
        """Compare two normal forms: whole answers, or parts of them."""
        self.pairs += 1
        if self.pairs > MAX_PAIRS:
            raise _TooMany
        if flat(one) == flat(other):
            return Opinion("unknown", "thousands_or_list") if _may_be_thousands(one, other) else Opinion("right", "same")
        one, other = settled(one), settled(other)
        if max(len(one), len(other)) <= MAX_CHARACTERS:
            for rule in (compare_numbers, compare_bases, compare_times, compare_ordinals, _choices, _yes_or_no, _words):
                opinion = rule(one, other)
                if opinion:
                    return opinion
        for taken in (_with_choice, compare_conditions, _named, with_words, _with_units, compare_parts):
            opinion = taken(one, other, self.of)
            if opinion:
                return opinion
        refused = danger(one) or danger(other)
        if refused:
            return Opinion("unknown", refused)
        opinion = self.algebra(one, other)
        return Opinion("unknown", "words_in_formula") if opinion.verdict == "wrong" and holds_words(one, other) else opinion


def _may_be_thousands(one: str, other: str) -> bool:
    """Whether `1,234` meets `1, 234`: a number and what reads as a list of two."""
    return (";" in one) != (";" in other) and one[0] not in "([" and (number(one) is None) != (number(other) is None)


def _choices(one: str, other: str) -> Opinion | None:
    """Compare letters of choices, with or without what stands behind the letter; several choices are a list."""
    first, second = _choice(one), _choice(other)
    if not first or not second:
        return None
    return Opinion("right", "same_choice") if first == second else Opinion("wrong", "different_choice")


def _choice(text: str) -> str | None:
    match = _CHOICE.fullmatch(text)
    if not match:
        return None
    rest = text[match.end(1) + 1 if match[1] else match.end(2) :].lstrip()
    return None if _SECOND_CHOICE.search(rest) or rest.startswith(_NO_CHOICE) else match[1] or match[2]


def _with_choice(one: str, other: str, again: Compare) -> Opinion | None:
    """Compare with a value what stands behind the letter of a choice: `(B) 12` is 12."""
    for place, (text, single) in enumerate(((one, other), (other, one))):
        letter = _choice(text)
        value = text.lstrip("(")[2:].strip()
        if letter and value and letter not in single:
            return again(single, value) if place else again(value, single)
    return None


def _yes_or_no(one: str, other: str) -> Opinion | None:
    """Compare a yes or a no, or true and false, with what is said after it: `Yes, it is`."""
    first, second = (_YES.fullmatch(_spoken(text)) for text in (one, other))
    if not first or not second or not (first[2] or second[2]) or any(match[2] and _YES_TOO.search(match[2]) for match in (first, second)):
        return None
    if first[1] != second[1]:
        return Opinion("wrong", "different_words")
    doubt = any(match[2] and (_DOUBT.search(match[2]) or match[1] in ("no", "false")) for match in (first, second))
    return Opinion("unknown", "partly_same_words") if doubt else Opinion("right", "same")


def _spoken(text: str) -> str:
    return " ".join(_TEXTS.sub(r" \1 ", text).casefold().replace(".", " ").split())


def _words(one: str, other: str) -> Opinion | None:
    first, second = _spoken(one), _spoken(other)
    spoken = [bool(_WORDS.fullmatch(text)) for text in (first, second)]
    if not any(spoken):
        return None
    if not all(spoken):
        long = len(first if spoken[0] else second) >= _LEAST_LETTERS
        return Opinion("unknown", "words_and_formula") if long else None
    if first == second:
        return Opinion("right", "same")
    if sorted(first) == sorted(second) and " " not in first + second:
        return None  # a product of unknowns in another order
    words = [set(text.split()) for text in (first, second)]
    partly = words[0] <= words[1] or words[1] <= words[0]
    return Opinion("unknown", "partly_same_words") if partly else Opinion("wrong", "different_words")


def _named(one: str, other: str, again: Compare) -> Opinion | None:
    """Compare the values where one side or both give them a name; an equation that is no naming is left to algebra."""
    listed = _by_names(one, other)
    if listed:
        return again(*listed)
    first, second = named(one), named(other)
    if not first and not second:
        return None
    if not first or not second:
        return None if has_relation(one if second else other) else again(first[1] if first else one, second[1] if second else other)
    if flat(first[0]) == flat(second[0]):
        return again(first[1], second[1])
    if first[0] in second[1] or second[0] in first[1]:
        return None  # y = 2x and x = y/2
    opinion = again(first[1], second[1])
    spoken = "\\text" in first[0] + second[0]
    return Opinion("unknown", "different_names") if opinion.verdict == "right" and not spoken else opinion


def _by_names(one: str, other: str) -> tuple[str, str] | None:
    """Return both sides where `(x,y)=(1,2)` meets `x=1;y=2`, the point as such a list; None where they do not."""
    for place, (text, listed) in enumerate(((one, other), (other, one))):
        point, parts = _POINT.fullmatch(text), split(listed, ",;")
        if not point or len(parts) != point["names"].count(",") + point["names"].count(";") + 1 or not all(map(named, parts)):
            continue
        names, values = re.split("[,;]", point["names"]), take_apart(point["value"])
        if values and values.kind == "()" and len(values.elements) == len(names):
            told = dict(name for part in parts if (name := named(part)))
            if sorted(told) == sorted(names):
                listed = f"({';'.join(told[name] for name in names)})"
                return (listed, point["value"]) if place else (point["value"], listed)
            spelled = ";".join(f"{name}={value}" for name, value in zip(names, values.elements, strict=True))
            return (listed, spelled) if place else (spelled, listed)
    return None


def _with_units(one: str, other: str, again: Compare) -> Opinion | None:
    """Compare the values where one side or both have a unit. It may be left out; different ones cannot be told."""
    (first, unit), (second, other_unit) = split_unit(one), split_unit(other)
    if not unit and not other_unit:
        return None
    if any(has_degrees_in_function(text) for text in (one, other)):
        return Opinion("unknown", "degrees_in_function")
    opinion = again(first, second)
    if unit and other_unit:
        same = same_unit(unit.removeprefix(UNSURE), other_unit.removeprefix(UNSURE))
        return opinion if same else Opinion("unknown", "different_units")
    if (second if unit else first).endswith("%"):
        return Opinion("unknown", "different_units") if opinion.verdict == "right" else opinion
    if UNSURE in unit + other_unit:
        return Opinion("unknown", "unit_or_unknown") if opinion.verdict == "right" else None
    if "°" in unit + other_unit and "\\pi" in one + other and opinion.verdict != "right":
        return Opinion("unknown", "degrees_or_radians")
    return opinion
