"""Merged students in the report: held against their parents and their twin, told apart from mixtures."""

from __future__ import annotations

from typing import Any

import made_up
import numpy as np
import pytest

from mixray import recipe, report
from mixray.report import Arm, drawings, markdown, page
from mixray.report.build import build, handle
from mixray.store import Store

SETTINGS = recipe.Report(num_resamples=400)
BENCHMARK = "made-up-test"


def made(store: Store, arms: list[Arm]) -> dict[str, Any]:
    return build("made-up", arms, made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store), SETTINGS, 0, {"name": "made-up"})


def soups(store: Store, *shares: tuple[float, float], seeds: tuple[int, ...] = (0,)) -> list[Arm]:
    """Make up merges by (alpha, share of right answers)."""
    generator = np.random.default_rng(5)
    return [
        made_up.merged_arm(store, alpha, {BENCHMARK: (generator.random((120, 1)) < share).astype(int)}, seed=seed)
        for alpha, share in shares
        for seed in seeds
    ]


def kinds(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(gap["kind"], gap["name"]) for gap in found["gaps"] if "soup" in gap["name"]}


def test_a_merge_is_held_against_its_parents_and_the_mixture_of_its_alpha(store: Store) -> None:
    found = made(store, [*made_up.arms(store, seeds=(0, 1)), *soups(store, (0.2, 0.7), (0.3, 0.6), seeds=(0, 1))])
    assert kinds(found) == {
        ("merge - hard", "soup-0.2 - long"), ("merge - easy", "soup-0.2 - short"), ("merge - mix", "soup-0.2 - mix-0.2"),
        ("merge - hard", "soup-0.3 - long"), ("merge - easy", "soup-0.3 - short"),
        ("trained - untouched", "soup-0.2 - untouched"), ("trained - untouched", "soup-0.3 - untouched"),
    }  # fmt: skip
    assert {gap["num_seeds"] for gap in found["gaps"] if gap["hard"].startswith("soup")} == {2}


def test_merges_at_their_ends_make_no_gap_of_a_blend(store: Store) -> None:
    """A merge at alpha 1 is no hard mixture, and one at alpha 0 no easy one."""
    found = made(store, [*made_up.arms(store), *soups(store, (0.0, 0.5), (0.5, 0.5), (1.0, 0.5))])
    assert [gap["name"] for gap in found["gaps"] if gap["kind"] in ("hard - easy", "mix - easy", "mix - hard")] == [
        "long - short", "mix-0.2 - short", "mix-0.5 - short", "mix-0.2 - long", "mix-0.5 - long",
    ]  # fmt: skip
    assert ("merge - mix", "soup-0.5 - mix-0.5") in kinds(found)


def test_merges_come_last_and_say_what_they_are(store: Store) -> None:
    found = made(store, [*soups(store, (0.2, 0.7)), *made_up.arms(store)])
    assert [row["label"] for row in found["groups"]] == ["untouched", "short", "mix-0.2", "mix-0.5", "long", "soup-0.2"]
    assert [row["merged"] for row in found["groups"]] == [None] * 5 + [{"hard": "long", "easy": "short", "method": "ties"}]
    assert "| soup-0.2 (merge of long and short, ties) | 0.2 |" in markdown.render(found)
    assert 'soup-0.2</a><span class="tag">merge of long and short, ties</span>' in page.render(found)
    assert "soup-0.2 - short" in report.answer(found)


@pytest.mark.parametrize(
    ("share", "says"),
    [(0.99, "The best mixture or merge is soup-0.2: "), (0.05, "No best mixture or merge is shown: ")],
)
def test_the_answer_may_be_a_merge(store: Store, share: float, says: str) -> None:
    shares = {None: 0.15, 0.0: 0.5, 0.2: 0.5, 1.0: 0.3}
    found = made(store, [*made_up.arms(store, shares=shares), *soups(store, (0.2, share))])
    assert says in report.answer(found)


def test_without_merges_nothing_speaks_of_them(store: Store) -> None:
    found = made(store, made_up.arms(store))
    for text in (report.answer(found), markdown.render(found), page.render(found)):
        assert "merge" not in text


def test_a_curve_of_merges_names_its_axis(store: Store) -> None:
    found = made(store, [*made_up.arms(store), *soups(store, (0.2, 0.5), (0.5, 0.6), (0.8, 0.5))])
    titles = {picture.title: picture.svg for picture in drawings.of_student(found, "base").alphas}
    assert "weight of the hard student" in titles["base: accuracy against alpha, soup"]
    assert "weight of the hard student" not in titles["base: accuracy against alpha, mix"]


def test_another_merge_makes_another_report(store: Store) -> None:
    arms = made_up.arms(store)
    inputs = (made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store), SETTINGS, 0, {"name": "made-up"})
    assert handle(store, "made-up", arms, *inputs).hash != handle(store, "made-up", [*arms, *soups(store, (0.2, 0.5))], *inputs).hash
