"""The whole run, for real: teachers, judge, mixtures, training, serving, asking, report; and killed on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.e2e
NUM_PROBLEMS, NUM_ASKED = 96, 24
# These two end by themselves a minute after a kill: that long they try to tell Ray's control plane of it, which was killed as well.
RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
RECIPE = f"""
name: small
problems: {{source: tiny, split: train, num_problems: {NUM_PROBLEMS}, difficulty: [2, 3], seed: 1}}
teachers:
  long: {{model: "tiny:long", max_tokens: 384, block_rows: 8, engine: {{max_model_len: 768, max_num_seqs: 8}}}}
  short: {{model: "tiny:short", max_tokens: 384, block_rows: 8, engine: {{max_model_len: 768, max_num_seqs: 8}}}}
mixtures: {{mix: {{hard: long, easy: short, alpha: [0, 0.2]}}}}
students: {{student-s: {{model: "tiny:student-s"}}}}
train:
  {{epochs: 2, learning_rate: 1.0e-3, batch_rows: 4, max_tokens: 512, packs_multiple: 2, micro_batch_tokens: 1024, zero_stage: 2,
    workers: 2, arms_at_once: 2, dtype: float32, checkpoint_every_steps: 5}}
serve: {{port: 0, max_model_len: 768, kv_cache_bytes: 67108864}}
evaluate:
  benchmarks: {{tiny: {{source: tiny, split: test, num_problems: {NUM_ASKED}, difficulty: [2, 3], seed: 2}}}}
  max_tokens: 384
  concurrency: 4
  budgets: [24, 48]
shifts: {{num_responses: 16, against_own: true, untouched: true}}
"""


class Runs:
    """`mixray run` of one recipe in one storage, again and again; every process it starts can be told by a mark."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.storage = folder, folder / "runs"
        self.mark = uuid.uuid4().hex
        self.report, self.told = Path(), ""
        (folder / "small.yaml").write_text(RECIPE)

    def start(self, command: str = "run", *options: str) -> subprocess.Popen[str]:
        whole = [sys.executable, "-m", "mixray.cli", command, str(self.folder / "small.yaml"), "--storage", str(self.storage), *options]
        environment = {**os.environ, "MIXRAY_TEST_MARK": self.mark}
        return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def end(self, when: Callable[[], bool], how: signal.Signals) -> tuple[int, str]:
        """Start a run, signal its driver when `when` holds, and wait until nothing of it is left."""
        run = self.start()
        deadline = time.monotonic() + 400
        while not when():
            assert run.poll() is None, run.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(how)
        _, told = run.communicate(timeout=300)
        self.wait_for_no_process(but_agents=True)
        return run.returncode, told

    def wait_for_no_process(self, but_agents: bool = False) -> None:
        deadline = time.monotonic() + 180
        while left := [name for name in self.processes() if not (but_agents and name.startswith(RAY_AGENTS))]:
            assert time.monotonic() < deadline, left
            time.sleep(0.5)

    def processes(self) -> Iterator[str]:
        for process in psutil.process_iter():
            try:
                if process.environ().get("MIXRAY_TEST_MARK") == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    yield " ".join(process.cmdline())[:120]
            except psutil.Error:
                continue

    def found(self, pattern: str) -> list[Path]:
        return list(self.storage.glob(pattern))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run that was interrupted while a teacher was asked, killed while it trained two arms at once, and then let through.

    Kills of teachers are in `test_chaos`, of students that are asked in `test_score`, of everything in `make soak`.
    """
    runs = Runs(tmp_path_factory.mktemp("pipeline"))
    code, told = runs.end(lambda: bool(runs.found(".work/pools/long-*/parts/*.parquet")), signal.SIGINT)
    assert code == 130, told
    assert told.strip().splitlines()[-1] == "mixray: interrupted; the same command goes on from here"
    assert "Traceback" not in told
    runs.end(lambda: bool(runs.found(".work/students/*/train/checkpoint_*/latest")), signal.SIGKILL)
    run = runs.start()
    out, told = run.communicate(timeout=900)
    assert run.returncode == 0, told
    runs.wait_for_no_process()
    runs.report = Path(out.strip().splitlines()[-1])
    runs.told = told
    return runs


def rows_of(folder: Path, column: str) -> list[str]:
    return [value for path in folder.glob("*.parquet") for value in pq.read_table(path, columns=[column])[column].to_pylist()]


def test_no_trace_is_lost_or_doubled_by_kills(runs: Runs) -> None:
    for teacher in ("long", "short"):
        (folder,) = runs.found(f"pools/{teacher}-*")
        ids = rows_of(folder, "trace_id")
        assert len(ids) == len(set(ids)) == NUM_PROBLEMS
    for folder in runs.found("scores/*"):
        assert len(rows_of(folder, "problem_id")) == NUM_ASKED
    assert len(runs.found("scores/*")) == 3


def test_the_report_keeps_its_contract(runs: Runs) -> None:
    report = json.loads((runs.report / "report.json").read_text())
    assert [arm["mixture"] for arm in report["arms"]] == [None, "short", "mix-0.2"]
    for arm in report["arms"]:
        score = arm["scores"]["tiny"]
        assert 0 <= score["low"] <= score["accuracy"] <= score["high"] <= 1
        assert score["num_problems"] == NUM_ASKED
    assert {"name", "student", "benchmark", "hard", "easy", "difference", "low", "high", "verdict"} <= set(report["gaps"][0])
    assert {"name", "alpha", "num_rows", "row_share", "token_share", "loss_token_share", "dropped"} <= set(report["mixtures"][0])
    assert [pool["num_traces"] for pool in report["pools"]] == [NUM_PROBLEMS, NUM_PROBLEMS]
    assert (runs.report / "index.html").stat().st_size > 10_000


def test_an_arm_that_is_made_to_answer_is_told_of_and_every_artefact_says_what_made_it(runs: Runs) -> None:
    report = json.loads((runs.report / "report.json").read_text())
    assert [row["label"] for row in report["forced_budgets"]] == ["untouched", "short", "mix-0.2"]
    for row in report["forced_budgets"]:
        assert [point["tokens"] for point in row["points"]] == [24, 48]
        assert row["points"][0]["forced_share"] >= row["points"][1]["forced_share"]
        assert all(point["low"] <= point["accuracy"] <= point["high"] for point in row["points"])
    made = [row for row in report["provenance"]["artefacts"] if row["kind"] != "models"]
    assert all({"python", "mixray"} <= set(row["versions"]) for row in made)
    tables = [file for row in made for file in row["files"] if file["path"].endswith(".parquet")]
    assert tables
    assert all(file["rows"] >= 0 for file in tables)
    assert {"torch", "deepspeed"} <= set(next(row for row in made if row["kind"] == "students")["versions"])


def test_the_untouched_student_reads_what_its_arms_answered(runs: Runs) -> None:
    report = json.loads((runs.report / "report.json").read_text())
    assert [row["label"] for row in report["shifts"]] == ["untouched", "short", "mix-0.2"]
    untouched, *trained = report["shifts"]
    assert untouched["unshifted"] == pytest.approx(1, abs=0.002), "greedy, and told by the same tokens: its own first choice throughout"
    for row in trained:
        assert row["num_responses"] == 16
        assert 0.5 < row["unshifted"] < 0.99
        assert 0 < row["low"] < row["shifted"] < row["high"] < 1
        assert row["top"][0]["mean_shift"] > 100
        assert row["top_words"][0]["word"] in {"Wednesday", "Thursday", "Friday"}, "the student has not learnt to count so far"
    assert "What the students say" in (runs.report / "report.md").read_text()


def test_the_terminal_tells_the_answer_and_no_librarys_noise(runs: Runs) -> None:
    told = runs.told
    assert "untouched" in told
    assert re.search(r"(?i)warn|traceback|deprecat|INFO|raylet", told) is None, told


def test_the_same_command_again_makes_nothing(runs: Runs) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.storage.rglob("*") if path.is_file()}
    run = runs.start()
    out, told = run.communicate(timeout=400)
    assert run.returncode == 0, told
    assert Path(out.strip().splitlines()[-1]) == runs.report
    made = [path for path in runs.storage.rglob("*") if path.is_file() and path.stat().st_mtime_ns != before.get(path)]
    assert [path for path in made if path.parent.name != "logs"] == []


@pytest.mark.soak  # a sweep is a run with other alphas; which artefacts it shares, `test_graph` holds
def test_a_sweep_makes_the_new_arm_and_asks_no_teacher(runs: Runs) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.storage.rglob("*.parquet")}
    run = runs.start("sweep", "--alpha", "0,0.2,0.5")
    out, told = run.communicate(timeout=400)
    assert run.returncode == 0, told
    report = Path(out.strip().splitlines()[-1])
    swept = json.loads((report / "report.json").read_text())
    assert [mix["alpha"] for mix in swept["mixtures"]] == [0, 0.2, 0.5]
    assert [arm["mixture"] for arm in swept["arms"]] == [None, "short", "mix-0.2", "mix-0.5"]
    made = {path.relative_to(runs.storage).parts[0] for path in runs.storage.rglob("*.parquet") if path not in before}
    of_the_arm = {"mixtures", "tokens", "plans", "scores", "budgets", "shifts"}
    assert made == of_the_arm, "no problem, no trace, no candidates of the pools counted again"
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    assert "accuracy against alpha" in (report / "index.html").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_ends_in_one_message_and_no_process(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.storage.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(runs.storage)], check=True)
    try:
        run = runs.start()
        _, told = run.communicate(timeout=500)
        runs.wait_for_no_process()
    finally:
        subprocess.run(["umount", str(runs.storage)], check=True)
    last = [line for line in told.splitlines() if line.startswith("mixray:")]
    assert run.returncode == 1, told
    assert len(last) == 1
    assert "No space left" in last[0]
    assert "make room" in last[0]
    assert "Traceback" not in told
