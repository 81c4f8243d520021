"""The driver's memory while a pool grows: 300,000 rows should take what 10,000 take, but for 50 MB.

Each size runs in a process of its own, with a scripted engine that answers at once; the highest resident memory of the whole run counts,
the making of the problems and the writing of the pool included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pyarrow as pa

from mixray.progress import Display
from mixray.recipe import Teacher
from mixray.rows import PROBLEM
from mixray.session import ray_session
from mixray.store import Artefact, Store
from mixray.teachers.engine import Completion

SIZES = (10_000, 300_000)
MOST_GROWTH_BYTES = 50 * 10**6
ROWS_PER_FILE = 2_000
RESPONSE = "They share them evenly, so each of them has half of what was there before. " * 8 + r"\boxed{4}"


class InstantEngine:
    """Answers everything at once, with a few hundred characters."""

    def __init__(self, teacher: Teacher) -> None:
        self.waiting: list[str] = []

    def add(self, request_id: str, prompt: list[int], seed: int) -> None:
        self.waiting.append(request_id)

    def step(self) -> list[Completion]:
        waiting, self.waiting = self.waiting, []
        return [Completion(request_id, RESPONSE, "stop", 120) for request_id in waiting]

    def has_unfinished(self) -> bool:
        return bool(self.waiting)

    def death(self) -> str | None:
        return None

    def close(self) -> None:
        pass


def make_problems(store: Store, num_problems: int) -> Artefact:
    artefact = store.artefact("problems", "many", {"num_problems": num_problems})
    with artefact.staging() as staging:
        for start in range(0, num_problems, ROWS_PER_FILE):
            rows = [
                {"problem_id": f"p{index:07d}", "question": f"What is half of {index}?", "answer": "4", "subject": "halves", "level": 1}
                for index in range(start, min(start + ROWS_PER_FILE, num_problems))
            ]
            staging.write_table(f"part-{start // ROWS_PER_FILE:05d}.parquet", pa.Table.from_pylist(rows, schema=PROBLEM))
        staging.outcome = {"num_problems": num_problems}
    return artefact


def grow(num_problems: int, block_rows: int | None) -> dict[str, int]:
    """Make one pool; return the highest memory, in bytes, of this process and of the actor, and the seconds."""
    from mixray.teachers import Rule, run
    from mixray.verify import POLICY, verify

    ended, most_of_actor = threading.Event(), [0]
    watch = threading.Thread(target=_watch_actor, args=(ended, most_of_actor))
    with tempfile.TemporaryDirectory(prefix="mixray-bench-") as folder, ray_session():
        import ray.cloudpickle  # not before the session, which makes Ray listen on loopback

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        store = Store(folder)
        problems = make_problems(store, num_problems)
        teacher = Teacher(model="tiny:short", **({"block_rows": block_rows} if block_rows else {}))
        watch.start()
        began = time.monotonic()
        try:
            pool = run(store, "many", teacher, problems, 0, Rule(verify, POLICY, False), Display(quiet=True).stage("bench"), InstantEngine)
        finally:
            ended.set()
            watch.join()
        assert pool.outcome["right"] == num_problems, pool.outcome
        seconds = round(time.monotonic() - began)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows": num_problems, "driver_bytes": most, "actor_bytes": most_of_actor[0], "seconds": seconds}


def _watch_actor(ended: threading.Event, most: list[int]) -> None:
    while not ended.wait(1):
        for process in psutil.Process().children(recursive=True):
            try:
                if "TeacherActor" in " ".join(process.cmdline()):
                    most[0] = max(most[0], process.memory_info().rss)
            except psutil.Error:  # it ended meanwhile
                continue


def measure() -> dict[str, object]:
    """Return how much more memory the driver takes for the larger size."""
    command = [sys.executable, str(Path(__file__)), "--rows"]
    # The last line, since Ray may have something to say before.
    small, large = (
        json.loads(subprocess.run([*command, str(size)], check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        for size in SIZES
    )
    growth = large["driver_bytes"] - small["driver_bytes"]
    return {
        "name": f"driver memory from {SIZES[0]:,} to {SIZES[1]:,} rows",
        "growth_bytes": growth,
        "limit_bytes": MOST_GROWTH_BYTES,
        "small": small,
        "large": large,
        "met": growth <= MOST_GROWTH_BYTES,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--block-rows", type=int)
    arguments = parser.parse_args()
    sys.modules["memory"] = sys.modules[__name__]
    print(json.dumps(grow(arguments.rows, arguments.block_rows)))
