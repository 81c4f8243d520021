"""Contrasts of several arms: the report's own gaps where there are two, and by hand where there are more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import made_up
import numpy as np
import pytest
from scipy import stats

from mixray import recipe
from mixray.errors import MixrayError
from mixray.report.answers import SeedGroup, read_groups
from mixray.report.contrasts import estimate, mean_with_interval, read_terms
from mixray.report.differences import gap_rows
from mixray.report.scopes import Statistics
from mixray.store import Store

SETTINGS = recipe.Report(num_resamples=500)
BENCHMARK = "made-up-test"


@pytest.fixture
def groups(store: Store) -> list[SeedGroup]:
    return read_groups(made_up.arms(store, seeds=(0, 1, 2), students=("base", "other")))


def test_two_arms_come_to_the_gap_of_the_report(groups: list[SeedGroup]) -> None:
    for gap in gap_rows(groups, Statistics(SETTINGS, 5)):
        if gap["kind"] == "mix - best single":
            continue
        told = estimate(f"{gap['student']}/{gap['hard']} - {gap['student']}/{gap['easy']}", "accuracy", groups, SETTINGS, 5)
        assert (told.value, told.low, told.high, told.detectable) == tuple(gap[key] for key in ("difference", "low", "high", "detectable"))


def test_what_is_alike_comes_to_nothing(groups: list[SeedGroup]) -> None:
    told = estimate("base/long - base/short - base/long + base/short", "accuracy", groups, SETTINGS, 0)
    assert (told.value, told.low, told.high, told.detectable) == (0, 0, 0, 0)


def test_a_difference_of_differences_is_that_of_the_means(groups: list[SeedGroup]) -> None:
    means = {(group.student, group.label): float(group.block(BENCHMARK).mean()) for group in groups}
    told = estimate("base/long - base/short - other/long + other/short", "accuracy", groups, SETTINGS, 0)
    expected = means["base", "long"] - means["base", "short"] - means["other", "long"] + means["other", "short"]
    assert told.value == pytest.approx(expected, abs=1e-12)
    assert told.low < told.value < told.high
    assert told.detectable > told.high - told.value


def test_one_seed_gives_students_interval_over_problems() -> None:
    values = np.random.default_rng(3).normal(0.1, 0.5, (1, 80))
    told = mean_with_interval(values, 0.95)
    low, high = stats.t.interval(0.95, 79, loc=values.mean(), scale=stats.sem(values[0]))
    assert (told.low, told.high) == pytest.approx((low, high), rel=1e-12)


def test_seeds_that_differ_make_the_interval_wider() -> None:
    problems = np.random.default_rng(4).normal(0, 0.2, (1, 200))
    alike, apart = np.repeat(problems, 3, axis=0), problems + np.array([[-0.3], [0.0], [0.3]])
    one, other = mean_with_interval(alike, 0.95), mean_with_interval(apart, 0.95)
    assert other.value == pytest.approx(one.value)
    assert other.high - other.low > 5 * (one.high - one.low)


def test_its_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Worlds of three seeds and 100 problems, problems and seeds drawn anew, where seeds hardly matter and where they rule.

    95 % of 400 is 380, three standard errors are 13. Of three seeds' variance little is known: 93 % is what can be had where they rule.
    """
    for of_seeds in (0.02, 0.1, 0.4):
        told = [mean_with_interval(0.1 + world, 0.95) for world in worlds(of_seeds)]
        assert 362 <= sum(each.low <= 0.1 <= each.high for each in told) <= 396, of_seeds


def test_what_could_have_been_shown_is_shown_four_times_in_five() -> None:
    for of_seeds in (0.02, 0.1, 0.4):
        found = float(np.mean([mean_with_interval(world, 0.95).detectable for world in worlds(of_seeds)]))
        shown = sum(mean_with_interval(found + world, 0.95).low > 0 for world in worlds(of_seeds))
        assert 296 <= shown <= 350, of_seeds


def worlds(of_seeds: float) -> Iterator[np.ndarray]:
    """Return 400 worlds without a difference."""
    generator = np.random.default_rng(8)
    for _ in range(400):
        yield generator.normal(0, 0.3, (1, 100)) + generator.normal(0, of_seeds, (3, 1)) + generator.normal(0, 0.6, (3, 100))


def test_tokens_are_those_of_a_response(groups: list[SeedGroup]) -> None:
    told = estimate("base/long - base/short", "tokens", groups, SETTINGS, 0)
    assert told.value == told.low == told.high == 150  # made up so: every problem's response is as much longer


def test_an_arm_made_to_answer_is_a_term_of_its_own(store: Store) -> None:
    right = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])[:, None]
    arm = made_up.arm(store, None, {BENCHMARK: right})
    forced = replace(arm, budgets=made_up.budgets(arm.scores, [10], lambda row, _: row["seed"] == 9))
    told = estimate(f"base/untouched@{BENCHMARK}<10 - base/untouched", "accuracy", read_groups([forced]), SETTINGS, 0)
    assert told.value == pytest.approx(0.1 - 0.3)
    with pytest.raises(MixrayError, match="not made to answer"):
        estimate("base/untouched<11 - base/untouched", "accuracy", read_groups([forced]), SETTINGS, 0)


@pytest.mark.parametrize("text", ["", "base", "base/long base/short", "base/long * base/short", "base/long -"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(MixrayError, match="cannot be read"):
        read_terms(text)


def test_an_arm_that_is_not_there_is_refused_with_those_that_are(groups: list[SeedGroup]) -> None:
    with pytest.raises(MixrayError, match="base/long"):
        estimate("base/lang - base/short", "accuracy", groups, SETTINGS, 0)


def test_arms_of_other_seeds_are_refused(store: Store) -> None:
    right = {BENCHMARK: np.ones((4, 1), dtype=int)}
    arms = [made_up.arm(store, None, right), made_up.arm(store, 0.0, right, seed=1), made_up.arm(store, 1.0, right, seed=2)]
    with pytest.raises(MixrayError, match="no training seed in common"):
        estimate("base/long - base/short", "accuracy", read_groups(arms), SETTINGS, 0)
