"""Duplicates and contamination: which pairs are told, in which tier, whatever the order, and that a planted problem is always found."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.overlaps.pairs import (
    LEAST_SHARED_WORDS,
    LEAST_TOKENS_HELD,
    LEAST_WORDS_HELD,
    MOST_WORDS_AROUND,
    Hit,
    Twin,
    contamination,
    duplicates,
)
from mixray.overlaps.runs import MOST_TEXTS, RUN_TOKENS
from mixray.overlaps.wording import Wording, wording
from mixray.rows import keyed_draw
from mixray.tiny import problems as tiny

ANN = "Ann has 7 red apples and 12 green pears in her basket, and she gives a third of the pears to her brother. How many pears are left?"


def tier(one: str, other: str) -> str | None:
    hits = contamination({"p": one}, {"bench": {"b": other}})
    assert [(hit.problem_id, hit.benchmark, hit.benchmark_id) for hit in hits] in ([], [("p", "bench", "b")])
    return hits[0].tier if hits else None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (ANN, ANN, "exact"),
        (ANN, ANN.upper().replace(" ", "  \n"), "exact"),
        (r"Find $\frac{1}{2}x^{2}$.", r"find \dfrac12 x^2", "exact"),
        ("Find $x$. [asy] draw((0,0)); [/asy]", "Find $x$.", "exact"),
        ("2+3", "Solve: 2+3 = ", None),
        ("2+3", "Solve: $2+3$", "exact"),
        (ANN, ANN.replace("red", "ripe"), "near"),
        (ANN, ANN.replace("her basket", "the basket"), "near"),
        ("If $x+2=5$ and $y<3$, find $x$.", "Find $x$ if $x+2=5$ and $y<3$.", "near"),
        ("My friend, here is a nice one: simplify $\\sqrt{720}$ now.", "Simplify $\\sqrt{720}$ now.", "near"),
        (f"{ANN} Round to the nearest pear if there is any need to.", ANN, "13-gram"),
        (ANN, f"On a fine day in the late summer of that year, {ANN}", "13-gram"),
    ],
)
def test_what_overlaps(one: str, other: str, expected: str | None) -> None:
    assert tier(one, other) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Factor $z^4+z^2+1$.", "Factor $z^4-z^2+1$."),
        ("Expand $(x+2)(3x-6)$.", "Expand $(x+3)(2x-6)$."),
        ("Find the least value of $x^2-y$ over these.", "Find the least value of $y^2-x$ over these."),
        ("Solve 2(x+1)=5 for all real numbers.", "Solve 2x+1=5 for all real numbers."),
        ("Compute $\\sin 60^\\circ$.", "Compute $\\cos 60^\\circ$."),
        ("What is the greatest three-digit multiple of 7?", "What is the greatest four-digit multiple of 7?"),
        (ANN, ANN.replace("12", "15").replace("7", "9")),
        (ANN, "How many pears are left?"),
        ("What is it all about? How many dogs are there?", "How many dogs are there?"),
        ("Graph $2x+3=7$.", "$2x+3=7$"),
        ("Find $x+3$ now.", "Find $y+3$ now."),
        ("Arrange the letters of the word RADII.", "Arrange the letters of the word NINE."),
        ("", ""),
        ("🙂", "🙂"),
        ("...", "?"),
    ],
)
def test_what_does_not(one: str, other: str) -> None:
    assert tier(one, other) is None
    assert duplicates({"a": one, "b": other}) == []


def test_every_pair_is_told_in_its_strongest_tier() -> None:
    longer = f"{ANN} And how many of them are there in each of the two baskets now?"
    problems = {"same": ANN, "near": ANN.replace("red", "ripe"), "longer": longer, "other": "What is 2+2?"}
    hits = contamination(problems, {"one": {"x": ANN, "y": ANN.lower()}, "two": {"z": ANN}, "none": {}})
    assert hits == [
        Hit("longer", "one", "x", "13-gram"),  # once for a benchmark
        Hit("longer", "two", "z", "13-gram"),
        Hit("near", "one", "x", "near"),
        Hit("near", "one", "y", "near"),
        Hit("near", "two", "z", "near"),
        Hit("same", "one", "x", "exact"),
        Hit("same", "one", "y", "exact"),
        Hit("same", "two", "z", "exact"),
    ]


def test_runs_are_told_with_the_best_covered_problem() -> None:
    start = "Ann walks along the river from her house to the old mill and then she goes on to the bridge behind which there lies"
    end = "a village that has one hundred and forty houses"
    theirs = {"1": f"{start} {end.replace('forty', 'fifty')}", "2": f"On day 5 {start} {end}"}
    assert contamination({"p": f"{start} {end}"}, {"b": theirs}) == [Hit("p", "b", "2", "13-gram")]


BOILERPLATE = "In this exercise you will meet a number of pirates who want to share what they have found on an island:"


def test_what_many_problems_share_is_no_overlap() -> None:
    problems = {f"p{number}": f"{BOILERPLATE} {keyed_draw(number)} coins." for number in range(MOST_TEXTS)}
    assert contamination(problems, {"b": {"1": f"{BOILERPLATE} 17 daggers."}}) == []


def test_what_few_problems_share_is_one() -> None:
    problems = {f"p{number}": f"{BOILERPLATE} {keyed_draw(number)} coins." for number in range(MOST_TEXTS - 1)}
    assert len(contamination(problems, {"b": {"1": f"{BOILERPLATE} 17 daggers."}})) == MOST_TEXTS - 1


def test_a_problem_that_many_hold_whole_is_no_boilerplate() -> None:
    problems = {f"p{number}": f"Version number {keyed_draw(number)} reads so. {ANN} That was it." for number in range(3 * MOST_TEXTS)}
    assert [hit.problem_id for hit in contamination(problems, {"b": {"1": ANN}})] == sorted(problems)


def test_twins_of_the_smallest_id() -> None:
    near = ANN.replace("red", "ripe")
    assert duplicates({"d": ANN, "b": ANN.upper(), "c": near, "a": "Is $2=2$?", "e": near.lower()}) == [
        Twin("c", "b", "near"),
        Twin("d", "b", "exact"),
        Twin("e", "b", "near"),
    ]


def test_a_twin_is_like_the_one_it_is_a_twin_of() -> None:
    words = [f"word{chr(97 + number)}" for number in range(20)]
    chain = {f"p{step:02d}": " ".join([*words[step:], *(f"new{chr(97 + number)}" for number in range(step))]) for step in range(20)}
    twins = duplicates(chain)
    assert [twin.problem_id for twin in twins if twin.of == "p00"] == ["p01"]
    assert all(duplicates({"a": chain[twin.of], "b": chain[twin.problem_id]}) for twin in twins)


def test_problems_of_one_template_are_different() -> None:
    train = {row["problem_id"]: row["question"] for row in tiny.rows("train", 1400, (3, 5), 1)}
    test = {row["problem_id"]: row["question"] for row in tiny.rows("test", 400, (3, 5), 2)}
    assert contamination(train, {"tiny": test}) == []
    assert duplicates(train) == []


STORY = "how many apples does ann have after she gives half of the green ones to ben and eats $x$ 12 + 7 a i = (x+1)"
WORDS = st.sampled_from(STORY.split())
QUESTIONS = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(QUESTIONS, max_size=12), st.lists(QUESTIONS, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(ours: list[str], theirs: list[str], shuffler: random.Random) -> None:
    problems = [(f"p{number}", question) for number, question in enumerate(ours + theirs[:2])]
    bench = [(f"b{number}", question) for number, question in enumerate(theirs)]
    benchmarks = [("one", bench), ("two", bench[::2])]
    hits, twins = contamination(dict(problems), {name: dict(rows) for name, rows in benchmarks}), duplicates(dict(problems))
    for rows in (problems, bench, benchmarks):
        shuffler.shuffle(rows)
    assert contamination(dict(problems), {name: dict(rows) for name, rows in benchmarks}) == hits == sorted(hits)
    assert duplicates(dict(problems)) == twins == sorted(twins)
    assert {twin.of for twin in twins}.isdisjoint(twin.problem_id for twin in twins)
    assert all(twin.of < twin.problem_id for twin in twins)


WRAPPED = ["{}", "Solve: {}", "  {}\n\n", "$ {} $", "\\[{}\\]", "{} \\, ", "\\text{{{}}}", "Problem: {}\nLet's think step by step."]


@settings(max_examples=100, deadline=None)
@given(QUESTIONS, st.lists(QUESTIONS, max_size=15), st.sampled_from(WRAPPED), st.sampled_from([str, str.upper, str.title]))
def test_a_planted_problem_is_always_caught(question: str, others: list[str], wrapped: str, case: type[str]) -> None:
    problems = {f"p{number}": other for number, other in enumerate(others)} | {"planted": wrapped.format(case(question))}
    hits = contamination(problems, {"bench": {"b": question}})
    assert ("planted", "exact") in {(hit.problem_id, hit.tier) for hit in hits}
    assert ("zzz", "exact") in {(twin.problem_id, twin.tier) for twin in duplicates({"aaa": question, "zzz": wrapped.format(question)})}


@pytest.mark.parametrize("odd", ["\x00" * 1000, "🙂 x" * 1000, "x+" * 100_000, "apples " * 150_000, "{(" * 100_000, "\ud800"])
def test_odd_problems_cost_no_more_than_seconds(odd: str) -> None:
    began = time.process_time()
    problems = {"odd": odd, "again": odd, "ann": ANN}
    hits = contamination(problems, {"b": {"1": ANN, "2": odd}})
    assert Hit("ann", "b", "1", "exact") in hits
    assert len(duplicates(problems)) <= 1
    assert time.process_time() - began < 20


SIMILAR = st.permutations([f"w{letter}" for letter in "bcdefghjklmnopqrstuvwxyz"]).flatmap(
    lambda words: st.builds(lambda size, formula: " ".join([*words[:size], formula]), st.integers(1, 22), st.sampled_from(["", "3", "3"]))
)


@settings(max_examples=100, deadline=None)
@given(st.lists(SIMILAR, min_size=1, max_size=12, unique=True), st.lists(SIMILAR, min_size=1, max_size=12, unique=True))
def test_no_near_pair_is_passed_over(ours: list[str], theirs: list[str]) -> None:
    def expected(one: str, other: str) -> bool:
        left, right = wording(one), wording(other)
        words, others = set(left.words), set(right.words)
        similar = len(words & others) / len(words | others) >= LEAST_SHARED_WORDS
        return left.tokens != right.tokens and left.formula == right.formula and (similar or held(left.tokens, right))

    def held(tokens: list[str], short: Wording) -> bool:
        size, around = len(short.tokens), len(tokens) - len(short.tokens)
        least = LEAST_TOKENS_HELD if short.formula else LEAST_WORDS_HELD
        enough = bool(short.words) and least <= size < RUN_TOKENS and 0 < around <= MOST_WORDS_AROUND
        return enough and any(tokens[at : at + size] == short.tokens for at in range(around + 1))

    hits = contamination(dict(zip(ours, ours, strict=True)), {"b": dict(zip(theirs, theirs, strict=True))})
    near = {(hit.problem_id, hit.benchmark_id) for hit in hits if hit.tier == "near"}
    assert near == {(one, other) for one in ours for other in theirs if expected(one, other)}


def test_problems_without_formulas_do_not_go_quadratic() -> None:
    def prose(count: int) -> dict[str, str]:
        draw = random.Random(count)
        return {
            f"p{number}": " ".join(f"w{chr(97 + int(26 * draw.random() ** 2))}{chr(97 + draw.randrange(26))}" for _ in range(25))
            for number in range(count)
        }

    def spent(count: int) -> float:
        problems = prose(count)
        began = time.process_time()
        duplicates(problems)
        return time.process_time() - began

    spent(500)
    least = {count: min(spent(count) for _ in range(4)) for count in (2000, 8000)}  # other work on the machine empties its caches
    assert least[8000] < 10 * least[2000], "four times as many should take about four times as long"
