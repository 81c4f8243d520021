"""Near misses: what looks like the gold and is another answer is never right, and what only says the gold in more words is never wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.verify.equal import compare
from mixray.verify.numbers import Opinion
from mixray.verify.pool import shared_pool

NUMBERS = st.integers(21, 999)
CLEAN = [
    "dollars each",
    "students are left",
    "slices of pizza",
    "times",
    "more",
    "liters of water",
    "miles in total",
    "apples for the party",
    "wrong answers",
    "pink ones",
    "a week",
]
UNCLEAR = [
    "dozen", "dozen eggs", "or more", "at least", "at most", "not", "is wrong", "more than last year", "hundredths", "quarters",
    "percent off", "times the radius", "minus one", "and a half", "below zero", "squared", "or sixteen", "if it rains", "too many",
    "isn't it", "gross", "a.m.", "less one",
]  # fmt: skip
AROUND = [
    "%s more than x", "%s times 2", "not %s", "at least %s", "\\text{at least }%s", "\\text{not }%s", "%s or 16", "%s dozen", "%sth",
    "%s^{\\text{th}}", "%s thousand", "%s of 20", "%s minus 3", "%s\\text{ feet }3\\text{ inches}", "%s ab", "%sab",
    "\\text{fewer than }%s", "%s\\text{ (not 16)}", "%s\\text{ p.m.}", "\\text{Maximum: }%s", "%s out of 4",
]  # fmt: skip
LOWEST, HIGHEST = -50, 50
ENDS = st.tuples(st.integers(LOWEST, HIGHEST), st.integers(LOWEST, HIGHEST)).filter(lambda ends: ends[0] < ends[1])
WITHIN = ["%(a)s<x<%(b)s", "%(b)s>x>%(a)s", "x>%(a)s \\text{ and } x<%(b)s", "x<%(b)s and %(a)s<x", "(%(a)s,%(b)s)"]
OUTSIDE = ["x<%(a)s \\text{ or } x>%(b)s", "x>%(b)s or x<%(a)s", "%(a)s>x \\text{ or } x>%(b)s", "(-\\infty,%(a)s)\\cup(%(b)s,\\infty)"]
OTHER = ["%(a)s\\le x<%(b)s", "x>%(a)s \\text{ or } x<%(b)s", "x<%(a)s \\text{ and } x>%(b)s", "[%(a)s,%(b)s]", "x>%(a)s, x<%(b)s"]


def judged(gold: str, answer: str) -> Opinion:
    """The opinion where algebra takes all it is asked for different."""
    opinion = compare(gold, answer, lambda one, other: Opinion("wrong", "different"))
    assert opinion is not None
    return opinion


def forms(number: int, words: str) -> list[str]:
    return [f"{number}\\text{{ {words}}}", f"\\text{{{number} {words}}}", f"{number} {words}"]


@given(NUMBERS, st.integers(1, 9), st.sampled_from(CLEAN))
def test_words_that_change_nothing_leave_the_number(number: int, more: int, words: str) -> None:
    for form, other in zip(forms(number, words), forms(number + more, words), strict=True):
        assert judged(str(number), form).verdict == judged(form, str(number)).verdict == "right", form
        assert judged(str(number), other).verdict == judged(other, str(number)).verdict == "wrong", other


@given(NUMBERS, st.sampled_from(UNCLEAR))
def test_words_that_may_change_the_number_are_never_right(number: int, words: str) -> None:
    for form in forms(number, words):
        assert judged(str(number), form).verdict != "right", form
        assert judged(form, str(number)).verdict != "right", form


@given(NUMBERS, st.sampled_from(AROUND))
def test_a_number_within_other_words_is_never_right(number: int, shape: str) -> None:
    assert judged(str(number), shape % number).verdict != "right"
    assert judged(shape % number, str(number)).verdict != "right"


@pytest.mark.parametrize("words", ["", "\\text{, if that is so}", "\\text{ slices}+1", " word"])
def test_algebra_tells_nobody_that_words_are_different(words: str) -> None:
    assert judged("2x", f"2x{words}").verdict == ("unknown" if words else "right")


@given(ENDS, st.sampled_from([WITHIN, OUTSIDE]), st.data())
def test_conditions_are_the_intervals_they_describe(ends: tuple[int, int], shapes: list[str], data: st.DataObject) -> None:
    at = dict(zip("ab", ends, strict=True))
    gold, answer = (data.draw(st.sampled_from(shapes)) % at for _ in range(2))
    assert judged(gold, answer).verdict == "right"
    moved = data.draw(st.sampled_from(shapes)) % (at | {"b": at["b"] + 1})
    assert judged(gold, moved).verdict == "wrong"


@given(ENDS, st.sampled_from(WITHIN), st.sampled_from([*OTHER, *OUTSIDE]))
def test_other_conditions_are_never_right(ends: tuple[int, int], gold: str, answer: str) -> None:
    at = dict(zip("ab", ends, strict=True))
    assert judged(gold % at, answer % at).verdict != "right"
    assert judged(answer % at, gold % at).verdict != "right"


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=4), st.integers(2, 9), st.integers(0, 3))
def test_a_number_times_a_matrix_is_that_matrix_and_no_other(cells: list[int], factor: int, changed: int) -> None:
    def matrix(values: list[int], shape: str = "\\begin{pmatrix}%s&%s\\\\%s&%s\\end{pmatrix}") -> str:
        return shape % tuple(values)

    gold = matrix([factor * cell for cell in cells])
    array = matrix([factor * cell for cell in cells], "\\left[\\begin{array}{cc}%s&%s\\\\%s&%s\\end{array}\\right]")
    assert judged(gold, f"{factor}{matrix(cells)}").verdict == judged(gold, array).verdict == "right"
    cells[changed] += 1
    assert judged(gold, f"{factor}{matrix(cells)}").verdict == judged(gold, matrix(cells)).verdict == "wrong" or cells[changed] == 0
    assert judged(gold, f"{factor}{matrix(cells)}").verdict == "wrong"


def test_algebra_itself_agrees() -> None:
    pairs = [(str(gold), shape % gold) for gold in (4, 15) for shape in AROUND]
    pairs += [(gold % {"a": 1, "b": 2}, answer % {"a": 1, "b": 2}) for gold in WITHIN for answer in [*OTHER, *OUTSIDE]]
    assert [pair for pair, opinion in zip(pairs, shared_pool().compare(pairs), strict=True) if opinion.verdict == "right"] == []
