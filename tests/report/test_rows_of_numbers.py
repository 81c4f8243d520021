"""Gaps to the best single, several comparisons at once, sizes, costs, cases and provenance."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest

from mixray import recipe, report
from mixray.report import Arm, Merged, markdown, page
from mixray.report.build import build
from mixray.report.differences import against_best, multiplicity
from mixray.report.gaps import Difference
from mixray.report.provenance import without_places
from mixray.report.scaling import num_parameters
from mixray.rows import SAMPLE_KINDS
from mixray.store import Artefact, Store

SETTINGS = recipe.Report(num_resamples=400)
TWO_BENCHMARKS = {"made-up-test": 60, "made-up-other": 40}


def made(store: Store, arms: list[Arm], pools: dict[str, Artefact] | None = None) -> dict[str, Any]:
    pools = made_up.pools(store) if pools is None else pools
    return build("made-up", arms, made_up.mixtures(store), pools, made_up.overlaps(store), SETTINGS, 0, {"name": "made-up"})


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of two students and two benchmarks."""
    store = Store(str(tmp_path_factory.mktemp("numbers")))
    return made(store, made_up.arms(store, problems=TWO_BENCHMARKS, students=("base", "instruct")))


def gap(low: float, estimate: float, high: float, p_value: float) -> Difference:
    return Difference(estimate, low, high, 0.1, 10, p_value)


def test_every_sample_of_a_score_is_counted_once(told: dict[str, Any]) -> None:
    for row in [*told["arms"], *told["groups"]]:
        for score in (*row["scores"].values(), row["overall"], row["weighted"]):
            assert set(score) >= {"pass_at", "maj_at", "samples_per_problem", "token_quantiles"}
            assert score["accuracy"] + sum(score[f"{kind}_share"] for kind in SAMPLE_KINDS[1:]) == pytest.approx(1)
            for kind, (low, high) in score["share_intervals"].items():
                assert 0 <= low <= score[kind] <= high <= 1
                assert low < high, "a share that was not seen is not told as certainty"


def test_a_share_of_samples_has_the_interval_of_its_problems(store: Store) -> None:
    rights = np.array([[1, 1, 1, 1], [0, 0, 0, 0]] * 20)  # samples of a problem agree: four tell no more than one
    four, one = (made(store, [made_up.arm(store, None, {"sums": each})])["arms"][0]["overall"] for each in (rights, rights[:, :1]))
    assert four["share_intervals"] == one["share_intervals"]
    low, high = one["share_intervals"]["wrong_share"]
    assert (low, high) == pytest.approx((1 - one["high"], 1 - one["low"])), "what is not right is wrong here"


def test_pass_and_majority_stand_with_their_intervals_in_the_page_and_the_markdown(store: Store) -> None:
    arm = made_up.arm(store, None, {"sums": np.array([[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]] * 5)})
    found = made(store, [arm])
    score = found["groups"][0]["overall"]
    whole = page.render(found)
    for name, title in (("pass_at", "pass@4"), ("maj_at", "maj@4")):
        (low, high), share = score[f"{name}_intervals"]["4"], score[name]["4"]
        assert low < share < high
        shown = (f"{100 * share:.1f} %", f"[{100 * low:.1f}, {100 * high:.1f}]")
        assert " ".join(shown) in markdown.render(found)
        assert f'{shown[0]}</a> <span class="range">{shown[1]}</span>' in whole
        assert f'<th scope="col">{title}</th>' in whole


def test_accuracies_are_drawn_problems_then_samples_where_the_recipe_says_so(store: Store) -> None:
    settings = recipe.Report(num_resamples=2000, bootstrap="hierarchical")
    arms = made_up.arms(store, shares={None: 0.3, 1.0: 0.6})
    of = (store, made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store))
    plain, drawn = (
        build("made-up", arms, *of[1:], each, 0, {}) for each in (settings.model_copy(update={"bootstrap": "problems"}), settings)
    )
    for one, other in zip(plain["groups"], drawn["groups"], strict=True):
        assert one["overall"]["accuracy"] == other["overall"]["accuracy"]
        assert (one["overall"]["low"], one["overall"]["high"]) != (other["overall"]["low"], other["overall"]["high"])
    assert plain["gaps"] == drawn["gaps"]
    assert drawn["bootstrap"] == "hierarchical"


def test_all_questions_weigh_each_question_the_same(told: dict[str, Any]) -> None:
    for row in told["arms"]:
        right = sum(score["accuracy"] * score["num_problems"] for score in row["scores"].values())
        assert row["weighted"]["accuracy"] == pytest.approx(right / sum(TWO_BENCHMARKS.values()))
        assert row["weighted"]["low"] < row["weighted"]["accuracy"] < row["weighted"]["high"]


def test_one_benchmark_has_no_mean_beside_it(store: Store) -> None:
    found = made(store, made_up.arms(store))
    assert (found["scopes"], found["weighted_scope"], found["headline"]) == (["made-up-test"], None, "made-up-test")
    assert all(row["weighted"] == row["overall"] == row["scores"]["made-up-test"] for row in found["groups"])


def test_better_than_the_best_single_needs_to_be_better_than_each(told: dict[str, Any]) -> None:
    for row in told["gaps"]:
        if row["kind"] == "mix - best single":
            key = (row["student"], row["benchmark"], row["hard"])
            of = [
                one
                for one in told["gaps"]
                if (one["student"], one["benchmark"], one["hard"]) == key and one["kind"] in ("mix - easy", "mix - hard")
            ]
            assert len(of) == 2
            assert row["difference"] == min(one["difference"] for one in of)
            assert (row["low"], row["high"]) == (min(one["low"] for one in of), min(one["high"] for one in of))
            assert (row["low"] > 0) == all(one["low"] > 0 for one in of)
            assert row["holds_jointly"] <= (not row["low"] <= 0 <= row["high"])


def test_against_the_best_a_close_second_can_hide_the_gap() -> None:
    best, other = gap(0.02, 0.1, 0.2, 0.01), gap(-0.01, 0.12, 0.4, 0.08)
    assert (against_best([best, other]).estimate, against_best([best, other]).low) == (0.1, -0.01)
    assert against_best([best, other]).p_value == 1.0
    assert against_best([best, gap(0.1, 0.3, 0.4, 0.001)]).p_value == 0.01


def test_what_holds_jointly_is_shown_alone_and_the_counts_are_those_of_the_headline(told: dict[str, Any]) -> None:
    for row in told["gaps"]:
        assert row["holds_jointly"] <= (not row["low"] <= 0 <= row["high"])
        assert 0 < row["detectable"] <= 1
    counted = [row for row in told["gaps"] if row["benchmark"] == "mean of benchmarks" and row["kind"] != "mix - best single"]
    of = told["multiplicity"]
    assert (of["num_gaps"], of["num_shown_jointly"]) == (len(counted), sum(row["holds_jointly"] for row in counted))
    assert of["num_shown"] == sum(not row["low"] <= 0 <= row["high"] for row in counted)
    assert of["expected_by_chance"] == pytest.approx(0.05 * len(counted))
    assert of["text"] in markdown.render(told)


def test_a_report_without_gaps_says_so(store: Store) -> None:
    found = made(store, made_up.arms(store, shares={None: 0.5}))
    assert found["multiplicity"]["text"] == "No gaps were looked at."
    assert (found["costs"], found["alpha_curves"], found["scaling"], found["cases"], found["shifts"]) == ([], [], [], [], [])
    assert multiplicity([], "x", 0.95)["num_gaps"] == 0


def test_the_answer_says_how_small_a_gap_could_have_been_shown(told: dict[str, Any]) -> None:
    text = report.answer(told)
    found = next(row for row in told["gaps"] if row["kind"] == "hard - easy" and row["benchmark"] == told["headline"])
    assert f"With 100 problems this test could have shown a gap of {100 * found['detectable']:.0f} points or more (long - short" in text
    assert "Every arm was trained with one seed" in text


def test_two_seeds_are_told_to_say_little(store: Store) -> None:
    assert "Two seeds hardly tell" in report.answer(made(store, made_up.arms(store, seeds=(0, 1))))


def test_alpha_curves_hold_every_alpha_and_the_first_of_the_highest(told: dict[str, Any]) -> None:
    assert Counter((row["student"], row["benchmark"]) for row in told["alpha_curves"]) == Counter(
        (student, scope) for student in ("base", "instruct") for scope in (*told["scopes"], told["weighted_scope"])
    )
    for row in told["alpha_curves"]:
        assert [point["alpha"] for point in row["points"]] == [0.0, 0.2, 0.5, 1.0]
        best = max(point["accuracy"] for point in row["points"])
        assert next(point["alpha"] for point in row["points"] if point["accuracy"] == best) == row["best_alpha"]


def test_histograms_and_budgets_are_common_to_a_student_and_add_up(told: dict[str, Any]) -> None:
    for student in ("base", "instruct"):
        for scope in told["scopes"]:
            bins = [row for row in told["lengths"] if (row["student"], row["benchmark"]) == (student, scope)]
            assert len(bins) == 5
            assert len({tuple(row["edges"]) for row in bins}) == 1
            count = TWO_BENCHMARKS.get(scope, sum(TWO_BENCHMARKS.values()))
            assert {sum(row["counts"]) for row in bins} == {count}
            assert all(cut <= all_ for row in bins for cut, all_ in zip(row["truncated_counts"], row["counts"], strict=True))
            curves = [row for row in told["budget_curves"] if (row["student"], row["benchmark"]) == (student, scope)]
            assert len({tuple(point["tokens"] for point in row["points"]) for row in curves}) == 1
            for row in curves:
                shares = [point["accuracy"] for point in row["points"]]
                assert shares == sorted(shares)
                group = next(one for one in told["groups"] if (one["student"], one["label"]) == (student, row["label"]))
                assert shares[-1] == pytest.approx(group["scores"].get(scope, group["overall"])["accuracy"])


def safetensors(path: Path, *shapes: tuple[int, ...]) -> None:
    """Write a file of zeros with these tensors."""
    header, at = {}, 0
    for number, shape in enumerate(shapes):
        size = 4 * int(np.prod(shape))
        header[f"t{number}"] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def test_a_student_is_as_large_as_its_weights(store: Store, tmp_path: Path) -> None:
    safetensors(tmp_path / "model-00001.safetensors", (3, 4), (5,))
    safetensors(tmp_path / "model-00002.safetensors", (2, 2))
    safetensors(tmp_path / "adapter_model.safetensors", (100,))
    untouched = replace(made_up.arm(store, None, {"made-up-test": np.ones((4, 1), dtype=int)}), model=str(tmp_path))
    assert num_parameters([untouched]) == {"base": 21}
    trained = made_up.arm(store, 1.0, {"made-up-test": np.ones((4, 1), dtype=int)})
    assert num_parameters([replace(untouched, model="owner/name"), trained]) == {"base": None}
    merged = replace(trained, trained=made_up.trained(store, "merged", None, {"num_parameters": 7}))
    assert num_parameters([replace(untouched, model="owner/name"), merged]) == {"base": 7}


def test_gaps_of_several_students_stand_by_size(store: Store, tmp_path: Path) -> None:
    arms = made_up.arms(store, students=("big", "small"))
    for student, size in (("big", 1500), ("small", 200)):
        (tmp_path / student).mkdir()
        safetensors(tmp_path / student / "model.safetensors", (size, 1))
    found = made(store, [replace(arm, model=str(tmp_path / arm.student)) if arm.trained is None else arm for arm in arms])
    for row in found["scaling"]:
        assert [(point["student"], point["num_parameters"]) for point in row["points"]] == [("small", 200), ("big", 1500)]
    assert {row["name"] for row in found["scaling"]} >= {"long - short", "mix-0.2 - best single", "long - untouched"}
    assert "long - short across students: small (0.2k) " in report.answer(found)
    assert not made(store, made_up.arms(store))["scaling"]


def test_an_arm_pays_for_the_share_of_each_pool_that_it_uses(store: Store) -> None:
    pools = {}
    for name, response in (("long", 9_000), ("short", 1_000)):
        pools[name] = store.artefact("pools", name, {"costs": True})
        with pools[name].staging() as staging:
            staging.write_table("traces.parquet", made_up.pools(store)[name].read_table())
            staging.outcome = {
                **made_up.pools(store)[name].outcome, "prompt_tokens": 100, "response_tokens": response,
                "cost": 0.0 if name == "short" else 3.0,
            }  # fmt: skip
    right = {"made-up-test": np.ones((120, 1), dtype=int)}
    soups = [
        replace(made_up.merged_arm(store, alpha, right), merged=Merged(hard, "short", "linear"))
        for alpha, hard in ((0.2, "long"), (0.5, "mix-0.5"))
    ]
    found = {row["label"]: row for row in made(store, [*made_up.arms(store), *soups], pools)["costs"]}
    used = {"long": 452 / 910, "short": 451 / 910}  # rows of mix-0.5 over right traces of the pool
    row = found["mix-0.5"]
    assert row["used_shares"] == pytest.approx(used)
    assert row["teacher_tokens"] == pytest.approx(9_100 * used["long"] + 1_100 * used["short"])
    assert (row["asked_tokens"], row["currency"]) == (10_200, "USD")
    assert (row["training_seconds"], row["training_tokens"]) == (60.0, 90 * 1000)
    assert row["points"] > 0
    assert row["teacher_tokens_per_point"] == pytest.approx(row["teacher_tokens"] / row["points"])
    assert row["training_seconds_per_point"] == pytest.approx(60 / row["points"])
    assert row["teacher_cost"] is row["cost_per_point"] is None  # the short pool has no price
    assert found["long"]["teacher_cost"] == pytest.approx(3.0 * 903 / 910)
    assert found["soup-0.2"]["used_shares"] == pytest.approx({"long": 903 / 910, "short": 903 / 910})
    assert found["soup-0.2"]["training_seconds"] == 120.0
    assert found["soup-0.2"]["asked_tokens"] == 10_200
    # What both were taught is paid for once: the short traces of mix-0.5 are among those of short.
    assert found["soup-0.5"]["used_shares"] == pytest.approx({"long": 452 / 910, "short": 903 / 910})
    assert found["soup-0.5"]["teacher_tokens"] == pytest.approx((9_100 * 452 + 1_100 * 903) / 910)


def test_no_gain_and_no_match_have_no_price_per_point(store: Store) -> None:
    arms = [replace(arm, matched=arm.alpha != 0.0) for arm in made_up.arms(store, shares={None: 0.5, 0.0: 0.9, 1.0: 0.1})]
    for row in made(store, arms)["costs"]:
        assert row["training_seconds"] == 60.0
        assert row["training_seconds_per_point"] is None


def test_cases_are_what_their_sentence_says_and_the_same_each_time(store: Store, told: dict[str, Any]) -> None:
    assert told["cases"]
    arms = made_up.arms(store, problems=TWO_BENCHMARKS, students=("base", "instruct"))
    assert made(store, arms)["cases"] == told["cases"]
    right = {
        (arm.student, arm.label, row["benchmark"], row["problem_id"]): row["verdict"] == "right"
        for arm in arms
        for row in arm.scores.read_table(["benchmark", "problem_id", "verdict"]).to_pylist()
    }
    for case in told["cases"]:
        is_right = {label: right[case["student"], label, case["benchmark"], case["problem_id"]] for label in case["labels"]}
        if found := re.match(r"(\S+) is (right|wrong) where both (\S+) and (\S+) are", case["why"]):
            mix, how, *singles = found.groups()
            assert [is_right[label] == (how == "right") for label in (mix, *singles)] == [True, False, False]
    assert max(Counter((case["student"], case["why"]) for case in told["cases"]).values()) <= 2


def test_every_number_leads_to_its_artefacts(store: Store) -> None:
    problems = store.artefact("problems", "made-up-test", {"source": "/home/someone/secret/test.jsonl"})
    with problems.staging() as staging:
        staging.write_json("rows.json", [1])
        staging.outcome = {"num_problems": 1, "strata": [1], "deep": {"a": {"b": 1}}}
    arm = made_up.arm(store, None, {"made-up-test": np.ones((4, 1), dtype=int)})
    scores = store.artefact("scores", arm.name, {"student": "x"}, {"benchmark made-up-test": problems})
    with scores.staging() as staging:
        staging.write_table("scores.parquet", arm.scores.read_table())
    found = made(store, [replace(arm, scores=scores, model="/home/someone/secret/model")])
    by_label = {row["label"]: row for row in found["provenance"]["artefacts"]}
    row = found["arms"][0]
    assert by_label[row["scores_artefact"]]["inputs"] == {"benchmark made-up-test": problems.label}
    assert (row["trained_artefact"], row["model"]) == (None, "…/model")
    of = by_label[problems.label]
    assert (of["role"], of["made"], of["outcome"]) == ("benchmark made-up-test", {"source": "…/test.jsonl"}, {"num_problems": 1})
    assert of["files"] == problems.manifest()["files"]
    assert all(set(each) >= {"role", "label", "kind", "made", "inputs", "versions", "files", "outcome"} for each in by_label.values())
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/a/b.jsonl", "…/b.jsonl"),
        ("~/models/base/", "…/base"),
        ("C:\\data\\x.csv", "…/x.csv"),
        ("file:///srv/x", "…/x"),
        ("Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-3B"),
        ("tiny:base", "tiny:base"),
        ("./data/x.jsonl", "./data/x.jsonl"),
        ({"a": ["/x/y", 1, None]}, {"a": ["…/y", 1, None]}),
    ],
)
def test_places_of_a_machine_are_cut(value: Any, expected: Any) -> None:
    assert without_places(value) == expected
