"""Generation over nodes and over problems, with a teacher that does nothing but wait: what is left is what mixray and Ray cost.

`nodes`: one actor on each of so many nodes of this machine, each as fast as a small GPU. The share of the answers that so many nodes owe,
while all of them are up; nodes of one machine start one after another, so the time before is left out.
`problems`: the exponent of the time from the first answer to the finished pool against the number of problems.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what tests share
sys.path.insert(0, str(Path(__file__).parents[1] / "teachers"))

import numpy as np
import ray.cloudpickle
from asking import RULE, make_problems
from labelled_nodes import labelled_nodes
from scripted_engine import PatientEngine

import mixray.tiny
from mixray import teachers
from mixray.progress import Display
from mixray.recipe import Teacher
from mixray.session import ray_session
from mixray.store import Store
from mixray.teachers.engine import Completion

TESTS = Path(__file__).parents[1]
NODES = (1, 2, 4, 8, 16)
PROBLEMS = (1_000, 10_000, 100_000)
ANSWERS_PER_SECOND = 4.0
START_SECONDS, WINDOW_SECONDS = 7.0, 60.0
"""Of one node on this machine; and how long all of them should be up."""
EFFICIENCY_TARGET, AT_NODES = 0.9, 8
MOST_EXPONENT = 1.05
MODEL = str(Path(mixray.tiny.__file__).parent / "models" / "short")
LABELS = {"mixray/role": "teacher"}


class WaitingEngine(PatientEngine):
    """Takes the same time over every so many answers, and writes down when it gave them."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__(teacher)
        self.seconds, self.at_once = teacher.engine["seconds"], teacher.engine["at_once"]
        self.times = (self.folder / f"times-{os.getpid()}").open("a", buffering=1)

    def step(self) -> list[Completion]:
        time.sleep(self.seconds)
        done = [completion for _ in range(min(self.at_once, len(self.waiting))) for completion in super(WaitingEngine, self).step()]
        self.times.write(f"{time.time()} {len(done)}\n")
        return done


ray.cloudpickle.register_pickle_by_value(sys.modules[WaitingEngine.__module__])


def teach(folder: Path, num_problems: int, num_actors: int, seconds: float, at_once: int, block_rows: int) -> float:
    """Make one pool on the cluster that RAY_ADDRESS names; return when it was done."""
    engine = {"folder": str(folder), "max_num_seqs": 2 * block_rows, "seconds": seconds, "at_once": at_once}
    teacher = Teacher(model=MODEL, block_rows=block_rows, num_gpus=1, replicas=(num_actors, num_actors), engine=engine, labels=LABELS,
                      temperature=1)  # fmt: skip
    store = Store(f"{folder}/store")
    problems = make_problems(store, [f"well? {number}" for number in range(num_problems)])
    with ray_session():
        pool = teachers.run(store, "far", teacher, problems, 0, RULE, Display(quiet=True).stage("pool"), WaitingEngine)
        done = time.time()
    assert pool.outcome["right"] == num_problems
    return done


def answered(folder: Path) -> list[list[tuple[float, int]]]:
    """Return when each actor gave how many answers."""
    files = [path for path in folder.glob("times-*") if path.stat().st_size]
    return [[(float(when), int(number)) for when, number in (line.split() for line in path.read_text().splitlines())] for path in files]


def share_of_owed(told: list[list[tuple[float, int]]]) -> float:
    """Return the answers given while every actor had something to do, over those that were owed."""
    begin, end = max(actor[0][0] for actor in told), min(actor[-1][0] for actor in told)
    given = sum(number for actor in told for when, number in actor if begin < when <= end)
    return given / (len(told) * ANSWERS_PER_SECOND * (end - begin))


@contextlib.contextmanager
def _nodes(number: int) -> Iterator[dict[str, str]]:
    with labelled_nodes() as nodes:
        nodes.add("worker", num_cpus=3)
        for _ in range(number):
            nodes.add("teacher", num_cpus=1, num_gpus=1)
        yield nodes.environment


def _driven(environment: dict[str, str], *arguments: object) -> float:
    """Have `teach` run in a driver of its own."""
    command = [sys.executable, __file__, *(str(each) for each in arguments)]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "teachers")])
    told = subprocess.run(command, env={**os.environ, **environment, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True, text=True)
    return float(told.stdout.strip().splitlines()[-1])


def over_nodes(number: int) -> dict[str, Any]:
    """Tell the share of what so many nodes owe."""
    num_problems = math.ceil(number * ANSWERS_PER_SECOND * (WINDOW_SECONDS + number * START_SECONDS / 2))
    with tempfile.TemporaryDirectory(prefix="mixray-nodes-") as name, _nodes(number) as environment:
        _driven(environment, name, num_problems, number, 1 / ANSWERS_PER_SECOND, 1, 8)
        told = answered(Path(name))
        assert len(told) == number
        share = share_of_owed(told)
    target = EFFICIENCY_TARGET if number <= AT_NODES else 0.0
    return {"name": f"generation on {number} nodes over {number} times {ANSWERS_PER_SECOND:g} answers/s", "ratio": round(share, 3),
            "low": round(share, 3), "high": round(share, 3), "rounds": 1, "target": target, "met": share >= target}  # fmt: skip


def over_problems() -> dict[str, Any]:
    """Tell how the time grows with the number of problems."""
    seconds = []
    with _nodes(2) as environment:
        for num_problems in PROBLEMS:
            with tempfile.TemporaryDirectory(prefix="mixray-problems-") as name:
                done = _driven(environment, name, num_problems, 2, 0.04, 8, 64)
                seconds.append(done - min(actor[0][0] for actor in answered(Path(name))))
    exponent = float(np.polyfit(np.log(PROBLEMS), np.log(seconds), 1)[0])
    told = ", ".join(f"{number:,} in {each:.1f} s" for number, each in zip(PROBLEMS, seconds, strict=True))
    return {"name": f"exponent of wall time over problems: {told}", "ratio": round(exponent, 3), "low": round(exponent, 3),
            "high": round(exponent, 3), "rounds": 1, "target": MOST_EXPONENT, "met": exponent <= MOST_EXPONENT}  # fmt: skip


def measure() -> Iterator[dict[str, object]]:
    """Tell both figures."""
    for number in NODES:
        yield over_nodes(number)
    yield over_problems()


if __name__ == "__main__":
    import scaling  # by its name, as workers are sent it

    folder, num_problems, num_actors, seconds, at_once, block_rows = sys.argv[1:]
    done_at = scaling.teach(Path(folder), int(num_problems), int(num_actors), float(seconds), int(at_once), int(block_rows))
    print(json.dumps(done_at))
