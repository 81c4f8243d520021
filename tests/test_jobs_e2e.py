"""Jobs on a real cluster of a head that runs nothing and a worker node: once whoever asks, away from the head, stopped, gone on with."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cutting_proxy import cutting
from fastapi import FastAPI, Request
from local_cluster import LocalCluster, local_cluster
from loopback import serving
from racing import NUM_PROBLEMS, race, write_recipe

from mixray.metrics import METRICS

pytestmark = pytest.mark.e2e
NUM_RACES = 2
NUM_AT_ONCE = 2
MOST_WAIT_SECONDS = 400
ASKING = """
name: asking
problems: {source: problems.jsonl}
teachers:
  far: {endpoint: ENDPOINT, model: some, concurrency: 2, block_rows: 1, max_failed_share: 1, cache: false}
  near: {traces: long.jsonl}
mixtures: {mix: {hard: far, easy: near, alpha: 0.5}}
students: {student-s: {model: "tiny:student-s"}}
evaluate: {benchmarks: {tiny: {source: tiny, split: test, num_problems: 2}}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("submitting")
    write_recipe(folder)
    with local_cluster(folder) as cluster:
        yield cluster


def called(cluster: LocalCluster, *arguments: str, **variables: str) -> tuple[int, str, str]:
    process = cluster.mixray(*arguments, **variables)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def listed(cluster: LocalCluster, name: str) -> list[dict[str, Any]]:
    code, out, err = called(cluster, "jobs", "ls", "--json")
    assert code == 0, err
    return [job for job in json.loads(out) if job["recipe"] == name]


def wait(until: Callable[[], Any], during: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + MOST_WAIT_SECONDS
    while not until():
        assert during is None or during.poll() is None, during.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_is_asked_for_twice_at_once_is_done_once(cluster: LocalCluster, tmp_path: Path) -> None:
    for number in range(NUM_RACES):
        assert race(cluster, tmp_path / str(number), number) == []
    jobs = listed(cluster, "race")
    assert [(job["state"], job["kind"], job["exit_code"]) for job in jobs] == [("SUCCEEDED", "mix", 0)] * NUM_RACES
    assert {job["node"] for job in jobs} == {cluster.worker_node}, "the head runs no driver"
    nobody = ("--address", "http://127.0.0.1:9")
    code, out, err = called(cluster, "submit", "race.yaml", "--job", "mix", "--storage", str(tmp_path / "0"), *nobody)
    assert (code, "mixray: it is done: mixtures/" in err, Path(out.strip()).parent) == (0, True, tmp_path / "0" / "mixtures")


def test_a_job_that_failed_is_followed_by_another_and_its_exit_code_is_told(cluster: LocalCluster, tmp_path: Path) -> None:
    arguments = ("submit", "race.yaml", "--job", "mix", "--storage", str(tmp_path), "--set", "name=failing", "--secret", "NOBODY_HAS_IT")
    code, out, err = called(cluster, *arguments)
    assert (code, "A secret is not in the environment" in out) == (1, True), err
    code, name, err = called(cluster, *arguments, "--no-follow")
    assert (code, name.strip().endswith("-2")) == (0, True), err
    wait(lambda: [job["state"] for job in listed(cluster, "failing")] == ["FAILED"] * 2)


class Endpoint:
    """Answers the first few questions, and the others once it is told to."""

    def __init__(self, num_at_once: int) -> None:
        self.left, self.may, self.asked = num_at_once, threading.Event(), list[str]()
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.answer)

    def answer(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body["messages"][-1]["content"])
        self.left -= 1
        if self.left < 0:
            self.may.wait(600)
        choice = {"index": 0, "message": {"role": "assistant", "content": r"\boxed{4}"}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}

    def close(self) -> None:
        """Answer whatever is asked from here on."""
        self.may.set()


NAMES = {METRICS[name].exported(name) for name in METRICS if name.startswith(("mixray_teacher_r", "mixray_teacher_p", "mixray_traces"))}
TOKENS = re.compile(r'ray_mixray_teacher_response_tokens_total\{[^}]*run="(?P<run>[^"]+)"[^}]*teacher="far"[^}]*\} 10(\.0)?$', re.MULTILINE)
"""Of the two answers that the endpoint gave, five each."""


def exported_names(cluster: LocalCluster) -> set[str]:
    return set(re.findall(r"^(ray_mixray_\w+)\{", cluster.metrics(), re.MULTILINE))


def status(cluster: LocalCluster, storage: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(called(cluster, "status", "asking.yaml", "--storage", str(storage), "--json")[1])
    return told


def last_stages(cluster: LocalCluster, storage: Path) -> list[str]:
    """Return the stage each run told last; a run tells it with each beat."""
    return [run["stages"][-1]["stage"] for run in status(cluster, storage)["runs"] if run["stages"]]


def test_a_job_is_left_alone_and_stopped_and_gone_on_with(cluster: LocalCluster, tmp_path: Path) -> None:
    """One job through its life: followed over a connection that breaks, detached from, seen in status and metrics, stopped, resumed."""
    endpoint = Endpoint(NUM_AT_ONCE)
    with serving(endpoint.app) as url, cutting(cluster.address, num_cuts=1) as proxy, contextlib.closing(endpoint):
        (cluster.folder / "asking.yaml").write_text(ASKING.replace("ENDPOINT", f"{url}/v1"))
        arguments = ("submit", "asking.yaml", "--job", "generate", "--storage", str(tmp_path))
        following = cluster.mixray(*arguments, "--address", proxy.url)
        wait(lambda: len(list(tmp_path.glob(".work/pools/far-*/parts/*.parquet"))) == NUM_AT_ONCE and proxy.num_cut == 1, following)
        wait(lambda: TOKENS.search(cluster.metrics()) and exported_names(cluster) >= NAMES, following)
        exported = TOKENS.search(cluster.metrics())
        wait(lambda: last_stages(cluster, tmp_path) == ["teacher far"], following)
        told = status(cluster, tmp_path)
        following.send_signal(signal.SIGINT)
        out, err = following.communicate(timeout=300)
        assert following.returncode == 130
        assert out.count("Running entrypoint for job") == 1, "what was shown before the connection broke is not shown again"
        (submission_id,) = [job["job"] for job in listed(cluster, "asking") if job["state"] == "RUNNING"]
        assert f"the job goes on; `mixray jobs logs {submission_id}" in err
        assert called(cluster, "jobs", "stop", submission_id)[::2] == (0, f"mixray: job {submission_id}: STOPPED\n")
        log = called(cluster, "jobs", "logs", submission_id)[1]
        endpoint.close()
        code, out, err = called(cluster, *arguments)
    assert "interrupted; the same command goes on from here" in log, "it ended in order"
    assert code == 0, (out, err)
    assert [job["state"] for job in listed(cluster, "asking")] == ["STOPPED", "SUCCEEDED"]
    (pool,) = tmp_path.glob("pools/far-*/*.parquet")
    assert len(set(pq.read_table(pool)["trace_id"].to_pylist())) == NUM_PROBLEMS
    assert len(endpoint.asked) <= NUM_PROBLEMS + NUM_AT_ONCE, "what was answered before is not asked again"
    (run,) = told["runs"]
    assert (run["attempt"], run["state"], run["stages"][-1]["stage"]) == (submission_id, "running", "teacher far")
    assert [row["so_far"]["traces"] for row in told["artefacts"] if row["so_far"]] == [NUM_AT_ONCE]
    assert exported is not None
    assert exported["run"] == run["run"]


def test_a_job_no_cluster_knows_is_told_so(cluster: LocalCluster) -> None:
    for command in ("stop", "logs"):
        code, _, err = called(cluster, "jobs", command, "mixray-nothing-1")
        assert (code, "There is no such job" in err) == (1, True)
    code, _, err = called(cluster, "jobs", "ls", RAY_AUTH_TOKEN="wrong", RAY_AUTH_TOKEN_PATH="")
    assert (code, err.count("\n"), "token" in err) == (1, 1, True), err
