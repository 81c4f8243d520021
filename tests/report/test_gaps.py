"""Intervals: against known values, by their laws, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mixray.report import gaps
from mixray.report.gaps import Block, Interval


def block(*seeds: str) -> Block:
    """Return one row per seed, one column per digit."""
    return np.array([[float(digit) for digit in digits] for digits in seeds])


HARD = block("1101101110", "0111011111", "1111101111")
EASY = block("1000101010", "0100111000", "1010001000")
UNEVEN = block("1111111111", "0111011010", "1011110111")
THIRDS = np.array([[0, 1 / 3, 2 / 3, 1, 1 / 3, 2 / 3]])


# Worked out with 50 decimal digits from Wilson's formula; to four digits they are those of Newcombe (1998), table I.
@pytest.mark.parametrize(
    ("right", "asked", "confidence", "low", "high"),
    [
        (81, 263, 0.95, 0.255288519878, 0.366209576983),
        (15, 148, 0.95, 0.062386399531, 0.160487241723),
        (0, 20, 0.95, 0.0, 0.161125158053),
        (1, 29, 0.95, 0.006113214293, 0.171755218793),
        (29, 29, 0.95, 0.883030201500, 1.0),
        (81, 263, 0.99, 0.240136902688, 0.385282502318),
    ],
)
def test_wilson_gives_the_known_values(right: int, asked: int, confidence: float, low: float, high: float) -> None:
    answers = np.array([[1.0] * right + [0.0] * (asked - right)])
    told = gaps.accuracy([answers], confidence, 100, 0)
    assert (told.low, told.high) == pytest.approx((low, high), abs=1e-12)
    assert told.estimate == pytest.approx(right / asked)


# Golden: a changed digit changes reports already made, so it needs a new LAYOUT in build.py.
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(gaps.accuracy([HARD[:1]], 0.95, 2000, 7), (0.7, 0.396778147461, 0.892208732594), id="one sample"),
        pytest.param(gaps.accuracy([THIRDS], 0.95, 2000, 7), (0.5, 0.27258087902, 0.72741912098), id="several samples"),
        pytest.param(gaps.accuracy([HARD[:1], THIRDS], 0.95, 2000, 7), (0.6, 0.408389892027, 0.765227406908), id="two benchmarks"),
        pytest.param(gaps.accuracy([HARD], 0.95, 2000, 7), (0.8, 0.555555555556, 0.916666666667), id="three seeds"),
        pytest.param(gaps.difference([HARD[:1] - EASY[:1]], 0.95, 2000, 7), (0.3, -0.083333333333, 0.583333333333), id="difference"),
        pytest.param(gaps.difference([HARD - EASY], 0.95, 2000, 7), (0.433333333333, 0.027777777778, 0.638888888889), id="alike seeds"),
        pytest.param(gaps.difference([UNEVEN - EASY], 0.95, 2000, 7), (0.433333333333, -0.051923248989, 0.756552678028), id="uneven seeds"),
        pytest.param(gaps.difference([HARD - EASY, EASY - HARD], 0.9, 2000, 7), (0.0, -0.194444444444, 0.180555555556), id="opposites"),
    ],
)
def test_golden_values(told: Interval, expected: tuple[float, float, float]) -> None:
    assert (told.estimate, told.low, told.high) == pytest.approx(expected, abs=1.1e-12)


def test_the_same_seed_gives_the_same_digits_and_another_seed_others() -> None:
    first = gaps.difference([UNEVEN - EASY], 0.95, 500, 3)
    assert first == gaps.difference([UNEVEN - EASY], 0.95, 500, 3)
    assert first != gaps.difference([UNEVEN - EASY], 0.95, 500, 4)


def test_the_order_of_problems_does_not_matter() -> None:
    shuffled = np.random.default_rng(0).permutation(HARD.shape[1])
    assert gaps.difference([(HARD - EASY)[:, shuffled]], 0.95, 500, 3) == gaps.difference([HARD - EASY], 0.95, 500, 3)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.1, 0.2, "no difference shown"),
        (0.0, 0.2, "no difference shown"),
        (-0.2, 0.0, "no difference shown"),
        (1e-12, 0.2, "long better"),
        (-0.2, -1e-12, "short better"),
    ],
)
def test_a_winner_is_named_exactly_where_zero_is_outside(low: float, high: float, words: str) -> None:
    interval = Interval((low + high) / 2, low, high)
    assert gaps.verdict(interval, "long", "short") == words
    assert interval.holds_zero == (words == gaps.NO_DIFFERENCE)


def test_ten_ties_are_not_told_as_certainty() -> None:
    told = gaps.difference([np.zeros((1, 10))], 0.95, 2000, 0)
    assert told.low < 0 < told.high
    assert told.estimate == 0


def test_equal_thirds_are_as_uncertain_as_other_shares() -> None:
    """In floats ten thirds vary by 1e-33; the interval must not take that for certainty."""
    thirds = gaps.accuracy([np.full((1, 10), 1 / 3)], 0.95, 100, 0)
    assert thirds.high - thirds.low > 0.4
    assert (thirds.low, thirds.high) == pytest.approx((gaps.wilson(1 / 3, 10, 0.95).low, gaps.wilson(1 / 3, 10, 0.95).high), abs=1e-12)


def test_the_estimate_is_inside_at_low_confidence_too() -> None:
    told = gaps.difference([np.ones((1, 5))], 0.3, 2000, 0)
    assert told.low < 1
    assert told.high == told.estimate == 1


def test_seeds_that_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(1)
    alike = (generator.random((3, 200)) < 0.6).astype(float)
    apart = (generator.random((3, 200)) < np.array([[0.3], [0.6], [0.9]])).astype(float)
    assert gaps.seed_variance([apart]) > 0.01 > gaps.seed_variance([alike])
    assert width(gaps.accuracy([apart], 0.95, 2000, 0)) > 3 * width(gaps.accuracy([alike], 0.95, 2000, 0))


def test_seeds_that_differ_by_chance_alone_add_exactly_nothing() -> None:
    """Float noise of 1e-19 would smear a bound at zero to one side of it."""
    assert gaps.seed_variance([HARD - EASY]) == 0
    assert gaps.seed_variance([HARD[:1] - EASY[:1]]) == 0


def width(interval: Interval) -> float:
    return interval.high - interval.low


@pytest.mark.parametrize(("num_seeds", "seed_spread"), [(1, 0.0), (3, 0.0), (3, 0.1)])
def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says(num_seeds: int, seed_spread: float) -> None:
    generator = np.random.default_rng(20)
    num_worlds, num_problems, truth = 400, 60, 0.12
    held = 0
    for world in range(num_worlds):
        shift = truth + seed_spread * generator.standard_normal((num_seeds, 1))
        common = generator.random((1, num_problems)) * 0.4 + 0.2
        hard = generator.random((num_seeds, num_problems)) < common + shift
        easy = generator.random((num_seeds, num_problems)) < common
        told = gaps.difference([hard.astype(float) - easy.astype(float)], 0.95, 400, world)
        held += told.low <= truth <= told.high
    assert 0.91 <= held / num_worlds <= 0.995


def test_the_interval_of_an_accuracy_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(21)
    held = 0
    for world in range(1000):
        share = generator.random()
        told = gaps.accuracy([(generator.random((1, 40)) < share).astype(float)], 0.95, 1, world)
        held += told.low <= share <= told.high
    assert 0.93 <= held / 1000 <= 0.97


@st.composite
def blocks(draw: st.DrawFn, lowest: int) -> list[Block]:
    """Draw benchmarks of equal seeds and any number of problems, each share a multiple of one over the number of samples."""
    num_seeds, num_samples = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    made = []
    for _ in range(draw(st.integers(1, 2))):
        num_problems = draw(st.integers(1, 8))
        count = num_seeds * num_problems
        rights = draw(st.lists(st.integers(lowest * num_samples, num_samples), min_size=count, max_size=count))
        made.append(np.array(rights).reshape(num_seeds, num_problems) / num_samples)
    return made


@given(blocks(0), st.floats(0.05, 0.999), st.integers(0, 2**63 - 1))
@hypothesis_settings(deadline=None, max_examples=150)
def test_an_accuracy_lies_in_its_interval_and_both_between_zero_and_one(made: list[Block], confidence: float, seed: int) -> None:
    told = gaps.accuracy(made, confidence, 100, seed)
    assert 0 <= told.low <= told.high <= 1
    assert told.low - 1e-12 <= told.estimate <= told.high + 1e-12
    assert told.low < told.high or confidence < 0.8
    assert told.estimate == pytest.approx(np.mean([one.mean() for one in made]))


@given(blocks(-1), st.floats(0.05, 0.999), st.integers(0, 2**63 - 1))
@hypothesis_settings(deadline=None, max_examples=150)
def test_a_difference_lies_in_its_interval_and_turns_its_sign_with_the_arms(made: list[Block], confidence: float, seed: int) -> None:
    told = gaps.difference(made, confidence, 100, seed)
    turned = gaps.difference([-one for one in made], confidence, 100, seed)
    assert -1 <= told.low <= told.estimate <= told.high <= 1
    assert turned.estimate == -told.estimate
    assert gaps.seed_variance([-one for one in made]) == pytest.approx(gaps.seed_variance(made), abs=1e-12)


def test_the_interval_turns_with_the_arms_up_to_the_chance_of_resampling() -> None:
    told, turned = (gaps.difference([sign * (UNEVEN - EASY)], 0.9, 40_000, 0) for sign in (1, -1))
    assert math.isclose(told.low, -turned.high, abs_tol=0.02)
    assert math.isclose(told.high, -turned.low, abs_tol=0.02)
