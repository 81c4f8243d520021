"""A whole run on a cluster of nodes with roles: each stage where its label says, and machines that go and come while it is at work."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labelled_nodes import LabelledNodes, labelled_nodes
from placed_run import NUM_PROBLEMS, Run, works

pytestmark = pytest.mark.soak


@pytest.fixture
def nodes() -> Iterator[LabelledNodes]:
    with labelled_nodes() as nodes:
        for role in ("teacher", "student", "worker"):
            nodes.add(role, num_cpus=3)
        yield nodes


def test_a_run_survives_its_machines_and_uses_those_that_come(tmp_path: Path, nodes: LabelledNodes) -> None:
    run, seen, began = Run(tmp_path, nodes), dict[str, float](), time.monotonic()

    def tell(what: str) -> None:
        seen[what] = round(time.monotonic() - began, 1)

    def num_parts() -> int:
        return len(run.found(".work/pools/long-*/parts/*.parquet"))

    try:
        run.wait(lambda: num_parts() > 0)
        tell("first traces")
        added = nodes.add("teacher", num_cpus=3)
        run.wait(lambda: works(added, "TeacherActor"))
        tell("the added node asks too")
        nodes.kill("teacher")
        before = num_parts()
        run.wait(lambda: num_parts() > before or run.found("pools/long-*"))
        tell("traces go on after the first one's end")
        assert not works(nodes.of_role["student"][0], "TeacherActor")
        run.wait(lambda: run.found(".work/students/*/train/checkpoint_*/latest"))
        tell("first checkpoint")
        assert works(nodes.of_role["student"][0], "RayTrainWorker")
        assert not works(added, "TeacherActor"), "a teacher's places are free before anything is trained"
        nodes.kill("student")
        nodes.add("student", num_cpus=3)
        run.wait(lambda: run.found("students/*/manifest.json"))
        tell("student trained")
        report = json.loads((run.end() / "report.json").read_text())
        tell("report")
    finally:
        run.process.kill()
        run.process.wait()
    print(seen)
    assert [arm["mixture"] for arm in report["arms"]] == [None, "mix-0.2"]
    for teacher in ("long", "short"):
        ids = run.trace_ids(teacher)
        assert len(ids) == len(set(ids)) == NUM_PROBLEMS
