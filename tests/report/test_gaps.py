"""Intervals: against known values, by their laws, and by how often they hold the truth (all cells: `make bench`, group coverage)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from mixray.report import gaps
from mixray.report.gaps import Difference, Pairs
from mixray.report.hierarchical import hierarchical
from mixray.report.intervals import Block, Interval, accuracy, quantile, seed_variance, wilson


def block(*seeds: str) -> Block:
    """Return one row per seed, one column per digit."""
    return np.array([[float(digit) for digit in digits] for digits in seeds])


def compared(hard: Block, easy: Block, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 7) -> Difference:
    return gaps.difference([Pairs(hard, easy, seed)], confidence, num_resamples)


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
    told = accuracy([answers], confidence)
    assert (told.low, told.high) == pytest.approx((low, high), abs=1e-12)
    assert told.estimate == pytest.approx(right / asked)


# Golden: a changed digit changes reports already made, so it needs a new LAYOUT in build.py.
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(accuracy([HARD[:1]], 0.95), (0.7, 0.396778147461, 0.892208732594), id="one sample"),
        pytest.param(accuracy([THIRDS], 0.95), (0.5, 0.204203294165, 0.795796705835), id="several samples"),
        pytest.param(accuracy([HARD[:1], THIRDS], 0.95), (0.6, 0.388198688012, 0.77638019168), id="two benchmarks"),
        pytest.param(accuracy([HARD[:1], THIRDS], 0.95, np.array([0.75, 0.25])), (0.65, 0.41086260253, 0.812017256633), id="weighted"),
        pytest.param(accuracy([HARD], 0.95), (0.8, 0.595421357588, 0.915766255053), id="three seeds"),
        pytest.param(compared(HARD[:1], EASY[:1]), (0.3, -0.185194139889, 0.598155311911), id="difference"),
        pytest.param(compared(HARD, EASY), (0.433333333333, -0.00975131753, 0.76832140328), id="alike seeds"),
        pytest.param(compared(UNEVEN, EASY), (0.433333333333, -0.104825428158, 0.9359876987), id="uneven seeds"),
        pytest.param(
            gaps.difference([Pairs(HARD, EASY, 7), Pairs(EASY, HARD, 8)], 0.9, 2000), (0.0, -0.191179346896, 0.183868392425), id="opposites"
        ),
    ],
)
def test_golden_values(told: Interval, expected: tuple[float, float, float]) -> None:
    assert (told.estimate, told.low, told.high) == pytest.approx(expected, abs=1.1e-12)


def test_the_same_seed_gives_the_same_digits_and_another_seed_others() -> None:
    first = compared(UNEVEN, EASY, seed=3)
    assert first == compared(UNEVEN, EASY, seed=3)
    assert first != compared(UNEVEN, EASY, seed=4)


def test_the_order_of_problems_does_not_matter() -> None:
    shuffled = np.random.default_rng(0).permutation(HARD.shape[1])
    assert compared(HARD[:, shuffled], EASY[:, shuffled]) == compared(HARD, EASY)


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
    told = compared(np.ones((1, 10)), np.ones((1, 10)))
    assert told.low < 0 < told.high
    assert told.estimate == 0


def test_equal_thirds_are_as_uncertain_as_other_shares() -> None:
    """In floats ten thirds vary by 1e-33; the interval must not take that for certainty."""
    thirds = accuracy([np.full((1, 10), 1 / 3)], 0.95)
    assert thirds.high - thirds.low > 0.4
    assert (thirds.low, thirds.high) == pytest.approx((wilson(1 / 3, 10, 0.95).low, wilson(1 / 3, 10, 0.95).high), abs=1e-12)


def test_the_estimate_is_inside_at_low_confidence_too() -> None:
    told = compared(np.ones((1, 5)), np.zeros((1, 5)), confidence=0.3)
    assert told.low < 1
    assert told.high == told.estimate == 1


def test_one_sample_weighs_its_made_up_answers_in_full_and_many_that_agree_by_chance_hardly() -> None:
    generator = np.random.default_rng(4)
    one, many = (generator.binomial(count, 0.5, (2, 1, 400)) / count for count in (1, 16))
    assert Pairs(one[0], one[1], 0).made_up_weight == 1
    assert Pairs(many[0], many[1], 0).made_up_weight == pytest.approx(16**-2, rel=0.4)


def test_samples_that_all_agree_are_worth_one() -> None:
    """Greedy decoding asked eight times says nothing eight times: the same interval as asked once."""
    assert compared(HARD[:1], EASY[:1]) == compared(np.stack([HARD[0]]), np.stack([EASY[0]]))
    assert Pairs(HARD[:1], EASY[:1], 0).made_up_weight == 1


def test_seeds_that_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(1)
    alike = (generator.random((3, 200)) < 0.6).astype(float)
    apart = (generator.random((3, 200)) < np.array([[0.3], [0.6], [0.9]])).astype(float)
    assert seed_variance([apart]) > 0.01 > seed_variance([alike])
    assert width(accuracy([apart], 0.95)) > 3 * width(accuracy([alike], 0.95))


def test_one_seed_and_seeds_that_agree_add_exactly_nothing() -> None:
    """Float noise of 1e-19 would smear a bound at zero to one side of it."""
    assert seed_variance([HARD[:1] - EASY[:1]]) == 0
    assert seed_variance([np.stack([HARD[0], HARD[0][::-1], np.roll(HARD[0], 3)])]) == 0


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_drawing_problems_then_samples_is_as_wide_as_both_spreads_say() -> None:
    shares, samples = np.array([0.0, 0.25, 0.5, 1.0] * 25), np.full(100, 4)
    told = hierarchical(shares[None], samples, 0.95, 20_000, 0)
    error = math.sqrt((shares.var() + (shares * (1 - shares)).mean() / 4) / 100)
    assert told.estimate == shares.mean()
    assert told.high - told.low == pytest.approx(2 * quantile(0.95, 99) * error, rel=0.03)
    assert hierarchical(np.ones((1, 30)), np.full(30, 4), 0.95, 100, 0) == wilson(1.0, 30, 0.95), "all right is no certainty"


def test_problems_drawn_with_samples_drawn_again_count_sampling_twice() -> None:
    """Why samples are not drawn again within drawn problems: over worlds of problems alike, the mean's true spread is that of
    problems' shares; drawing samples again adds (n - 1) / n of it."""
    generator = np.random.default_rng(9)
    num_samples, num_problems = 4, 200
    means = generator.binomial(num_samples, 0.5, (4000, num_problems)).mean(axis=1) / num_samples
    shares = generator.binomial(num_samples, 0.5, num_problems) / num_samples
    drawn = shares[generator.integers(0, num_problems, (4000, num_problems))]
    again = generator.binomial(num_samples, drawn) / num_samples
    assert drawn.mean(axis=1).std() / means.std() == pytest.approx(1, abs=0.12)
    assert again.mean(axis=1).std() / means.std() == pytest.approx(math.sqrt(1 + 3 / 4), abs=0.2)


@pytest.mark.parametrize(("num_seeds", "num_samples", "seed_spread"), [(1, 1, 0.0), (1, 8, 0.0), (3, 1, 0.0), (3, 1, 0.06)], ids=str)
def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says(num_seeds: int, num_samples: int, seed_spread: float) -> None:
    generator = np.random.default_rng(20)
    num_worlds, num_problems, truth = 500, 60, 0.12
    held = 0
    for world in range(num_worlds):
        shift = truth + seed_spread * generator.standard_normal((num_seeds, 1))
        common = generator.random((1, num_problems)) * 0.4 + 0.2
        hard = generator.binomial(num_samples, np.clip(common + shift, 0, 1), (num_seeds, num_problems)) / num_samples
        easy = generator.binomial(num_samples, common, (num_seeds, num_problems)) / num_samples
        told = compared(hard, easy, 0.95, 400, world)
        held += told.low <= truth <= told.high
    assert 0.92 <= held / num_worlds <= 0.99


@pytest.mark.parametrize("num_samples", [1, 4, 16])
def test_the_interval_of_an_accuracy_holds_the_truth_as_often_as_it_says(num_samples: int) -> None:
    generator = np.random.default_rng(21)
    held = 0
    for _ in range(1500):
        ease = generator.uniform(0.5, 3)
        shares = generator.beta(ease, 1.5, (1, 40))
        told = accuracy([generator.binomial(num_samples, shares) / num_samples], 0.95)
        held += told.low <= ease / (ease + 1.5) <= told.high
    assert 0.93 <= held / 1500 <= 0.97


def test_a_difference_as_large_as_detectable_is_shown_four_times_in_five() -> None:
    generator = np.random.default_rng(22)
    easy = generator.random((1, 400)) < 0.5
    found = compared((generator.random((1, 400)) < 0.5).astype(float), easy.astype(float)).detectable(0.95)
    shown = 0
    for world in range(400):
        hard, easy = (generator.random((1, 400)) < share for share in (0.5 + found / 2, 0.5 - found / 2))
        shown += compared(hard.astype(float), easy.astype(float), 0.95, 400, world).low > 0
    assert 0.74 <= shown / 400 <= 0.86


def test_holm_corrects_step_by_step() -> None:
    assert gaps.holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert gaps.holm([0.02, 0.02, 0.02], 0.05) == [False, False, False]
    assert gaps.holm([0.04], 0.05) == [True]
    assert gaps.holm([], 0.05) == []


def test_p_values_are_uniform_where_nothing_differs_and_agree_with_a_sign_test_elsewhere() -> None:
    generator = np.random.default_rng(23)
    found = [compared(*(generator.random((2, 1, 300)) < 0.5).astype(float), 0.95, 1000, world).p_value for world in range(400)]
    assert stats.kstest(found, "uniform").pvalue > 0.001
    hard, easy = block("1" * 30 + "0" * 10 + "1" * 60), block("0" * 30 + "1" * 10 + "1" * 60)
    assert math.log(compared(hard, easy).p_value) == pytest.approx(math.log(stats.binomtest(30, 40).pvalue), abs=1.5)


@st.composite
def blocks(draw: st.DrawFn, arms: int) -> list[tuple[Block, ...]]:
    """Draw benchmarks of equal seeds and any number of problems, each share a multiple of one over the number of samples."""
    num_seeds, num_samples = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    made = []
    for _ in range(draw(st.integers(1, 2))):
        count = num_seeds * draw(st.integers(1, 8))
        rights = [draw(st.lists(st.integers(0, num_samples), min_size=count, max_size=count)) for _ in range(arms)]
        made.append(tuple(np.array(right).reshape(num_seeds, -1) / num_samples for right in rights))
    return made


@given(blocks(1), st.floats(0.05, 0.999))
@hypothesis_settings(deadline=None, max_examples=150)
def test_an_accuracy_lies_in_its_interval_and_both_between_zero_and_one(made: list[tuple[Block]], confidence: float) -> None:
    told = accuracy([one for (one,) in made], confidence)
    assert 0 <= told.low <= told.high <= 1
    assert told.low - 1e-12 <= told.estimate <= told.high + 1e-12
    assert told.low < told.high or confidence < 0.8
    assert told.estimate == pytest.approx(np.mean([one.mean() for (one,) in made]))


@given(blocks(2), st.floats(0.05, 0.999), st.integers(0, 2**63 - 1))
@hypothesis_settings(deadline=None, max_examples=150)
def test_a_difference_lies_in_its_interval_and_turns_its_sign_with_the_arms(
    made: list[tuple[Block, Block]], confidence: float, seed: int
) -> None:
    told = gaps.difference([Pairs(hard, easy, seed) for hard, easy in made], confidence, 100)
    turned = gaps.difference([Pairs(easy, hard, seed) for hard, easy in made], confidence, 100)
    assert -1 <= told.low <= told.estimate <= told.high <= 1
    assert turned.estimate == -told.estimate
    assert turned.standard_error == pytest.approx(told.standard_error, rel=1e-6)
    assert (told.p_value < 1 - confidence) == (not told.holds_zero)
    assert 0 < told.detectable(confidence) <= 1


def test_the_interval_turns_with_the_arms_up_to_the_chance_of_resampling() -> None:
    told, turned = compared(UNEVEN, EASY, 0.9, 40_000), compared(EASY, UNEVEN, 0.9, 40_000)
    assert math.isclose(told.low, -turned.high, abs_tol=0.02)
    assert math.isclose(told.high, -turned.low, abs_tol=0.02)
