"""Arms that were made to answer at budgets of tokens, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import made_up
import numpy as np
import pytest

from mixray import recipe
from mixray.errors import MixrayError
from mixray.report import Arm, markdown, page
from mixray.report.build import build, handle
from mixray.report.intervals import accuracy
from mixray.store import Store

SETTINGS = recipe.Report(num_resamples=200)
BENCHMARK = "made-up-test"
# Ten problems of one sample each. Problem p's response has 50 + p % 5 tokens, so at 51 six of ten are longer: all with p % 5 > 1.
RIGHT = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])[:, None]


def made(store: Store, arms: Sequence[Arm]) -> dict[str, Any]:
    taught = (made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store))
    return build("made-up", arms, *taught, SETTINGS, 0, {"name": "made-up"})


def forced(arm: Arm, budgets: Sequence[int] = (10, 51, 99), right: Sequence[int] = (2, 8)) -> Arm:
    """Return the arm made to answer: of the long answers those to these problems come to the right result."""
    return replace(arm, budgets=made_up.budgets(arm.scores, budgets, lambda row, _: row["seed"] in right))


def test_a_cut_answer_counts_by_what_was_said_then_and_a_short_one_as_it_is(store: Store) -> None:
    arm = forced(made_up.arm(store, None, {BENCHMARK: RIGHT}))
    (row,) = made(store, [arm])["forced_budgets"]
    assert (row["student"], row["label"], row["benchmark"]) == ("base", "untouched", BENCHMARK)
    told = [[point[key] for key in ("tokens", "accuracy", "forced_share", "forced_right_share")] for point in row["points"]]
    # At 51 problems 0, 1, 5, 6 are short: 0 and 1 are right; of the six that are cut, 2 and 8 are right.
    assert told == [[10, 0.2, 1.0, 0.2], [51, 0.4, 0.6, 0.2], [99, 0.5, 0.0, 0.0]]


def test_intervals_are_those_of_every_accuracy(store: Store) -> None:
    found = made(store, [forced(made_up.arm(store, None, {BENCHMARK: RIGHT}))])
    point = found["forced_budgets"][0]["points"][1]
    of = accuracy([np.isin(np.arange(10), (0, 1, 2, 8)).astype(float)[None]], SETTINGS.confidence)
    assert (point["accuracy"], point["low"], point["high"]) == (of.estimate, of.low, of.high)
    whole, score = found["forced_budgets"][0]["points"][-1], found["groups"][0]["overall"]
    assert [whole[key] for key in ("accuracy", "low", "high")] == [score[key] for key in ("accuracy", "low", "high")]


def test_seeds_are_pooled_and_means_of_benchmarks_weigh_as_the_accuracy_does(store: Store) -> None:
    problems = {BENCHMARK: 20, "made-up-other": 10}
    arms = [forced(arm) for arm in made_up.arms(store, seeds=(0, 1), problems=problems, shares={None: 0.3, 1.0: 0.6})]
    found = made(store, arms)
    assert [(row["label"], row["benchmark"]) for row in found["forced_budgets"]] == [
        (label, scope) for label in ("untouched", "long") for scope in (*sorted(problems), found["headline"], found["weighted_scope"])
    ]
    by_scope = {row["benchmark"]: row["points"] for row in found["forced_budgets"] if row["label"] == "long"}
    for name in ("accuracy", "forced_share", "forced_right_share"):
        for other, test, mean, weighted in zip(*by_scope.values(), strict=True):
            assert mean[name] == pytest.approx((other[name] + test[name]) / 2)
            assert weighted[name] == pytest.approx((other[name] + 2 * test[name]) / 3)


def test_a_group_of_which_one_arm_was_not_made_to_answer_tells_nothing(store: Store) -> None:
    arms = made_up.arms(store, seeds=(0, 1), shares={None: 0.3, 1.0: 0.6})
    assert made(store, arms)["forced_budgets"] == []
    assert "### Made to answer" not in markdown.render(made(store, arms))
    found = made(store, [forced(arms[0]), forced(arms[1]), arms[2]])
    assert {row["label"] for row in found["forced_budgets"]} == {"untouched"}


def test_only_budgets_that_all_seeds_have_are_told(store: Store) -> None:
    arms = made_up.arms(store, seeds=(0, 1), shares={None: 0.3, 1.0: 0.6})
    found = made(store, [arms[0], forced(arms[1], (10, 51)), forced(arms[2], (51, 99))])
    assert [[point["tokens"] for point in row["points"]] for row in found["forced_budgets"]] == [[51]]


def test_budgets_of_other_answers_are_refused(store: Store) -> None:
    arm = made_up.arm(store, None, {BENCHMARK: RIGHT})
    other = made_up.scores(store, "other", {BENCHMARK: np.ones((12, 1), dtype=int)})
    with pytest.raises(MixrayError, match="was not asked"):
        made(store, [replace(arm, budgets=made_up.budgets(other, [10], lambda *_: True))])


def test_the_page_and_the_markdown_lead_to_the_artefact(store: Store) -> None:
    arm = forced(made_up.arm(store, None, {BENCHMARK: RIGHT}))
    assert arm.budgets is not None
    found = made(store, [arm])
    roles = [row["role"] for row in found["provenance"]["artefacts"]]
    assert found["arms"][0]["budgets_artefact"] == arm.budgets.label
    place = roles.index(f"budgets of {arm.name}")
    cells = "20.0 % [5.7, 51.0] | 40.0 % [16.8, 68.7] | 60.0 % [31.3, 83.2] | 20.0 % [5.7, 51.0]"  # Wilson's, of ten problems
    assert f"| base | untouched | 51 | {cells} |" in markdown.render(found)
    text = page.render(found)
    assert f'<b><a class="src" href="#artefact-{place}" tabindex="-1">40.0 %</a></b> <span class="range">[16.8, 68.7]</span>' in text
    assert text.count('r="4" class="hollow"') == 3
    assert "untouched, made to answer at 51 tokens: 40.0 % [16.8, 68.7]; 60.0 % cut, 20.0 % cut and right" in text


def test_a_report_is_another_where_its_arms_were_made_to_answer(store: Store) -> None:
    arm = made_up.arm(store, None, {BENCHMARK: RIGHT})
    names = {handle(store, "r", [each], {}, {}, made_up.overlaps(store), SETTINGS, 0, {}).hash for each in (arm, forced(arm))}
    assert len(names) == 2
