"""A teacher on its own nodes of a real cluster: where its actors run, that they leave its GPUs, and that the head does none of the work."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labelled_nodes import LabelledNodes, labelled_nodes, titles

pytestmark = pytest.mark.e2e
# A node's own processes, and workers that wait for work.
NO_WORK = {"ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::IDLE"}
DRIVER = """
import json, sys, time
from pathlib import Path
import ray, ray.cloudpickle
import scripted_engine
from asking import RULE, make_problems, scripted
from mixray import teachers
from mixray.progress import Display
from mixray.store import Store

class PlacedEngine(scripted_engine.EngineOfTwo):
    def __init__(self, teacher):
        context = ray.get_runtime_context()
        place = Path(teacher.engine["folder"], f"place-{context.get_actor_id()}")
        place.write_text(json.dumps([context.get_node_id(), ray.get_gpu_ids()]))
        super().__init__(teacher)

def drive(folder, model):
    store = Store(f"{folder}/store")
    teacher = scripted(model, Path(folder), num_gpus=1, replicas=(2, 2), labels={"mixray/role": "teacher"})
    problems = make_problems(store, [f"well? {number}" for number in range(60)])
    pool = teachers.run(store, "placed", teacher, problems, 0, RULE, Display(quiet=True).stage("pool"), PlacedEngine)
    ended = time.monotonic()
    while ray.available_resources().get("GPU", 0) < ray.cluster_resources()["GPU"]:
        assert time.monotonic() < ended + 60
        time.sleep(0.02)
    return pool.outcome["right"], time.monotonic() - ended, ray.get_runtime_context().get_node_id()

ray.cloudpickle.register_pickle_by_value(sys.modules["asking"])
ray.init()
on_a_worker = ray.remote(num_cpus=1, label_selector={"mixray/role": "worker"})(drive)
right, seconds, driver = ray.get(on_a_worker.remote(*sys.argv[1:]))
roles = {node["NodeID"]: node["Labels"].get("mixray/role", "head") for node in ray.nodes()}
places = [json.loads(path.read_text()) for path in Path(sys.argv[1]).glob("place-*")]
actors = [[roles[node], len(gpus)] for node, gpus in places]
print(json.dumps({"right": right, "seconds": seconds, "driver": roles[driver], "actors": actors}))
"""


@pytest.fixture
def nodes() -> Iterator[LabelledNodes]:
    """A head for nothing, and a node each for teachers, students and the driver; the GPUs are Ray's word alone."""
    with labelled_nodes() as nodes:
        for role, cpus, gpus in (("teacher", 2, 2), ("student", 2, 2), ("worker", 3, 0)):
            nodes.add(role, num_cpus=cpus, num_gpus=gpus)
        yield nodes


def test_a_teacher_takes_its_own_nodes_and_leaves_them_before_the_next_stage(
    nodes: LabelledNodes, tmp_path: Path, random_student: str
) -> None:
    environment = {
        **os.environ,
        **nodes.environment,
        "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, "-c", DRIVER, str(tmp_path), random_student]
    on_head: set[str] = set()
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        while driver.poll() is None:
            on_head |= titles(nodes.cluster.head_node)
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(0.1)
    assert driver.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert driver.stdout is not None
    told = json.loads(driver.stdout.read().splitlines()[-1])
    print(f"GPUs free {told['seconds']:.2f} s after the pool; on the head: {sorted(on_head)}")
    assert told["right"] == 60
    assert told["driver"] == "worker"
    assert told["actors"] == [["teacher", 1]] * 2
    assert on_head <= NO_WORK
