"""A whole run on a cluster of nodes with roles: each stage where its label says, and machines that go and come while it is at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from labelled_nodes import LabelledNodes, labelled_nodes, titles

pytestmark = pytest.mark.soak
NUM_PROBLEMS, NUM_ASKED = 96, 16
MOST_WAIT_SECONDS = 300
RECIPE = f"""
name: placed
problems: {{source: tiny, split: train, num_problems: {NUM_PROBLEMS}, difficulty: [2, 3], seed: 1}}
teachers:
  long: &teacher
    {{model: "tiny:long", max_tokens: 384, block_rows: 4, replicas: [1, 2], labels: {{mixray/role: teacher}},
      engine: {{max_model_len: 768, max_num_seqs: 4}}}}
  short: {{<<: *teacher, model: "tiny:short", replicas: 1}}
mixtures: {{mix: {{hard: long, easy: short, alpha: 0.2}}}}
students: {{student-s: {{model: "tiny:student-s"}}}}
train:
  {{epochs: 2, learning_rate: 1.0e-3, batch_rows: 4, max_tokens: 512, packs_multiple: 2, micro_batch_tokens: 1024, zero_stage: 2,
    workers: 2, dtype: float32, checkpoint_every_steps: 5, labels: {{mixray/role: student}}}}
serve: {{port: 0, max_model_len: 768, kv_cache_bytes: 67108864, labels: {{mixray/role: student}}}}
evaluate:
  benchmarks: {{tiny: {{source: tiny, split: test, num_problems: {NUM_ASKED}, difficulty: [2, 3], seed: 2}}}}
  max_tokens: 384
  concurrency: 4
"""


@pytest.fixture
def nodes() -> Iterator[LabelledNodes]:
    with labelled_nodes() as nodes:
        for role in ("teacher", "student", "worker"):
            nodes.add(role, num_cpus=3)
        yield nodes


class Run:
    """`mixray run` on the cluster, and what it has written so far."""

    def __init__(self, folder: Path, nodes: LabelledNodes) -> None:
        self.storage = folder / "runs"
        (folder / "placed.yaml").write_text(RECIPE)
        command = [sys.executable, "-m", "mixray.cli", "run", str(folder / "placed.yaml"), "--storage", str(self.storage)]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **nodes.environment})

    def wait(self, until: Callable[[], Any]) -> None:
        deadline = time.monotonic() + MOST_WAIT_SECONDS
        while not until():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def num_parts(self) -> int:
        return len(list(self.storage.glob(".work/pools/long-*/parts/*.parquet")))


def works(node: Any, what: str) -> bool:
    return any(what in title for title in titles(node))


def test_a_run_survives_its_machines_and_uses_those_that_come(tmp_path: Path, nodes: LabelledNodes) -> None:
    run, seen = Run(tmp_path, nodes), dict[str, float]()
    began = time.monotonic()

    def tell(what: str) -> None:
        seen[what] = round(time.monotonic() - began, 1)

    try:
        run.wait(lambda: run.num_parts() > 0)
        tell("first traces")
        added = nodes.add("teacher", num_cpus=3)
        run.wait(lambda: works(added, "TeacherActor"))
        tell("the added node asks too")
        nodes.kill("teacher")
        before = run.num_parts()
        run.wait(lambda: run.num_parts() > before or list(run.storage.glob("pools/long-*")))
        tell("traces go on after the first one's end")
        assert not works(nodes.of_role["student"][0], "TeacherActor")
        run.wait(lambda: list(run.storage.glob(".work/students/*/train/checkpoint_*/latest")))
        tell("first checkpoint")
        assert works(nodes.of_role["student"][0], "RayTrainWorker")
        assert not works(added, "TeacherActor"), "a teacher's places are free before anything is trained"
        nodes.kill("student")
        nodes.add("student", num_cpus=3)
        run.wait(lambda: list(run.storage.glob("students/*/manifest.json")))
        tell("student trained")
        assert run.process.wait(MOST_WAIT_SECONDS) == 0, run.log.read_text()[-3000:]
        tell("report")
    finally:
        run.process.kill()
        run.process.wait()
    print(seen)
    assert run.process.stdout is not None
    report = json.loads(Path(run.process.stdout.read().strip().splitlines()[-1], "report.json").read_text())
    assert [arm["mixture"] for arm in report["arms"]] == [None, "mix-0.2"]
    for teacher in ("long", "short"):
        (pool,) = run.storage.glob(f"pools/{teacher}-*")
        ids = [value for path in pool.glob("*.parquet") for value in pq.read_table(path, columns=["trace_id"])["trace_id"].to_pylist()]
        assert len(ids) == len(set(ids)) == NUM_PROBLEMS
