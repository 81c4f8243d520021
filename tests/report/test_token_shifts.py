"""Shares, lists and positions of made-up ranks, counted by hand; and the interval, that it covers."""

from __future__ import annotations

import tempfile
from typing import Any

import made_up
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray import recipe
from mixray.recipe import Shifts
from mixray.report import markdown, origins, page
from mixray.report.answers import read_groups
from mixray.report.build import build
from mixray.report.shifts import interval, read, rows, top_words
from mixray.rows import digest
from mixray.shifts.actor import SHIFT
from mixray.store import Artefact, Store

SPELLINGS = {1: "Wa", 2: "it", 3: ",", 4: " so", 5: "\n", 6: "<end>"}
# `Wait, so \nso` and its end: words 0 0 0 1 - 2 -
TEXT, IDS, WORDS = "Wait, so \n so", [1, 2, 3, 4, 5, 4, 6], [0, 0, 0, 1, -1, 2, -1]
ONE_ARM = {None: 0.15, 0.2: 0.75}
REPORT = recipe.Report(num_resamples=200)


def shifts(store: Store, name: str, ranks: list[list[int]], own: list[list[int]] | None = None, text: str = TEXT) -> Artefact:
    """Store made-up ranks of responses that all say the same."""
    made = [
        {
            "problem_id": f"p{number}", "benchmark": "b", "sample": 0, "response": text, "token_ids": IDS[: len(each)],
            "words": WORDS[: len(each)], "ranks": each, "surprisals": [float(np.log(rank)) for rank in each],
            "own_ranks": own[number] if own else None,
        }
        for number, each in enumerate(ranks)
    ]  # fmt: skip
    artefact = store.artefact("shifts", name, {"rows": digest(made)})
    with artefact.staging() as staging:
        staging.write_table("shifts.parquet", pa.Table.from_pylist(made, schema=SHIFT))
        staging.write_json("spellings.json", SPELLINGS)
        staging.outcome = {"num_counted_otherwise": 1}
    return artefact


def told(store: Store, ranks: list[list[int]], own: list[list[int]] | None = None, **said: Any) -> dict[str, Any]:
    """Return the row of the trained arm of one student."""
    arms = made_up.arms(store, shares=ONE_ARM)
    made = shifts(store, arms[1].name, ranks, own)
    settings = {"least_count": 1, "num_positions": 2, **said}
    report = build("made-up", arms, made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store), REPORT, 0,
                   {"shifts": settings}, {arms[1].name: made})  # fmt: skip
    assert f"shifts of {arms[1].name}" in [row["role"] for row in report["provenance"]["artefacts"]]
    (row,) = report["shifts"]
    assert row["label"] == arms[1].label
    assert "## What the students say" in (shown := markdown.render(report))
    assert f"Of {len(ranks)} responses 1 are read as more or fewer tokens than were sampled" in shown
    return dict(row)


RANKS = [[1, 1, 1, 2, 1, 3, 1], [9, 4, 1, 1, 1, 1, 1]]


def test_shares_of_tokens_and_where_they_stand(store: Store) -> None:
    row = told(store, RANKS)
    assert (row["num_responses"], row["num_tokens"]) == (2, 14)
    assert [row["unshifted"], row["marginal"], row["shifted"]] == pytest.approx([10 / 14, 2 / 14, 2 / 14])
    assert row["low"] <= row["shifted"] <= row["high"]
    assert row["mean_probability"] == pytest.approx((10 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 9) / 14)
    assert row["positions"] == [
        {"from_share": 0.0, "to_share": 0.5, "shifted_share": 2 / 8},
        {"from_share": 0.5, "to_share": 1.0, "shifted_share": 0.0},
    ]
    assert told(store, RANKS, marginal_rank=1)["shifted"] == pytest.approx(4 / 14)


def test_tokens_that_moved_furthest_come_first_and_those_that_did_not_move_never(store: Store) -> None:
    top = told(store, RANKS)["top"]
    assert [row["token"] for row in top] == ["Wa", "it", " so"]
    assert top[0] == {"token": "Wa", "count": 2, "shifted_share": 0.5, "mean_shift": 4.0, "median_shift": 4.0, "max_shift": 8}
    assert top[2] == {"token": " so", "count": 4, "shifted_share": 0.0, "mean_shift": 0.75, "median_shift": 0.5, "max_shift": 2}
    assert [row["token"] for row in told(store, RANKS, least_count=3)["top"]] == [" so"]
    assert len(told(store, RANKS, top=1)["top"]) == 1
    assert [row["token"] for row in told(store, RANKS, top_by="shifted_share")["top"]] == ["Wa", "it", " so"]


def test_a_word_is_as_far_off_as_the_worst_of_its_tokens_and_loses_its_commas(store: Store) -> None:
    top = told(store, RANKS)["top_words"]
    assert [(row["word"], row["count"], row["shifted_share"], row["mean_shift"], row["max_shift"]) for row in top] == [
        ("Wait", 2, 0.5, 4.0, 8),
        ("so", 4, 0.0, 0.75, 2),
    ]


def test_against_its_own_ranks_a_shift_is_a_difference(store: Store) -> None:
    own = [[1] * 7, [5, 6, 1, 1, 1, 1, 1]]
    row = told(store, RANKS, own, against_own=True)
    assert row["shifted"] == pytest.approx(2 / 14), "the shares are of ranks under the untouched student"
    assert {top["token"]: top["max_shift"] for top in row["top"]} == {"Wa": 4, " so": 2}
    assert {top["word"]: top["max_shift"] for top in row["top_words"]} == {"Wait": 4, "so": 2}


def test_arms_of_several_seeds_are_one_row_and_half_read_groups_none(store: Store) -> None:
    arms = made_up.arms(store, seeds=(0, 1), shares=ONE_ARM)
    trained = [arm for arm in arms if arm.seed is not None]
    made = {arm.name: shifts(store, arm.name, RANKS[: number + 1]) for number, arm in enumerate(trained)}
    asked = {"shifts": {"least_count": 1}}
    (row,) = rows(read_groups(arms), made, asked, REPORT, 0)
    assert (row["num_responses"], row["num_tokens"]) == (3, 21)
    assert rows(read_groups(arms), dict(list(made.items())[:1]), asked, REPORT, 0) == []
    assert rows(read_groups(arms), {}, {}, REPORT, 0) == []


def test_numbers_lead_to_the_one_artefact_and_of_several_seeds_to_the_arm_that_names_them(store: Store) -> None:
    arms = made_up.arms(store, seeds=(0, 1), shares=ONE_ARM)
    made = {arm.name: shifts(store, arm.name, RANKS) for arm in arms}
    taught = (made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store))
    report = build("made-up", arms, *taught, REPORT, 0, {"shifts": {"least_count": 1}}, made)
    found, text = origins.of(report), page.render(report)
    alone, pooled = found.source(f"shifts of {arms[0].name}"), found.arm("base", arms[1].label)
    assert (found.made("base", "untouched", "token shifts"), found.made("base", arms[1].label, "token shifts")) == (alone, pooled)
    for anchor in (alone, pooled):
        assert f'<b><a class="src" href="#{anchor}" tabindex="-1">14.3 %</a></b>' in text
    block = next(block for block in found.arms if block["anchor"] == pooled)
    assert [row["label"] for row in block["sources"] if row["what"] == "token shifts"] == [made[arm.name].label for arm in arms[1:]]


def test_nothing_read_is_told_as_nothing(store: Store) -> None:
    row = told(store, [])
    assert (row["num_responses"], row["num_tokens"], row["shifted"], row["low"]) == (0, 0, None, None)
    assert row["top"] == row["top_words"] == []
    assert [part["shifted_share"] for part in row["positions"]] == [None, None]


def test_one_problem_has_no_interval_and_equal_ones_a_narrow_one() -> None:
    assert interval(["p", "p"], np.array([1, 2]), np.array([4, 4]), 0.95, 100, 0) == (None, None)
    assert interval(["p", "q"], np.array([1, 1]), np.array([4, 4]), 0.95, 100, 0) == (0.25, 0.25)


def test_the_interval_covers_the_share_of_responses_whose_tokens_hang_together() -> None:
    """Each response has a share of its own; an interval that took tokens for independent would cover a third as often."""
    covered, naive, trials, truth = 0, 0, 400, 0.2
    for trial in range(trials):
        draws = np.random.default_rng(trial)
        sizes = draws.integers(50, 400, size=100)
        counts = draws.binomial(sizes, draws.beta(2, 8, size=100))
        low, high = interval([f"p{number}" for number in range(100)], counts, sizes, 0.95, 400, trial)
        assert low is not None
        assert high is not None
        covered += low <= truth <= high
        share = counts.sum() / sizes.sum()
        naive += abs(share - truth) <= 1.96 * np.sqrt(share * (1 - share) / sizes.sum())
    assert naive / trials < 0.5
    assert 0.92 <= covered / trials <= 0.98


@given(st.lists(st.lists(st.integers(1, 400), min_size=7, max_size=7), min_size=1, max_size=6))
def test_every_word_said_is_counted_once(ranks: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = read([shifts(Store(folder), "arm", ranks)])
    top = {row["word"]: row for row in top_words(made, Shifts(least_count=1))}
    worst = [max(each[:3]) - 1 for each in ranks]
    if any(worst):
        assert (top["Wait"]["count"], top["Wait"]["max_shift"]) == (len(ranks), max(worst))
        assert top["Wait"]["mean_shift"] == pytest.approx(np.mean(worst))
    else:
        assert "Wait" not in top
