"""Which problems say the same: duplicates within a set, and training problems that a benchmark holds as well.

In: questions by id. Out: pairs, sorted, the same for any order of the input. Three tiers, the strongest first:

* exact: the normal forms (wording.py) are equal;
* near: the formulas are equal, in any order, and of the words most are the same, or a short problem of a benchmark is held whole;
* 13-gram: runs of 13 tokens, boilerplate apart, are shared (runs.py); for contamination only.

Problems made from one template, with the same words and other numbers, are different problems. The time is near-linear: problems are
compared where they share all of their formula and one of their rarest words, or a run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixray.overlaps.runs import RUN_TOKENS, Numbers, shared_runs
from mixray.overlaps.wording import wording

EXACT, NEAR, RUNS = "exact", "near", "13-gram"
_BETWEEN = np.int32(-1).tobytes()
LEAST_SHARED_WORDS = 0.85
"""The Jaccard similarity of two near problems' words."""

MOST_WORDS_AROUND = 20
LEAST_TOKENS_HELD, LEAST_WORDS_HELD = 3, 7
"""Of a short problem that is held whole: the words around it, and its own tokens, where it has a formula and where it has none."""


@dataclass(frozen=True, order=True)
class Hit:
    """One training problem that a benchmark's problem overlaps."""

    problem_id: str
    benchmark: str
    benchmark_id: str
    tier: str


@dataclass(frozen=True, order=True)
class Twin:
    """A problem that repeats another one, which stays: the one with the smallest id."""

    problem_id: str
    of: str
    tier: str


Name = TypeVar("Name", bound=Hashable)


@dataclass
class _Text(Generic[Name]):
    """A normal form, and the problems whose questions have it."""

    numbers: Numbers
    formula: bytes
    words: frozenset[int]
    names: list[Name] = field(default_factory=list)


def contamination(problems: Mapping[str, str], benchmarks: Mapping[str, Mapping[str, str]]) -> list[Hit]:
    """Return every overlap of a training problem with a benchmark's problem, in its strongest tier.

    Exact and near overlaps are told pair by pair. Of the overlaps by runs that a training problem has with a benchmark only the best
    covered counts, of equals the one with the most runs, and is told where it is neither exact nor near.
    """
    vocabulary: dict[str, int] = {}
    ours = _texts(sorted(problems.items()), vocabulary)
    asked = sorted((name, *row) for name, rows in benchmarks.items() for row in rows.items())
    theirs = _texts((((name, problem_id), question) for name, problem_id, question in asked), vocabulary)
    tiers = _held(ours, theirs) | _near(ours, theirs) | _same(ours, theirs)
    best: dict[tuple[int, str], tuple[float, int, str, int]] = {}
    for our, their, covered, shared in shared_runs([text.numbers for text in ours], [text.numbers for text in theirs]):
        for name, problem_id in theirs[their].names:
            best[our, name] = min(best.get((our, name), (0.0, 0, "", -1)), (-covered, -shared, problem_id, their))
    found = [(our, *name, tier) for (our, their), tier in tiers.items() for name in theirs[their].names]
    found += [(our, name, problem_id, RUNS) for (our, name), (_, _, problem_id, their) in best.items() if (our, their) not in tiers]
    return sorted(Hit(problem_id, *overlap) for our, *overlap in found for problem_id in ours[our].names)


def duplicates(problems: Mapping[str, str]) -> list[Twin]:
    """Return the problems that repeat another one, each with the one that stays.

    Problems are taken by id: one that is near to none of those that stay, stays. So each is near to the one it is a twin of, which
    chains of ever so slightly changed problems would not be.
    """
    texts = _texts(sorted(problems.items()), {})
    index = _Index(texts, _shared_formulas(texts))
    twins = []
    for text in texts:  # by the smallest id of each, since they were read in that order
        first, *others = text.names
        near = min(index.near(text), key=lambda kept: kept.names[0], default=None)
        if near is None:
            index.add(text)
            twins += [Twin(problem_id, first, EXACT) for problem_id in others]
        else:
            twins += [Twin(problem_id, near.names[0], NEAR) for problem_id in text.names]
    return sorted(twins)


def _texts(questions: Iterable[tuple[Name, str]], vocabulary: dict[str, int]) -> list[_Text[Name]]:
    """Return the different normal forms in the order of the questions; a question that says nothing has none."""
    texts: dict[bytes, _Text[Name]] = {}
    for name, question in questions:
        form = wording(question)
        if not form.tokens:
            continue
        numbers = np.array([vocabulary.setdefault(token, len(vocabulary)) for token in form.tokens], dtype=np.int32)
        key = numbers.tobytes()
        if key not in texts:
            flags = np.array(form.in_formula)
            texts[key] = _Text(numbers, _formulas(numbers, flags), frozenset(numbers[~flags].tolist()))
        texts[key].names.append(name)
    return list(texts.values())


def _formulas(numbers: Numbers, flags: NDArray[np.bool_]) -> bytes:
    """Return the formulas between the words, in any order: whole ones, so that what is swapped within one makes another."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).tolist()
    return _BETWEEN.join(sorted(numbers[begin:end].tobytes() for begin, end in zip(edges[::2], edges[1::2], strict=True)))


def _same(ours: Sequence[_Text], theirs: Sequence[_Text]) -> dict[tuple[int, int], str]:
    places = {text.numbers.tobytes(): place for place, text in enumerate(theirs)}
    met = ((our, places.get(text.numbers.tobytes())) for our, text in enumerate(ours))
    return {(our, their): EXACT for our, their in met if their is not None}


def _near(ours: Sequence[_Text], theirs: Sequence[_Text]) -> dict[tuple[int, int], str]:
    index = _Index([*ours, *theirs], {text.formula for text in ours} & {text.formula for text in theirs})
    places = {id(text): place for place, text in enumerate(theirs)}
    for text in theirs:
        index.add(text)
    return {(our, places[id(near)]): NEAR for our, text in enumerate(ours) for near in index.near(text)}


def _held(ours: Sequence[_Text], theirs: Sequence[_Text]) -> dict[tuple[int, int], str]:
    """Return the pairs where one of ours is a whole problem of theirs, too short for runs, with a few words before or behind it.

    Two problems with the same formulas may well differ in one word; that they differ in nothing but what surrounds one of them is another
    matter. A problem of a few words, or of no words at all, is no evidence.
    """
    short: dict[tuple[bytes, int], list[int]] = {}
    for their, text in enumerate(theirs):
        size = len(text.numbers)
        least = LEAST_TOKENS_HELD if text.formula else LEAST_WORDS_HELD
        if least <= size < RUN_TOKENS and text.words:
            short.setdefault((text.formula, min(text.words)), []).append(their)
    pairs = {}
    for our, text in enumerate(ours):
        if len(text.numbers) < RUN_TOKENS + MOST_WORDS_AROUND:
            for their in [their for word in text.words for their in short.get((text.formula, word), ())]:
                held, size = theirs[their].numbers, len(theirs[their].numbers)
                around = len(text.numbers) - size
                if 0 < around <= MOST_WORDS_AROUND and any(np.array_equal(text.numbers[at : at + size], held) for at in range(around + 1)):
                    pairs[our, their] = NEAR
    return pairs


def _shared_formulas(texts: Iterable[_Text]) -> set[bytes]:
    return {formula for formula, count in Counter(text.formula for text in texts).items() if count > 1}


class _Index:
    """Texts by formula and rarest words: finds those near to a text without looking at all the others.

    Two sets of words as similar as LEAST_SHARED_WORDS share two of the first few words of each, whatever the order of words, and with the
    rarest first few texts share two of these by chance, even where all have the same formula: none.
    """

    def __init__(self, texts: Sequence[_Text], formulas: set[bytes]) -> None:
        self._lists: dict[bytes, dict[tuple[int, ...], list[_Text]]] = {formula: {} for formula in formulas}
        self._counts = Counter(word for text in texts for word in text.words)

    def add(self, text: _Text) -> None:
        """Take in a text, where others may have its formula."""
        if (lists := self._lists.get(text.formula)) is not None:
            for pair in self._rarest(text.words):
                lists.setdefault(pair, []).append(text)

    def near(self, text: _Text) -> list[_Text]:
        """Return the texts that were taken in and are near this one, but not the same."""
        lists = self._lists.get(text.formula)
        if not lists:
            return []
        met = {id(other): other for pair in self._rarest(text.words) for other in lists.get(pair, ())}
        return [other for other in met.values() if _similar(text, other)]

    def _rarest(self, words: frozenset[int]) -> list[tuple[int, ...]]:
        """Return the pairs of the rarest words; a single word is similar to itself alone."""
        if len(words) < 2:
            return [tuple(words)] if words else []
        first = len(words) - math.ceil(LEAST_SHARED_WORDS * len(words) - 1e-9) + 2
        return list(combinations(sorted(words, key=lambda word: (self._counts[word], word))[:first], 2))


def _similar(one: _Text, other: _Text) -> bool:
    shared = len(one.words & other.words)
    every = len(one.words) + len(other.words) - shared
    return shared >= LEAST_SHARED_WORDS * every and not np.array_equal(one.numbers, other.numbers)
