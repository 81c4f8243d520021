"""A cluster whose parts are killed while pools grow: what tests and the soak run ask of "exactly once".

Real processes of a real Ray cluster are ended by signals: actors, the engines' own processes, whole nodes, drivers. Only the engine's
answers are scripted, so that hundreds of kills take minutes; a real engine under kills is in `test_teachers_e2e`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import psutil
import ray.cloudpickle
import scripted_engine
from asking import RULE, make_problems
from scripted_engine import ScriptedEngine

from mixray.progress import Display
from mixray.recipe import Teacher
from mixray.rows import TRACE, trace_id, trace_seed
from mixray.session import ray_session
from mixray.store import Artefact, Store
from mixray.teachers import handle, run
from mixray.teachers.engine import Completion

NUM_PROBLEMS = 400
NUM_SAMPLES = 2
BLOCK_ROWS = 8
PLACES = 8
STEP_SECONDS = 0.02
NUM_WORKER_NODES = 2
LABELS = {"mixray/role": "teacher"}
MOST_WAIT_SECONDS = 300.0
# What one kill can cost: the blocks at hand in both actors, and those that other actors had begun when the driver fell.
MOST_IN_FLIGHT = 2 * BLOCK_ROWS * (4 * PLACES // BLOCK_ROWS + 2)

Kind = Literal["actor", "engine", "node", "driver", "interrupt", "terminate"]
SIGNALS = {"driver": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
# As `mixray.cli` does: a polite end goes the way of Ctrl-C. A soak in the background would hand down a SIGINT that is ignored.
DRIVER = """
import signal, sys, chaos
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.default_int_handler)
chaos.drive(*sys.argv[1:])
"""


class ChaosEngine(ScriptedEngine):
    """Answers at a pace, and leans on a process of its own, as vLLM does on a GPU; like there, no step ends once it is gone."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__(teacher)
        self.process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        (self.folder / f"engine-{self.process.pid}").touch()

    def add(self, request_id: str, prompt: list[int], seed: int) -> None:
        self.log.write(f"{seed}\n")
        self.waiting.append((request_id, "wrong" if seed % 3 else "well"))

    def step(self) -> list[Completion]:
        time.sleep(STEP_SECONDS)
        while self.process.poll() is not None:
            time.sleep(1)
        request_id, word = self.waiting.pop(0)
        return [Completion(request_id, *scripted_engine.ENDINGS[word], 9)]

    def death(self) -> str | None:
        return None if self.process.poll() is None else "scripted: the engine's process is gone"


def teacher_of(model: str, folder: str) -> Teacher:
    return Teacher(
        model=model, num_samples=NUM_SAMPLES, temperature=1, max_failed_share=1, max_restarts=50, block_rows=BLOCK_ROWS, replicas=(2, 2),
        engine={"folder": folder, "max_num_seqs": PLACES}, labels=LABELS,
    )  # fmt: skip


def pool_of(url: str, folder: str, model: str, seed: int) -> Artefact:
    store = Store(url)
    return handle(store, "odd", teacher_of(model, folder), _problems(store), seed, RULE)


def _problems(store: Store) -> Artefact:
    return make_problems(store, [f"well? {index}" for index in range(NUM_PROBLEMS)])


def drive(url: str, folder: str, model: str, num_pools: str) -> None:
    """Make pool after pool, until there are so many or a file `enough` says so; what a user's command does, here over and over."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    store = Store(url)
    with ray_session():
        for seed in range(int(num_pools)):
            if Path(folder, "enough").exists():
                return
            run(store, "odd", teacher_of(model, folder), _problems(store), seed, RULE, Display(quiet=True).stage("pool"), ChaosEngine)


@dataclass
class Chaos:
    """A cluster with a driver on it, and the signals to end any of its processes."""

    store: Store
    folder: Path
    model: str
    num_pools: int
    killed: Counter[str] = field(default_factory=Counter)
    gave_up: int = 0
    """Drivers that ended by themselves; see `done`."""
    may_give_up: bool = False
    at: int = 0
    """The first pool that is not made."""

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """Have the cluster and a driver for the block; leave no process behind."""
        from ray.cluster_utils import Cluster

        # Behind `&` a shell has SIGINT ignored, and so has every child until it says otherwise: a driver struck before would go on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ray_folder = tempfile.mkdtemp(prefix="mx-", dir="/tmp")  # short: sockets lie there
        with patch.dict(os.environ, RAY_AUTH_MODE="disabled", RAY_TMPDIR=ray_folder), contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, ray_folder, ignore_errors=True)
            self.cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
            stack.callback(self.cluster.shutdown)
            for _ in range(NUM_WORKER_NODES):
                self._add_node()
            self.driver = self.start_driver()
            stack.callback(self._end_driver)
            yield

    def _end_driver(self) -> None:
        self.driver.kill()
        self.driver.wait()

    def done(self) -> bool:
        """Whether the driver has made all its pools.

        One that gives up, because its actors were killed over and over while they started, is started again where that is allowed.
        """
        if self.driver.poll() not in (None, 0):
            log = self.log.read_text()
            may = self.may_give_up and "mixray.errors.TeacherError" in log
            assert may, f"a driver ended with {self.driver.returncode}:\n{log}"
            self.gave_up += 1
            self.driver = self.start_driver()
        return self.driver.poll() == 0

    def kill(self, kind: Kind, chance: random.Random) -> bool:
        """End one process, or one node with all its processes; False where there is none of the kind just now."""
        if kind == "node":
            self._kill_node(chance)
        elif kind in SIGNALS:
            self.driver.send_signal(SIGNALS[kind])
            self.driver.wait(MOST_WAIT_SECONDS)
            assert self.driver.returncode != 0 or kind != "driver"
            self.driver = self.start_driver()
        else:
            found = self._actors() if kind == "actor" else self._engines()
            if not found or not _ended(chance.choice(found)):
                return False
        self.killed[kind] += 1
        return True

    def kill_surely(self, kind: Kind, chance: random.Random) -> None:
        """End one process of the kind, as soon as there is one."""
        deadline = time.monotonic() + MOST_WAIT_SECONDS
        while not self.kill(kind, chance):
            assert time.monotonic() < deadline, f"no {kind} in {MOST_WAIT_SECONDS} s after {self.killed}"
            time.sleep(0.05)

    def wait_for_growth(self) -> None:
        """Wait until an answer has been written since now, or all is done."""
        before, deadline = self._num_written(), time.monotonic() + MOST_WAIT_SECONDS
        while self._num_written() == before and not self.done():
            assert time.monotonic() < deadline, f"nothing was written in {MOST_WAIT_SECONDS} s after {self.killed}"
            time.sleep(0.05)

    def wait(self) -> None:
        """Wait until all pools are made."""
        while not self.done():
            self.wait_for_growth()

    def enough(self) -> None:
        """Let the driver finish the pool it is at, and no other."""
        (self.folder / "enough").touch()
        self.wait()

    def check(self) -> dict[str, int]:
        """Hold every pool against what it must be; return what the kills cost."""
        self._num_written()
        pools = [self.pool(seed) for seed in range(self.at if (self.folder / "enough").exists() else self.num_pools)]
        for seed, pool in enumerate(pools):
            assert pool.is_done(), seed
            rows = pool.read_table()
            assert rows.schema == TRACE
            told = rows.select(["trace_id", "seed", "verdict", "status"]).to_pylist()
            assert told == list(expected(seed)), f"pool {seed}"
            assert not Path(pool.work_path).exists()
        asked = [line for log in self.folder.glob("started-*") for line in log.read_text().splitlines()]
        wanted = {str(row["seed"]) for seed in range(len(pools)) for row in expected(seed)}
        assert set(asked) == wanted
        again = len(asked) - len(wanted)
        assert again <= MOST_IN_FLIGHT * (self.killed.total() + self.gave_up), "more was asked again than was in flight"
        return {"kills": self.killed.total(), "pools": len(pools), "traces": len(wanted), "asked_again": again}

    def start_driver(self) -> subprocess.Popen[bytes]:
        """Start the command that makes the pools, as a user would start it again."""
        environment = {**os.environ, "RAY_ADDRESS": self.cluster.address, "PYTHONPATH": str(Path(__file__).parent)}
        arguments = [self.store.url, str(self.folder), self.model, str(self.num_pools)]
        self.log = self.folder / f"driver-{len(list(self.folder.glob('driver-*')))}.log"
        with self.log.open("wb") as log:
            return subprocess.Popen([sys.executable, "-c", DRIVER, *arguments], env=environment, stdout=log, stderr=log)

    def _num_written(self) -> int:
        """Count parts over all pools; a finished pool counts more than any number of its parts."""
        while self.at < self.num_pools and (pool := self.pool(self.at)).is_done():
            self.at += 1
        parts = len(list(Path(pool.work_path, "parts").glob("*.parquet"))) if self.at < self.num_pools else 0
        return self.at * NUM_PROBLEMS + parts

    def pool(self, seed: int) -> Artefact:
        """Return the handle of one pool."""
        return pool_of(self.store.url, str(self.folder), self.model, seed)

    def _add_node(self) -> None:
        self.cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20, labels=LABELS)

    def _kill_node(self, chance: random.Random) -> None:
        node = chance.choice(sorted(self.cluster.worker_nodes, key=lambda node: node.node_id))
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in raylet.children(recursive=True):  # a machine takes all its processes with it
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)
        self._add_node()

    def _actors(self) -> list[psutil.Process]:
        return [process for process in psutil.Process().children(recursive=True) if _is_actor(process)]

    def _engines(self) -> list[psutil.Process]:
        pids = {int(path.name.partition("-")[2]) for path in self.folder.glob("engine-*")}
        return [process for process in psutil.Process().children(recursive=True) if process.pid in pids]


def _ended(process: psutil.Process) -> bool:
    """End a process; False where it had ended before."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def _is_actor(process: psutil.Process) -> bool:
    try:
        return "TeacherActor" in " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return False


def expected(seed: int) -> Iterator[dict[str, Any]]:
    """Yield what every pool of this seed must hold, whatever happened."""
    for number in range(NUM_PROBLEMS):
        for sample in range(NUM_SAMPLES):
            own = trace_seed(seed, "odd", f"p{number}", sample)
            verdict = "wrong" if own % 3 else "right"
            yield {"trace_id": trace_id(f"p{number}", "odd", sample), "seed": own, "verdict": verdict, "status": "ok"}
