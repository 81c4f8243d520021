"""Take words that are no unit off a number, and tell whether they may change it: `15 dollars each` is 15, `15 dozen` may be more.

In: normal forms (`mixray.verify.normal`), and what compares two values. Out: an `Opinion`, or None where neither side has such words. Pure.
Algebra would read the words as products of unknowns, and a right answer would come back as a different one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from mixray.verify.guard import MAX_CHARACTERS, has_degrees_in_function
from mixray.verify.numbers import TIMES, Opinion, number
from mixray.verify.units import CHANGING, FRACTIONS, UNSURE, known_unit, split_unit, words_of

UNCLEAR = Opinion("unknown", "unclear_words")

_TAIL = re.compile(r"(?P<value>.*?[^\\ ])(?P<words>(?: ?\\text\{[^{}]*\}| [a-zA-Z][a-zA-Z'-]*)+)", re.DOTALL)
_LABEL = re.compile(r"(?:\\text\{(?P<dressed>[a-zA-Z' -]{2,}):\}|(?P<bare>[a-zA-Z' -]{3,}):) ?(?P<value>.*)", re.DOTALL)
_ORDINAL = re.compile(r"(\d+) ?\^?\{?(?:\\text\{)?(?:st|nd|rd|th)\}{0,2}", re.ASCII | re.IGNORECASE)
_COMMAND = re.compile(r"\\(?:begin|end)\{[a-z*]+\}|\\[a-zA-Z]+")
_RUN = re.compile("[a-zA-Z]{2,}")
_OPEN_END = tuple("=+-*/^_(<>,;:{|")
_FUNCTIONS = words_of(
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh log ln lg exp sqrt max min gcd lcm det mod pi cis"
)
_LITTLE = words_of("a an the of in on at by to for from per are is was his her its our and all any she he it they you day out has had did")
_AFTER_TIMES = words_of("a an per each every as in more this")  # `times the radius` is a product
_HALVES_OF_DAY = {("a", "m"), ("p", "m")}
_FILLING = words_of("each every apiece left remaining total altogether together the a an are is was were there all more")
_PREPOSITIONS = words_of("of in for from on at with to by")


class Worded(NamedTuple):
    """A value and what is said of it; `unclear` where a word may change the value."""

    value: str
    words: tuple[str, ...]
    unclear: bool = False


def compare_ordinals(gold: str, answer: str) -> Opinion | None:
    """Return the opinion on `15th` against 15: an order and a count; None where neither is an order."""
    one, other = _ORDINAL.fullmatch(gold), _ORDINAL.fullmatch(answer)
    if not one and not other:
        return None
    values = [number(match[1] if match else text) for match, text in ((one, gold), (other, answer))]
    if values[0] is None or values[1] is None:
        return None
    if values[0].value != values[1].value:
        return Opinion("wrong", "different_number")
    return Opinion("right", "same_number") if one and other else UNCLEAR


def with_words(gold: str, answer: str, again: Callable[[str, str], Opinion]) -> Opinion | None:
    """Compare the values where one side or both have words that are no unit; None where neither has."""
    for place, text in enumerate((gold, answer)):
        label = _LABEL.fullmatch(text)
        if label and number(_bare(label["value"])) is not None:
            if _unclear(_split(label["dressed"] or label["bare"])):
                return UNCLEAR
            return again(label["value"], answer) if place == 0 else again(gold, label["value"])
    one, other = worded(gold), worded(answer)
    if (one is None and other is None) or has_degrees_in_function(gold + answer):
        return None
    if (one and one.unclear) or (other and other.unclear):
        return _of_unclear(one, other, gold, answer, again)
    if one and other and one.words == other.words:
        return again(one.value, other.value)
    values = [side.value if side and not _said(side) else text for side, text in ((one, gold), (other, answer))]
    if values != [gold, answer]:
        return again(*values)  # what is left has words that say something, or none
    return _of_both(one or _with_unit(gold), other or _with_unit(answer), again)


def worded(text: str) -> Worded | None:
    """Return the value and the words behind it, or None where there are none, they are a unit, or the value holds unknowns."""
    match = _TAIL.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if not match or split_unit(text)[1] or match["value"].endswith(_OPEN_END) or re.search("[a-zA-Z]", _COMMAND.sub("", match["value"])):
        return None
    bare = _split(re.sub(r"\\text\{[^{}]*\}", " ", match["words"]))
    words, value = _split(match["words"].replace("\\text", " ")), match["value"]
    if bare and (number(_bare(value)) is None or not _spoken(bare)):
        return None
    if not words or not all(re.fullmatch("[a-z']+", word) for word in words):
        return None
    if words[0].removesuffix("s") in TIMES:
        value, words = f"{value} {words[0].removesuffix('s')}", words[1:]
    return None if value == text else Worded(value, tuple(words), _unclear(words))


def _spoken(bare: list[str]) -> bool:
    """Whether words that no \\text says to be words are no product of unknowns: one is surely none, and none is as short as one."""
    sure = [len(word) > 3 or word in _LITTLE or known_unit(word) is not None for word in bare]
    return any(sure) and all(is_sure or len(word) == 3 for word, is_sure in zip(bare, sure, strict=True)) and not _FUNCTIONS & set(bare)


def holds_words(one: str, other: str) -> bool:
    """Whether either of two expressions still has words, which algebra takes for unknowns; a product of the other's unknowns is no word."""
    sides = [_COMMAND.sub(" ", text) for text in (one, other)]
    letters = [set(re.sub("[^a-z]", "", side.lower())) for side in sides]
    return "\\text" in one + other or any(
        run.lower() not in _FUNCTIONS and not set(run.lower()) <= letters[1 - place]
        for place, side in enumerate(sides)
        for run in _RUN.findall(side)
    )


def _split(text: str) -> list[str]:
    return [word for word in re.split(r"[ ,.!(){}/-]+", text.lower()) if word]


def _bare(value: str) -> str:
    return value.lstrip("¤€£")


def _unclear(words: list[str]) -> bool:
    """Whether a word counts, orders, denies or compares, so that the value may be another."""
    counted = [word for before, word in pairwise(["", *words]) if word != "one" or before not in _PREPOSITIONS]  # in one day
    counted = [word for word, after in pairwise([*counted, ""]) if not after or word not in ("wrong", "incorrect")]  # wrong answers
    if any(word in CHANGING or (word != "ones" and word.removesuffix("s") in CHANGING) or word.endswith("n't") for word in counted):
        return True
    multiplied = [after for word, after in pairwise(words) if word == "times"]
    return words[:1] == ["is"] or not _HALVES_OF_DAY.isdisjoint(pairwise(words)) or any(after not in _AFTER_TIMES for after in multiplied)


def _of_unclear(one: Worded | None, other: Worded | None, gold: str, answer: str, again: Callable[[str, str], Opinion]) -> Opinion:
    """Return the opinion where words may change a value: three tenths are no three, the rest nobody can tell."""
    if one and other and one.words == other.words:
        return again(one.value, other.value)
    words = one.words if one and one.unclear else other.words if other else ()
    fraction = words == ("half",) or (words[0].removesuffix("s") in FRACTIONS and words[0].endswith("s"))
    if not fraction or (one and other):
        return UNCLEAR
    opinion = again(one.value if one else gold, other.value if other else answer)
    return Opinion("wrong", "different") if opinion.verdict == "right" else UNCLEAR if opinion.verdict == "wrong" else opinion


def _said(side: Worded) -> tuple[str, ...]:
    """Return the words that say what is counted, in one spelling."""
    kept = [word for word in side.words if word not in _FILLING]
    if side.words[:2] in (("in", "total"), ("in", "all")):
        kept = kept[1:]
    return tuple(known_unit(word) or word.removesuffix("s") for word in kept)


def _with_unit(text: str) -> Worded:
    value, unit = split_unit(text)
    return Worded(value, tuple(unit.removeprefix(UNSURE).split()))


def _of_both(one: Worded, other: Worded, again: Callable[[str, str], Opinion]) -> Opinion:
    """Compare two values of which at least one has words that say what is counted; they may be left out, or say more of the same."""
    opinion = again(one.value, other.value)
    if opinion.verdict != "right":
        return opinion
    shares = [side.value.endswith("%") for side in (one, other)]
    said = [(*split_unit(side.value)[1].split(), *_said(side)) for side in (one, other)]
    if shares[0] != shares[1]:
        said[shares.index(True)] += ("%",)
    if not said[0] or not said[1] or _same(*said):
        return opinion
    return Opinion("unknown", "different_units")


def _same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two phrases name the same thing: `liter of water` says more than `liter`, `slice of pizza` is no `pizza`."""
    heads, rests = zip(_headed(one), _headed(other), strict=True)
    return heads[0] == heads[1] and (rests[0] == rests[1] or not rests[0] or not rests[1])


def _headed(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    cut = next((place for place, word in enumerate(words) if place and word in _PREPOSITIONS), len(words))
    return words[:cut], words[cut:]
