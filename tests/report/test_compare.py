"""Two reports held against each other: pairs where they can be had, wider intervals where not, and what went in that differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import called

from mixray import recipe, report
from mixray.progress import StageProgress
from mixray.report import compare_words, found
from mixray.report.answers import Arm
from mixray.report.compare import compare, unpaired
from mixray.report.intervals import wilson
from mixray.rows import SCORE
from mixray.staging import measure
from mixray.store import Artefact, Store

Capture = pytest.CaptureFixture[str]
RECIPE = {"name": "a", "train": {"epochs": 2, "learning_rate": 1e-5}, "seeds": [0]}
NUM = 120


def made(store: Store, name: str, arms: list[Arm], told: Mapping[str, Any], quiet: StageProgress) -> Artefact:
    """Make a report of these arms; what they were taught is the same made-up stuff every time."""
    settings = recipe.Report(num_resamples=2000)
    taught = (made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store))
    return report.run(store, name, arms, *taught, settings, 0, told, quiet)


def with_rights(store: Store, shares: Mapping[float | None, int], seed: int = 0) -> list[Arm]:
    """Arms of which the first so many of 120 problems are right."""
    return [
        made_up.arm(store, alpha, {"sums": (np.arange(NUM)[:, None] < num_right).astype(int)}, seed=seed)
        for alpha, num_right in shares.items()
    ]


@pytest.fixture
def one(store: Store, quiet: StageProgress) -> Artefact:
    return made(store, "a", with_rights(store, {None: 20, 0.0: 60, 0.2: 70, 1.0: 40}), RECIPE, quiet)


@pytest.fixture
def two(store: Store, quiet: StageProgress) -> Artefact:
    told = {"name": "b", "train": {"epochs": 3, "learning_rate": 1e-5}, "seeds": [0]}
    return made(store, "b", with_rights(store, {None: 20, 0.0: 62, 0.2: 100, 0.5: 80}), told, quiet)


def row(compared: Mapping[str, Any], label: str) -> dict[str, Any]:
    return next(dict(row) for row in compared["scores"] if row["label"] == label)


def test_arms_that_are_in_both_are_paired_problem_by_problem(one: Artefact, two: Artefact) -> None:
    compared = compare(found.of(one), found.of(two))
    assert [row["label"] for row in compared["scores"]] == ["untouched", "short", "mix-0.2"]
    better = row(compared, "mix-0.2")
    assert (better["how"], better["verdict"], better["difference"]) == ("paired", "B better", 0.25)
    assert 0 < better["low"] < 0.25 < better["high"]
    close = row(compared, "short")
    assert (close["how"], close["verdict"]) == ("paired", "no difference shown")
    assert close["difference"] == pytest.approx(2 / NUM)
    assert (compared["only_first"], compared["only_second"]) == (
        [{"student": "base", "label": "long"}], [{"student": "base", "label": "mix-0.5"}],
    )  # fmt: skip


def test_the_same_answers_differ_in_nothing(one: Artefact, two: Artefact) -> None:
    told = row(compare(found.of(one), found.of(two)), "untouched")
    assert (told["how"], told["difference"], told["low"], told["high"]) == ("same answers", 0.0, 0.0, 0.0)


def test_one_recipe_on_two_machines_is_paired_although_the_hashes_are_the_same(one: Artefact, store: Store, tmp_path: Path) -> None:
    elsewhere = Store(str(tmp_path / "elsewhere"))
    shutil.copytree(store.root, elsewhere.root)
    (scores,) = Path(elsewhere.root, "scores").glob("base-mix-0.2*")
    table = pq.read_table(scores / "scores.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "verdict": "right"} for row in table], schema=SCORE), scores / "scores.parquet")
    manifest = json.loads((scores / "manifest.json").read_text())
    size, checksum = measure(elsewhere.fs, str(scores / "scores.parquet"))
    manifest["files"] = [{**manifest["files"][0], "bytes": size, "sha256": checksum}]
    (scores / "manifest.json").write_text(json.dumps(manifest))
    compared = compare(found.of(one), found.find(elsewhere, "a"))
    assert {each["label"]: each["how"] for each in compared["scores"]} == {
        "untouched": "same answers", "short": "same answers", "mix-0.2": "paired", "long": "same answers",
    }  # fmt: skip
    assert row(compared, "mix-0.2")["difference"] == pytest.approx(50 / NUM)


def test_a_pair_is_narrower_than_two_intervals(one: Artefact, two: Artefact) -> None:
    paired = row(compare(found.of(one), found.of(two)), "mix-0.2")
    for place in Path(two.store.root, "scores").glob("base-mix-0.2*"):
        shutil.rmtree(place)
    apart = row(compare(found.of(one), found.of(two)), "mix-0.2")
    assert (apart["how"], apart["why"]) == ("unpaired", "A names answers that are not there any more")
    assert apart["high"] - apart["low"] > paired["high"] - paired["low"]


def test_without_pairs_the_interval_comes_of_the_two(one: Artefact, two: Artefact, tmp_path: Path) -> None:
    alone = [tmp_path / f"{name}.json" for name in "ab"]
    for path, artefact in zip(alone, (one, two), strict=True):
        path.write_text(json.dumps(artefact.read_json("report.json")))
    first, second = (found.find(one.store, str(path)) for path in alone)
    told = row(compare(first, second), "mix-0.2")
    expected = unpaired(wilson(70 / NUM, NUM, 0.95), wilson(100 / NUM, NUM, 0.95))
    assert (told["low"], told["high"]) == pytest.approx((expected.low, expected.high))
    assert told["why"] == "A lies without its store"


def test_shares_measured_apart_differ_as_newcombe_published() -> None:
    """Newcombe 1998, table II, (a): 56/70 - 48/80."""
    found = unpaired(wilson(48 / 80, 80, 0.95), wilson(56 / 70, 70, 0.95))
    assert (round(found.estimate, 4), round(found.low, 4), round(found.high, 4)) == (0.2, 0.0524, 0.3339)


def test_other_problems_under_the_same_ids_are_not_paired(one: Artefact, store: Store, quiet: StageProgress) -> None:
    arms = with_rights(store, {None: 20, 0.2: 71})
    table = arms[1].scores.read_table().to_pylist()
    changed = store.artefact("scores", arms[1].name, {"other": "questions"})
    with changed.staging() as staging:
        asked = [{**row, "question": f"{row['question']} Really?"} for row in table]
        staging.write_table("scores.parquet", pa.Table.from_pylist(asked, schema=SCORE))
    other = made(store, "c", [arms[0], replace(arms[1], scores=changed)], RECIPE, quiet)
    told = row(compare(found.of(one), found.of(other)), "mix-0.2")
    assert (told["how"], told["why"]) == ("unpaired", "the problems are not the same")


def test_answers_of_an_earlier_version_are_paired_where_the_benchmark_is_the_same(store: Store, quiet: StageProgress) -> None:
    benchmarks = [store.artefact("problems", "sums", {"edition": number}) for number in range(2)]

    def older(num_right: int, benchmark: Artefact) -> Artefact:
        arms = with_rights(store, {None: 20, 0.2: num_right})
        scores = store.artefact("scores", arms[1].name, {"rights": num_right}, {"benchmark sums": benchmark})
        with scores.staging() as staging:
            staging.write_table("scores.parquet", arms[1].scores.read_table().drop_columns(["question", "gold"]))
        return made(store, "a", [arms[0], replace(arms[1], scores=scores)], RECIPE, quiet)

    first, same, other = (found.of(older(*how)) for how in ((60, benchmarks[0]), (66, benchmarks[0]), (67, benchmarks[1])))
    assert [row(compare(first, each), "mix-0.2")["how"] for each in (same, other)] == ["paired", "unpaired"]


def test_turning_the_two_round_turns_the_sign(one: Artefact, two: Artefact) -> None:
    there, back = (compare(found.of(a), found.of(b)) for a, b in ((one, two), (two, one)))
    assert [row["difference"] for row in back["scores"]] == pytest.approx([-row["difference"] for row in there["scores"]])
    assert there["only_first"] == back["only_second"]


def test_what_went_in_is_told_where_it_differs(one: Artefact, two: Artefact) -> None:
    compared = compare(found.of(one), found.of(two))
    assert compared["recipe"] == [
        {"key": "name", "first": "a", "second": "b"}, {"key": "train.epochs", "first": 2, "second": 3},
    ]  # fmt: skip
    assert (compared["statistics"], compared["versions"]) == ([], [])
    roles = [entry["key"] for entry in compared["artefacts"]]
    assert "scores of base-mix-0.2-s0" in roles
    assert "scores of base-untouched" not in roles


def test_gaps_stand_side_by_side_and_a_changed_verdict_is_marked(one: Artefact, two: Artefact) -> None:
    gaps = {gap["name"]: gap for gap in compare(found.of(one), found.of(two))["gaps"]}
    changed = gaps["mix-0.2 - short"]
    assert changed["verdict_changed"] == (changed["first"]["verdict"] != changed["second"]["verdict"])
    assert changed["second"]["verdict"] == "mix-0.2 better"
    assert gaps["mix-0.2 - untouched"]["verdict_changed"] is False
    assert "long - short" not in gaps


def test_the_answer_stands_in_front(one: Artefact, two: Artefact) -> None:
    compared = compare(found.of(one), found.of(two))
    told = compare_words.sentences(compared)
    better = row(compared, "mix-0.2")
    interval = f"[{100 * better['low']:+.1f}, {100 * better['high']:+.1f}]"
    assert told[0] == f"base, sums: B's mix-0.2 is 25.0 points above A's {interval}."
    assert told[2:] == [
        "In A alone: base long.", "In B alone: base mix-0.5.", "1 of 3 differences is shown; 0.1 would be by chance alone.",
        f"Intervals of differences are at 95 %; paired ones of {compared['drawn']['num_resamples']:,} resamples by seed 0, those of B.",
    ]  # fmt: skip


def test_where_nothing_is_shown_the_widest_is_named_with_its_doubt(one: Artefact, store: Store, quiet: StageProgress) -> None:
    other = made(store, "c", with_rights(store, {None: 20, 0.0: 61, 0.2: 72}), RECIPE, quiet)
    told = compare_words.sentences(compare(found.of(one), found.of(other)))
    assert told[0].startswith("base, sums: B's mix-0.2 is 1.7 points above A's [")
    assert told[0].endswith("]: no difference shown. No arm is shown to differ, of 2 in both reports.")


def test_several_seeds_are_paired_by_seed(store: Store, quiet: StageProgress) -> None:
    untouched = with_rights(store, {None: 20})
    reports = [
        made(store, name, [*untouched, *(with_rights(store, {0.2: num}, seed)[0] for seed, num in rights.items())], RECIPE, quiet)
        for name, rights in (("a", {0: 60, 1: 66}), ("b", {1: 70, 2: 72}))
    ]
    told = row(compare(*(found.of(each) for each in reports)), "mix-0.2")
    assert (told["how"], told["why"]) == ("paired", "over the 1 training seeds that both have")
    assert told["difference"] == pytest.approx(4 / NUM)


def test_nothing_in_common_is_said(one: Artefact, store: Store, quiet: StageProgress) -> None:
    arms = [made_up.arm(store, None, {"sums": np.ones((NUM, 1), dtype=int)}, student="other")]
    other = made(store, "c", arms, RECIPE, quiet)
    told = compare_words.sentences(compare(found.of(one), found.of(other)))
    assert told[0] == "No student has an arm of one name in both reports, so no scores can be compared."


@pytest.mark.parametrize("form", ["name", "hash", "label", "folder", "file", "url"])
def test_a_report_is_found_by_whatever_it_is_called(form: str, one: Artefact) -> None:
    path = Path(one.path)
    ways = {
        "name": one.name,
        "hash": one.hash,
        "label": one.label,
        "folder": str(path),
        "file": f"{path}/report.json",
        "url": path.as_uri(),
    }
    seen = found.find(one.store, ways[form])
    assert (seen.place, seen.told["name"]) == (one.label, "a")
    labels = [row["label"] for row in seen.told["provenance"]["artefacts"] if row["kind"] != "models"]
    assert all(seen.artefact(label) is not None for label in labels)


def test_the_newest_report_of_an_artefact_is_found(one: Artefact, two: Artefact) -> None:
    told = found.of(two).told
    shared = next(row["label"] for row in told["provenance"]["artefacts"] if row["role"] == "scores of base-untouched")
    newest = found.newest_with(one.store, shared)
    assert newest is not None
    assert newest.place == next(found.every(one.store)).place
    assert found.newest_with(one.store, "scores/nobody-0123456789ab") is None


def test_the_command_prints_and_writes(one: Artefact, two: Artefact, tmp_path: Path, capsys: Capture) -> None:
    for ending in ("md", "json"):
        assert called("compare", "a", "b", "--storage", one.store.url, "--out", str(tmp_path / f"out.{ending}")) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"A: {one.label}\nB: {two.label}\n\nbase, sums: B's mix-0.2 is 25.0 points above A's")
    assert "train.epochs  2  3" in printed
    text = (tmp_path / "out.md").read_text()
    assert "| train.epochs | 2 | 3 |" in text
    whole = json.loads((tmp_path / "out.json").read_text())
    assert whole["sentences"][0] in text
    assert called("compare", "a", "b", "--storage", one.store.url, "--json") == 0
    assert json.loads(capsys.readouterr().out) == whole


def test_reports_are_listed_with_their_answer(one: Artefact, two: Artefact, capsys: Capture) -> None:
    assert called("report", "ls", "--storage", one.store.url) == 0
    printed = capsys.readouterr().out
    assert one.label in printed
    assert report.answer(two.read_json("report.json")) in printed
    assert called("report", "show", "a", "--storage", one.store.url) == 0
    assert capsys.readouterr().out == f"{one.label}\n{report.answer(one.read_json('report.json'))}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["a", "z"], 1, "There is no such report; seen: z"),
        (["a", "nowhere.json"], 1, "A report cannot be read; seen: nowhere.json"),
        (["a", "b", "--out", "x.html"], 2, "A comparison is not written in this form"),
        (["a"], 2, "see `mixray compare --help`"),
    ],
)
def test_failures_are_one_message(arguments: list[str], code: int, said: str, one: Artefact, two: Artefact, capsys: Capture) -> None:
    assert called("compare", *arguments, "--storage", one.store.url) == code
    assert said in capsys.readouterr().err


def test_what_is_no_report_is_refused(one: Artefact, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "x.json").write_text('{"name": "x"}')
    assert called("compare", "a", str(tmp_path / "x.json"), "--storage", one.store.url) == 1
    assert "This is no report, or one of an earlier version" in capsys.readouterr().err
