"""A node nobody can reach any more, which itself goes on: what it writes and what the others write in its place are one result."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from namespaces import may_have_namespaces, partitionable

from mixray.store import Store

pytestmark = [pytest.mark.soak, pytest.mark.skipif(not may_have_namespaces(), reason="network namespaces need root and `ip`")]
TESTS = Path(__file__).parent
NUM_PROBLEMS = 300
AT_HAND = 20
"""More questions than two actors are given before they have answered."""
MOST_WAIT_SECONDS = 400
DRIVER = """
import sys
from pathlib import Path
from asking import RULE, make_problems, scripted
from scripted_engine import SlowEngine
from mixray import teachers
from mixray.progress import Display
from mixray.session import ray_session
from mixray.store import Store

folder, model, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = Store(f"{folder}/store")
teacher = scripted(model, folder, replicas=(2, 2), num_gpus=1, labels={"mixray/role": "teacher"})
with ray_session():
    problems = make_problems(store, [f"well? {number}" for number in range(number)])
    pool = teachers.run(store, "far", teacher, problems, 0, RULE, Display(quiet=True).stage("pool"), SlowEngine)
print(pool.path)
"""


def wait(until: Callable[[], Any], driver: subprocess.Popen[str], log: Path) -> float:
    began = time.monotonic()
    while not until():
        assert driver.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() - began < MOST_WAIT_SECONDS, log.read_text()[-3000:]
        time.sleep(0.1)
    return time.monotonic() - began


def asking(folder: Path) -> list[Path]:
    """Return the logs of the engines, one for each process, in which there is a question."""
    return [path for path in folder.glob("started-*") if path.stat().st_size]


def namespace_of(path: Path) -> str:
    return os.readlink(f"/proc/{path.name.removeprefix('started-')}/ns/net")


def test_a_pool_is_made_once_although_a_node_was_cut_off_and_came_back(tmp_path: Path, random_student: str) -> None:
    with partitionable(2, "mixray/role=teacher", tmp_path) as nodes:
        path = os.pathsep.join([str(TESTS), str(TESTS / "teachers"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-c", DRIVER, str(tmp_path), random_student, str(NUM_PROBLEMS)]
        environment = {**nodes.environment, "RAY_ADDRESS": nodes.address, "PYTHONPATH": path}
        log = tmp_path / "driver.log"
        with log.open("w") as errors:
            driver = subprocess.Popen(nodes.inside(0, command), env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            wait(lambda: len(asking(tmp_path)) == 2, driver, log)
            where = {namespace_of(each): each for each in asking(tmp_path)}
            cut_off = where[os.readlink(f"/proc/{nodes.nodes[2].pid}/ns/net")]
            process = psutil.Process(int(cut_off.name.removeprefix("started-")))
            at_once = len(cut_off.read_text().splitlines())
            nodes.cut(2)
            began = time.monotonic()
            out, _ = driver.communicate(timeout=MOST_WAIT_SECONDS)
            print(f"made without it {time.monotonic() - began:.1f} s after the cut")
            assert process.is_running(), "the pool was made while it was cut off and at work"
            nodes.mend(2)
        finally:
            driver.kill()
            driver.wait()
        assert driver.returncode == 0, log.read_text()[-3000:]
        process.wait(60)  # an actor that was given up ends, once its node hears of it
    pool = Store(f"{tmp_path}/store").open("pools", Path(out.strip().splitlines()[-1]).name)
    pool.verify()
    assert pool.outcome["right"] == NUM_PROBLEMS
    ids = pool.read_table()["trace_id"].to_pylist()
    assert len(ids) == len(set(ids)) == NUM_PROBLEMS
    asked = [line for each in tmp_path.glob("started-*") for line in each.read_text().splitlines()]
    again = len(asked) - NUM_PROBLEMS
    print(f"{again} of {NUM_PROBLEMS} questions were asked twice")
    assert again <= at_once + AT_HAND, "what was at hand there at most: what it has written meanwhile is found"
