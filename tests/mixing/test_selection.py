"""The mixture rule by property: exact counts, nesting in alpha and in rows, independence of order."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.errors import MixtureError
from mixray.mixing import selection

IDS = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=60)
ALPHAS = st.decimals(min_value=0, max_value=1, places=3).map(float)
SEEDS = st.integers(min_value=0, max_value=2**31)


@given(ALPHAS, st.integers(min_value=0, max_value=100_000))
def test_num_hard_is_the_exact_ceiling_of_the_written_decimal(alpha: float, num_rows: int) -> None:
    product = Decimal(repr(alpha)) * num_rows
    assert selection.num_hard(alpha, num_rows) == int(product.to_integral_value(rounding="ROUND_CEILING"))


@pytest.mark.parametrize(
    ("alpha", "num_rows", "expected"), [(0.07, 100, 7), (0.2, 5, 1), (0.1, 30, 3), (1e-5, 10, 1), (0.0, 9, 0), (1.0, 9, 9)]
)
def test_num_hard_where_floats_go_wrong_or_end(alpha: float, num_rows: int, expected: int) -> None:
    assert selection.num_hard(alpha, num_rows) == expected


def test_floats_would_be_wrong() -> None:
    assert math.ceil(0.07 * 100) == 8, "the reason for exact arithmetic is gone"


@given(IDS, ALPHAS, ALPHAS, SEEDS)
def test_exact_and_nested_in_alpha(ids: set[str], one: float, other: float, seed: int) -> None:
    low, high = sorted((one, other))
    few, many = selection.take_hard(sorted(ids), low, seed), selection.take_hard(sorted(ids), high, seed)
    assert len(few) == selection.num_hard(low, len(ids))
    assert few <= many <= ids


@settings(max_examples=50)
@given(IDS, ALPHAS, SEEDS, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(ids: set[str], alpha: float, seed: int, shuffler: random.Random) -> None:
    ordered, mixed = sorted(ids), sorted(ids)
    shuffler.shuffle(mixed)
    assert selection.take_hard(ordered, alpha, seed) == selection.take_hard(mixed, alpha, seed)
    assert selection.take_rows(ordered, None, seed) == selection.take_rows(mixed, None, seed)
    assert selection.shuffled(ordered, seed) == selection.shuffled(mixed, seed)


@given(IDS, SEEDS, st.data())
def test_fewer_rows_are_a_subset(ids: set[str], seed: int, data: st.DataObject) -> None:
    few = data.draw(st.integers(min_value=1, max_value=len(ids)))
    many = data.draw(st.integers(min_value=few, max_value=len(ids)))
    chosen = selection.take_rows(ids, few, seed)
    assert len(chosen) == few
    assert set(chosen) <= set(selection.take_rows(ids, many, seed)) <= ids


def test_too_few_problems_is_told() -> None:
    with pytest.raises(MixtureError) as caught:
        selection.take_rows(["a", "b"], 3, seed=0)
    assert "2 problems" in str(caught.value)
    assert "num_rows = 3" in str(caught.value)


VERDICTS, STATUSES = st.sampled_from(["right", "wrong", "unknown"]), st.sampled_from(["ok", "looping"])


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5), VERDICTS, STATUSES), unique_by=lambda t: t[:2]))
def test_first_right_takes_the_lowest_right_and_well_formed_sample(rows: list[tuple[str, int, str, str]]) -> None:
    traces = [{"problem_id": p, "sample": s, "verdict": v, "status": form, "trace_id": f"{p}/t/{s}"} for p, s, v, form in rows]
    chosen = selection.first_right(traces)
    for problem in "abcdef":
        right = [s for p, s, v, form in rows if p == problem and v == "right" and form == "ok"]
        assert (chosen[problem]["sample"] if problem in chosen else None) == (min(right) if right else None)


@given(IDS, IDS)
def test_both_right_is_the_intersection(hard: set[str], easy: set[str]) -> None:
    assert selection.both_right(dict.fromkeys(hard), dict.fromkeys(easy)) == sorted(hard & easy)


def test_draws_of_different_purposes_are_independent() -> None:
    ids = [f"p{number}" for number in range(2000)]
    half = set(selection.take_rows(ids, 1000, seed=3))
    hard = selection.take_hard(ids, 0.5, seed=3)
    # 1000 of 2000 drawn twice at random overlap in 500, with a standard deviation of about 11.
    assert abs(len(half & hard) - 500) < 60
