"""The stage on made-up scores: what report.json holds, what the answer dares to say, and how the page and the Markdown show it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pyarrow as pa
import pytest

from mixray import recipe, report, rows
from mixray.errors import MixrayError
from mixray.progress import StageProgress
from mixray.report import Arm, markdown, numerals, page
from mixray.report.build import build
from mixray.store import Artefact, Store

SETTINGS = recipe.Report(num_resamples=400)
TWO_BENCHMARKS = {"made-up-test": 60, "made-up-other": 40}


def made(store: Store, arms: list[Arm], settings: recipe.Report = SETTINGS) -> dict[str, Any]:
    """Return the content of the report of these arms."""
    return build("made-up", arms, made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store), settings, 0, {"name": "made-up"})


def run(store: Store, arms: list[Arm], quiet: StageProgress) -> Artefact:
    return report.run(
        store,
        "made-up",
        arms,
        made_up.mixtures(store),
        made_up.pools(store),
        made_up.overlaps(store),
        SETTINGS,
        0,
        {"name": "made-up"},
        quiet,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Arm], dict[str, Any]]:
    """Arms of two students, two seeds and two benchmarks, and their report."""
    store = Store(str(tmp_path_factory.mktemp("report")))
    arms = made_up.arms(store, seeds=(0, 1), problems=TWO_BENCHMARKS, students=("base", "instruct"))
    return arms, made(store, arms)


def test_the_stage_writes_three_files_and_keeps_the_contract(store: Store, quiet: StageProgress) -> None:
    artefact = run(store, made_up.arms(store), quiet)
    names = {path.name for path in artefact.local_folder().iterdir()}
    assert names >= {"report.json", "report.md", "index.html"}
    found = artefact.read_json("report.json")
    score = {"accuracy", "low", "high", "num_problems", "num_samples"}
    assert set(found["arms"][0]) >= {
        "arm", "student", "mixture", "seed", "matched", "mean_response_tokens", "truncated_share", "scores",
    }  # fmt: skip
    assert set(found["arms"][0]["scores"]["made-up-test"]) >= score
    assert set(found["gaps"][0]) >= {"name", "student", "benchmark", "hard", "easy", "difference", "low", "high", "verdict"}
    assert set(found["mixtures"][0]) >= {"name", "alpha", "num_rows", "row_share", "token_share", "loss_token_share", "dropped"}
    assert set(found["pools"][0]) >= {"teacher", "num_traces", "right", "wrong", "unknown", "truncated", "response_tokens", "seconds"}
    assert artefact.outcome == {"num_arms": 5, "num_gaps": 11}


def test_a_second_run_makes_nothing_and_the_same_scores_give_the_same_bytes(store: Store, tmp_path: Path, quiet: StageProgress) -> None:
    arms = made_up.arms(store)
    first = run(store, arms, quiet)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in first.local_folder().iterdir()}
    second = run(store, arms, quiet)
    assert second.label == first.label
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in second.local_folder().iterdir()} == before
    elsewhere = Store(str(tmp_path / "elsewhere"))
    again = run(elsewhere, made_up.arms(elsewhere), quiet)
    for name in ("report.json", "report.md", "index.html"):
        assert (again.local_folder() / name).read_bytes() == before[name][1], name


def test_a_report_on_a_bucket_is_the_one_of_a_folder(object_store: Store, store: Store, quiet: StageProgress) -> None:
    there, here = (run(each, made_up.arms(each), quiet) for each in (object_store, store))
    assert there.label == here.label
    for name in ("report.json", "report.md", "index.html"):
        assert object_store.fs.cat_file(f"{there.path}/{name}") == (here.local_folder() / name).read_bytes(), name


def test_other_settings_make_another_report(store: Store) -> None:
    arms = made_up.arms(store)
    handles = {
        report.handle(store, "made-up", arms, {}, {}, made_up.overlaps(store), settings, seed, {}).hash
        for settings, seed in ((SETTINGS, 0), (SETTINGS, 1), (recipe.Report(confidence=0.9), 0))
    }
    assert len(handles) == 3


def test_every_arm_is_counted_as_its_rows_say(told: tuple[list[Arm], dict[str, Any]]) -> None:
    arms, found = told
    assert [row["arm"] for row in found["arms"] if row["mixture"] is None] == ["base-untouched", "instruct-untouched"]
    by_name = {row["arm"]: row for row in found["arms"]}
    assert set(by_name) == {arm.name for arm in arms}
    for arm in arms:
        row, asked = by_name[arm.name], arm.scores.read_table().to_pylist()
        assert (row["student"], row["mixture"], row["seed"], row["matched"]) == (arm.student, arm.mixture, arm.seed, True)
        assert row["mean_response_tokens"] == pytest.approx(sum(one["num_response_tokens"] for one in asked) / len(asked))
        assert row["truncated_share"] == pytest.approx(sum(one["finish_reason"] == "length" for one in asked) / len(asked))
        for benchmark, score in row["scores"].items():
            of_benchmark = [one["verdict"] == "right" for one in asked if one["benchmark"] == benchmark]
            assert score["num_problems"] == score["num_samples"] == len(of_benchmark) == TWO_BENCHMARKS[benchmark]
            assert score["accuracy"] == pytest.approx(sum(of_benchmark) / len(of_benchmark))
            assert 0 <= score["low"] <= score["accuracy"] <= score["high"] <= 1
        assert row["overall"]["accuracy"] == pytest.approx(sum(score["accuracy"] for score in row["scores"].values()) / 2)


def test_several_samples_of_a_problem_are_one_problem(store: Store) -> None:
    rights = made_up.np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
    found = made(store, [made_up.arm(store, None, {"made-up-test": rights})])["arms"][0]["scores"]["made-up-test"]
    assert (found["num_problems"], found["num_samples"]) == (3, 12)
    assert found["accuracy"] == pytest.approx(7 / 12)


def test_an_unknown_verdict_is_not_right_and_is_counted_apart(store: Store) -> None:
    asked = made_up.scores(store, "plain", {"made-up-test": made_up.np.ones((10, 1), dtype=int)}).read_table().to_pylist()
    for row in asked[:3]:
        row["verdict"] = "unknown"
    artefact = store.artefact("scores", "unknown", {})
    with artefact.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(asked, schema=rows.SCORE))
    arm = replace(made_up.arm(store, None, {"made-up-test": made_up.np.ones((10, 1), dtype=int)}), scores=artefact)
    found = made(store, [arm])["arms"][0]
    assert found["unknown_share"] == pytest.approx(0.3)
    assert found["overall"]["accuracy"] == pytest.approx(0.7)


def test_gaps_are_differences_of_the_pooled_accuracies(told: tuple[list[Arm], dict[str, Any]]) -> None:
    _, found = told
    pooled = {(row["student"], row["label"]): row for row in found["groups"]}
    for gap in found["gaps"]:
        hard, easy = (
            {**row["scores"], "mean of benchmarks": row["overall"], "all questions": row["weighted"]}[gap["benchmark"]]["accuracy"]
            for row in (pooled[gap["student"], gap["hard"]], pooled[gap["student"], gap["easy"]])
        )
        assert gap["difference"] == pytest.approx(hard - easy)
        assert gap["low"] <= gap["difference"] <= gap["high"]
        assert gap["num_seeds"] == 2
        expected = "no difference shown"
        if not gap["low"] <= 0 <= gap["high"]:
            expected = f"{gap['hard'] if gap['low'] > 0 else gap['easy']} better"
        assert gap["verdict"] == expected


def test_every_wanted_gap_is_there_for_every_student_and_benchmark(told: tuple[list[Arm], dict[str, Any]]) -> None:
    _, found = told
    assert found["scopes"] == ["made-up-other", "made-up-test", "mean of benchmarks"]
    names = {
        "long - short", "mix-0.2 - short", "mix-0.5 - short", "mix-0.2 - long", "mix-0.5 - long",
        "short - untouched", "mix-0.2 - untouched", "mix-0.5 - untouched", "long - untouched",
        "mix-0.2 - best single", "mix-0.5 - best single",
    }  # fmt: skip
    spoken_of = [*found["scopes"], found["weighted_scope"]]
    assert spoken_of[-1] == "all questions"
    wanted = {(student, scope, name) for student in ("base", "instruct") for scope in spoken_of for name in names}
    assert Counter((gap["student"], gap["benchmark"], gap["name"].split(" (")[0]) for gap in found["gaps"]) == Counter(wanted)


def test_pooled_rows_average_over_seeds(told: tuple[list[Arm], dict[str, Any]]) -> None:
    _, found = told
    by_name = {row["arm"]: row for row in found["arms"]}
    for group in found["groups"]:
        accuracies = [by_name[name]["overall"]["accuracy"] for name in group["arms"]]
        assert len(accuracies) == (1 if group["mixture"] is None else 2)
        assert group["overall"]["accuracy"] == pytest.approx(sum(accuracies) / len(accuracies))


def test_what_was_cut_is_told_where_the_mixtures_are(told: tuple[list[Arm], dict[str, Any]]) -> None:
    _, found = told
    plain = markdown.render(found)
    assert "Traces that are too long are left out before anything is mixed, never cut." in plain
    assert "never cut" in page.render(found)
    cut = {"cut": {"long": {"rows": 30, "tokens": 12_000}, "short": {"rows": 1, "tokens": 5}}}
    mixtures = [{**row, **cut} if row["name"] == "mix-0.5" else row for row in found["mixtures"]]
    for text in (markdown.render({**found, "mixtures": mixtures}), page.render({**found, "mixtures": mixtures})):
        assert "mix-0.5: 31 of 903 rows (30 of long, 1 of short) were cut at 512 tokens and lost 12,005, their answer" in text
        assert f"without the limit the share of tokens would be {numerals.percent(0.8)}" in text
        assert "never cut" not in text


def test_mixtures_and_pools_add_up(told: tuple[list[Arm], dict[str, Any]]) -> None:
    _, found = told
    half = next(row for row in found["mixtures"] if row["name"] == "mix-0.5")
    assert (half["alpha"], half["num_rows"], half["row_share"], half["token_share"]) == (0.5, 903, 0.5, pytest.approx(0.8))
    assert half["loss_token_share"] == pytest.approx(0.816)
    assert (half["dropped"], half["dropped_by_pool"], half["tokens"], half["loss_tokens"]) == (7, {"long": 7, "short": 0}, 45_180, 40_665)
    pool = next(row for row in found["pools"] if row["teacher"] == "long")
    assert (pool["num_problems"], pool["num_traces"], pool["truncated"], pool["failed"]) == (20, 40, 6, 0)
    assert (pool["right"], pool["wrong"], pool["unknown"]) == (26, 10, 4)
    assert pool["num_problems_solved"] == 17  # not 0, 9 and 18, whose traces were truncated or wrong
    assert pool["response_tokens"] == 2 * sum(200 + number for number in range(20))
    assert pool["seconds"] == 90.0
    assert (pool["right_by_judge"], pool["cost"], pool["currency"], pool["cost_per_accepted_trace"]) == (3, 2.5, "USD", 0.125)


def test_a_student_without_an_untouched_arm_is_refused(store: Store) -> None:
    trained = [arm for arm in made_up.arms(store) if arm.mixture is not None]
    with pytest.raises(MixrayError, match="no untouched arm"):
        made(store, trained)


def test_arms_that_were_asked_different_problems_are_refused(store: Store) -> None:
    rights = made_up.np.ones((20, 1), dtype=int)
    for other in ({"made-up-test": rights[:19]}, {"made-up-other": rights}):
        arms = [made_up.arm(store, None, {"made-up-test": rights}), made_up.arm(store, 1.0, other)]
        with pytest.raises(MixrayError, match="asked different problems"):
            made(store, arms)


def test_mixtures_without_a_common_seed_are_refused(store: Store) -> None:
    rights = {"made-up-test": made_up.np.ones((20, 1), dtype=int)}
    arms = [made_up.arm(store, None, rights), made_up.arm(store, 0.0, rights, seed=0), made_up.arm(store, 1.0, rights, seed=1)]
    with pytest.raises(MixrayError, match="no training seed in common"):
        made(store, arms)


@pytest.mark.parametrize(
    ("shares", "problems", "says"),
    [
        ({None: 0.15, 0.0: 0.4, 0.2: 0.9, 1.0: 0.3}, 200, r"The best mixture is mix-0\.2: .+ against the next best, short\."),
        (
            {None: 0.15, 0.0: 0.7, 0.2: 0.7, 1.0: 0.3},
            60,
            r"No best mixture is shown: .+ no difference is shown against (short|mix-0\.2) \(",
        ),
        ({None: 0.5, 0.0: 0.5, 0.2: 0.5}, 40, r"No mixture is shown to help: .+ so no difference is shown\."),
        ({None: 0.9, 0.0: 0.3, 0.2: 0.2}, 120, r"No mixture helps: even .+ is below the untouched student"),
        ({None: 0.1, 1.0: 0.8}, 120, r"long helps: .+ There is no other mixture to compare it with\."),
        ({None: 0.5}, 40, r"Nothing was trained, so there is nothing to compare\."),
    ],
    ids=["shown", "tie", "no help", "harm", "alone", "untouched only"],
)
def test_the_answer_says_what_is_shown(store: Store, shares: Mapping[float | None, float], problems: int, says: str) -> None:
    found = made(store, made_up.arms(store, shares=shares, problems={"made-up-test": problems}))
    assert re.search(says, report.answer(found)), report.answer(found)


def seeded(store: Store, short: Sequence[float], long: Sequence[float], untouched: float) -> dict[str, Any]:
    """Return the report of two mixtures whose seeds have these shares of 400 problems right."""
    right = {share: (np.random.default_rng(5).random((400, 1)) < share).astype(int) for share in (untouched, *short, *long)}
    arms = [made_up.arm(store, None, {"made-up-test": right[untouched]})]
    for alpha, shares in ((0.0, short), (1.0, long)):
        arms += [made_up.arm(store, alpha, {"made-up-test": right[share]}, seed=seed) for seed, share in enumerate(shares)]
    return made(store, arms)


@pytest.mark.parametrize(
    ("untouched", "says"),
    [
        (0.35, r"long is highest but not shown to help \(\+1\d.+\); shown to help is short \(\+1\d"),
        (0.50, r"No mixture is shown to help: long, the highest, is at .+ so no difference is shown\."),
    ],
)
def test_where_the_highest_has_the_widest_interval_the_others_are_looked_at_too(store: Store, untouched: float, says: str) -> None:
    """Seeds that differ widely lift one mean above another, and show less."""
    text = report.answer(seeded(store, (0.48, 0.49, 0.50), (0.30, 0.55, 0.70), untouched))
    assert re.search(says, text), text


def test_no_mixture_helps_is_said_where_every_one_is_shown_to_be_below(store: Store) -> None:
    text = report.answer(seeded(store, (0.20, 0.45, 0.65), (0.50, 0.51, 0.52), 0.60))
    assert "No mixture is shown to help: long, the highest, is below the untouched student (" in text
    assert "No mixture helps" not in text


def test_the_answer_names_no_winner_it_did_not_show(store: Store) -> None:
    """Over true leads from none to wide, a best mixture is named exactly where every interval against another lies above zero."""
    named = []
    for step in range(8):
        shares = {None: 0.2, 0.0: 0.5, 0.2: 0.5 + 0.05 * step, 1.0: 0.4}
        found = made(store, made_up.arms(store, shares=shares))
        row = found["answers"][0]
        accuracies = {group["label"]: group["overall"]["accuracy"] for group in found["groups"] if group["mixture"]}
        assert accuracies[row["best"]] == max(accuracies.values())
        assert {other["easy"] for other in row["others"]} == set(accuracies) - {row["best"]}
        shown = all(gap["low"] > 0 for gap in (row["change"], *row["others"]))
        assert ("The best mixture is" in report.answer(found)) == row["shown"] == shown
        named.append(shown)
    assert set(named) == {True, False}


def test_the_answer_tells_every_student_and_marks_unmatched_arms(told: tuple[list[Arm], dict[str, Any]], store: Store) -> None:
    _, found = told
    text = report.answer(found)
    *students, across = [line for line in text.splitlines() if not line.startswith(" ")]
    assert [line.split(",")[0] for line in students] == ["base", "instruct"]
    assert re.fullmatch(r"long - short across students: base -.+, instruct -.+\. It is below zero for base, instruct\.", across)
    assert "*" not in text
    arms = [replace(arm, matched=arm.alpha != 1.0) for arm in made_up.arms(store)]
    marked = report.answer(made(store, arms))
    assert "  long* " in marked
    assert "trained with other settings" in marked


@pytest.mark.parametrize(("confidence", "words"), [(0.95, "95%"), (0.975, "97.5%"), (0.999, "99.9%")])
def test_the_confidence_is_told_in_full(store: Store, confidence: float, words: str) -> None:
    found = made(store, made_up.arms(store), recipe.Report(confidence=confidence, num_resamples=400))
    assert f"({words} intervals)" in report.answer(found)
    assert f"at {words}." in markdown.render(found)


def test_the_markdown_has_every_arm_and_even_tables(told: tuple[list[Arm], dict[str, Any]]) -> None:
    arms, found = told
    text = markdown.render(found)
    for arm in arms:
        assert f"| scores of {arm.name} |" in text
        assert f"| {arm.student} | {arm.label} |" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert report.answer(found) in text


def test_an_arm_by_itself_has_the_numbers_of_the_report(told: tuple[list[Arm], dict[str, Any]]) -> None:
    arms, found = told
    by_name = {row["arm"]: row["scores"] for row in found["arms"]}
    for arm in arms[:3]:
        alone = report.accuracies(arm.scores)
        for benchmark, score in alone.items():
            expected = by_name[arm.name][benchmark]
            assert {key: score[key] for key in ("accuracy", "low", "high", "num_problems")} == {
                key: expected[key] for key in ("accuracy", "low", "high", "num_problems")
            }
