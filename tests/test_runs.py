"""How far a recipe is, from its storage alone: what is begun and how much of it, who is at it, what became of those who were."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import called

from mixray import runs
from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.evaluation.journal import Journal
from mixray.graph import build_graph
from mixray.ids import run_id
from mixray.options import log_path
from mixray.progress import Display
from mixray.recipe_file import load_recipe
from mixray.standing import standing
from mixray.store import Store
from mixray.teachers.parts import Stamp, write_part
from mixray.terminal import library_noise_in
from mixray.training.state import RECORDS

RECIPE = """
name: small
problems: {source: tiny, num_problems: 8}
teachers: {long: {model: "tiny:long"}, short: {model: "tiny:short"}}
mixtures: {mix: {hard: long, easy: short, alpha: 0.2}}
students: {student-s: {model: "tiny:student-s"}}
evaluate: {benchmarks: {tiny: {source: tiny, split: test, num_problems: 8}}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def trace(position: int, verdict: str) -> dict[str, object]:
    about = {"status": "ok", "error": None, "response": "so", "num_response_tokens": 100}
    return {"position": position, "problem_id": f"p{position}", "trace_id": f"p{position}/long/0", "verdict": verdict, **about}


def test_status_counts_what_is_begun_and_leaves_it_as_it_is(recipe: Path, store: Store) -> None:
    loaded = load_recipe(recipe)
    graph = build_graph(loaded, store)
    for positions, verdict in (([0, 1], "right"), ([2], "wrong")):
        write_part(store, graph.asked["long"].work_path, [trace(each, verdict) for each in positions], Stamp("r", "a", 0.0, 0.0, 0.0))
    torn = Path(graph.asked["long"].work_path) / "parts" / "000000009-torn.parquet"
    torn.write_bytes(b"PAR1")
    (student,) = [arm for arm in graph.arms if arm.trained]
    assert student.trained is not None
    store.put(
        f"{student.trained.work_path}/{RECORDS}",
        b'{"step": 1, "num_tokens": 70, "loss": 2.5}\n{"step": 2, "num_tokens": 80, "loss": 1.5}\n',
    )
    with Journal(graph.arms[0].asked) as journal:
        journal.add(StudentAnswer(Name("tiny", "p0", 0), "four", "stop", 12, 0.1))
    told = {row["artefact"]: row["so_far"] for row in standing(loaded, store)["artefacts"] if row["state"] == "begun"}
    assert told == {
        graph.asked["long"].label: {"problems": 3, "traces": 3, "right": 2, "response_tokens": 300},
        student.trained.label: {"steps": 2, "tokens": 150, "loss": 1.5},
        graph.arms[0].asked.label: {"answers": 1, "response_tokens": 12},
    }
    assert torn.exists(), "who looks on removes nothing"


def test_status_counts_no_answers_whose_run_is_done_while_it_looks(recipe: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_recipe(recipe)
    scores = build_graph(loaded, store).arms[0].asked
    with Journal(scores) as journal:
        journal.add(StudentAnswer(Name("tiny", "p0", 0), "four", "stop", 12, 0.1))
    listed = store.fs.ls

    def ls(path: str, *arguments: Any, **named: Any) -> Any:
        found = listed(path, *arguments, **named)
        if path == scores.work_path:
            scores.clear_work()
        return found

    monkeypatch.setattr(store.fs, "ls", ls)
    (told,) = [row["so_far"] for row in standing(loaded, store)["artefacts"] if row["artefact"] == scores.label]
    assert told == {"answers": 0, "response_tokens": 0}


def test_a_bucket_alone_tells_how_far_a_recipe_is(recipe: Path, object_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    work = build_graph(load_recipe(recipe), object_store).asked["long"].work_path
    with contextlib.suppress(ZeroDivisionError), Display(quiet=True) as display, runs.at_work(object_store, "small", display, False):
        display.stage("teacher long").update(2, 8)
        write_part(object_store, work, [trace(each, "right") for each in (0, 1)], Stamp("r", "a", 0.0, 0.0, 0.0))
        raise ZeroDivisionError("by nought")
    assert called("status", str(recipe), "--storage", object_store.url) == 0
    told = capsys.readouterr().out
    assert "begun: 2 problems, 2 traces, 2 right, 200 response tokens" in told
    assert f"run {run_id()} on " in told
    assert "by nought" in told
    assert "teacher long: 2 of 8 since " in told


def status_of(recipe: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> str:
    assert called("status", str(recipe), "--storage", store.url) == 0
    return capsys.readouterr().out


def test_a_run_says_what_it_is_at_and_how_it_ended(
    recipe: Path, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BEAT_SECONDS", 0.1)
    job = {"metadata": {"job_submission_id": "mixray-small-run-abc-2"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    display = Display(quiet=True)
    with contextlib.suppress(ZeroDivisionError), runs.at_work(store, "small", display, on_cluster=False):
        display.stage("problems train").finish("8 problems")
        display.stage("teacher long").update(320, 1400, right="83%", tokens_per_second=5200.0)
        deadline = time.monotonic() + 60
        while "teacher long: 320 of" not in (told := status_of(recipe, store, capsys)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert f"run {run_id()}, job mixray-small-run-abc-2 on " in told
        assert ": running since " in told
        assert "  teacher long: 320 of 1,400 since " in told
        assert "right 83%  tokens/second 5200" in told
        assert "problems train" not in told.partition("run ")[2]
        (run,) = standing(load_recipe(recipe), store)["runs"]
        assert (run["attempt"], run["silent_seconds"] < 60) == ("mixray-small-run-abc-2", True)
        raise ZeroDivisionError("by nought")
    assert called("status", str(recipe), "--storage", store.url, "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["state"], run["error"]) == ("failed", "by nought")


def test_a_run_that_was_killed_is_told_by_its_silence(recipe: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    program = f"""
import os, signal
from mixray import runs
from mixray.progress import Display
from mixray.store import Store
display = Display(quiet=True)
with runs.at_work(Store({store.url!r}), "small", display, on_cluster=False):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    (path,) = Path(store.url, runs.FOLDER).glob("small-*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"seen": record["seen"] - 3600}))
    assert called("status", str(recipe), "--storage", store.url) == 0
    assert re.search(r"but silent for 3,[67]\d\d", capsys.readouterr().out)


def test_a_storage_that_takes_no_record_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / runs.FOLDER).write_text("a file in the way")
    with runs.at_work(Store(str(tmp_path / "runs")), "small", Display(quiet=True), on_cluster=False):
        pass


def test_beside_the_log_lies_one_for_programs(tmp_path: Path) -> None:
    path = log_path(str(tmp_path), "small")
    with library_noise_in(path):
        line = Display(quiet=True).stage("mixture mix")
        logging.getLogger("somebody").warning("look %s", "\x1b[2J")
        line.finish("8 rows")
    lines = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
    assert [(line["logger"], line["stage"], line.get("event")) for line in lines] == [
        ("mixray.run", "mixture mix", "begun"), ("somebody", "mixture mix", None), ("mixray.run", "mixture mix", "finished"),
    ]  # fmt: skip
    assert {(line["run"], line["attempt"]) for line in lines} == {(run_id(), "")}
    assert "\x1b" not in path.with_suffix(".jsonl").read_text() + path.read_text()
