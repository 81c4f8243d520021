"""Whole runs killed over and over: `python tests/soak_runs.py [--kills 30] [--seed 0]`, the slower half of `make soak`.

One run is left alone, others are not, until there were kills enough: their actors, nodes and drivers are ended while every stage is at
work. All must come to the same traces and, to the bit, the same student. Prints what that cost: `{"kills", "by_kind", "runs",
"calm_seconds", "killed_seconds", "restart_seconds", "ratio", "different"}`. A restart is the time from a kill to the next sign of
progress, beyond the calm run's mean time between two signs; the ratio is the mean time of killed runs without their restarts over the
calm one's. Ends with 1 where something is lost, doubled or different, or the ratio is above 1.3.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from labelled_nodes import LabelledNodes, labelled_nodes, processes
from placed_run import NUM_PROBLEMS, Run
from soak import soaked  # keeps Ray on loopback, too

MOST_RATIO = 1.3
MOST_WAIT_SECONDS = 300
NUM_CPUS = 3
LONGEST_PAUSE_SECONDS = 4.0
KINDS = {"actor": 4, "node": 2, "driver": 1}
ACTORS = ("TeacherActor", "RayTrainWorker", "StudentServer")


def progress(run: Run) -> tuple[int, ...]:
    """Return what a run has written, by kind; it grows whenever anything is done."""
    patterns = (
        ".work/pools/*/parts/*.parquet", ".work/students/*/train/checkpoint_*/latest", ".work/scores/*/*",
        *(f"{kind}/*/manifest.json" for kind in ("pools", "mixtures", "students", "scores", "reports")),
    )  # fmt: skip
    journals = sum(path.stat().st_size for path in run.found(".work/scores/*/*") if path.is_file())
    return (*(len(run.found(pattern)) for pattern in patterns), journals)


def kill(kind: str, run: Run, nodes: LabelledNodes, chance: random.Random) -> bool:
    """End one process, one node or the driver; False where there is none of the kind just now."""
    if kind == "driver":
        run.process.kill()
        run.process.wait()
        run.start()
        return True
    if kind == "node":
        role = chance.choice(("teacher", "student"))
        nodes.kill(role)
        nodes.add(role, NUM_CPUS)
        return True
    found = [process for each in nodes.of_role.values() for node in each for process in processes(node) if _is_actor(process)]
    if not found:
        return False
    try:
        chance.choice(found).kill()
    except psutil.NoSuchProcess:
        return False
    return True


def _is_actor(process: psutil.Process) -> bool:
    try:
        return any(name in " ".join(process.cmdline()) for name in ACTORS)
    except psutil.Error:
        return False


@dataclass
class Told:
    """What making everything once came to."""

    run: Run
    seconds: float = 0.0
    restart_seconds: float = 0.0
    num_signs: int = 0
    killed: Counter[str] = field(default_factory=Counter)


def whole(folder: Path, num_kills: int, seed: int, usual_seconds: float = 0.0) -> Told:
    """Make everything once, killing so many times; `usual_seconds` lie between two signs of progress where nothing is killed."""
    folder.mkdir()
    with labelled_nodes() as nodes:
        for role in ("teacher", "student", "worker"):
            nodes.add(role, NUM_CPUS)
        told, began = Told(Run(folder, nodes)), time.monotonic()
        try:
            _strike(told, nodes, num_kills, random.Random(seed), usual_seconds)
            while _grown(told.run, progress(told.run)):
                told.num_signs += 1
            told.run.end()
            told.seconds = time.monotonic() - began
        finally:
            told.run.process.kill()
            told.run.process.wait()
    return told


def _strike(told: Told, nodes: LabelledNodes, num_kills: int, chance: random.Random, usual_seconds: float) -> None:
    """Kill so often, each time at some moment after a sign of progress, unless the run ends before."""
    began = time.monotonic()
    while told.killed.total() < num_kills and _grown(told.run, progress(told.run)):
        told.num_signs += 1
        time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        before, at = progress(told.run), time.monotonic()
        if told.run.process.poll() is None and kill(kind, told.run, nodes, chance):
            told.killed[kind] += 1
            _grown(told.run, before)
            told.restart_seconds += max(0.0, time.monotonic() - at - usual_seconds)
            doing = f"{told.killed.total()} of {num_kills} kills, {kind} {time.monotonic() - at:.0f} s, {time.monotonic() - began:.0f} s"
            print(f"\r{doing:60}", end="", file=sys.stderr, flush=True)


def _grown(run: Run, before: tuple[int, ...]) -> bool:
    """Wait for a sign of progress; False where the run has ended instead."""
    deadline = time.monotonic() + MOST_WAIT_SECONDS
    while progress(run) == before:
        if run.process.poll() is not None:
            return False
        assert time.monotonic() < deadline, f"nothing was written in {MOST_WAIT_SECONDS} s:\n{run.log.read_text()[-3000:]}"
        time.sleep(0.1)
    return True


def said(run: Run, teacher: str) -> list[dict[str, str]]:
    """Return what a finished pool holds, but for when and where it was said."""
    (pool,) = run.found(f"pools/{teacher}-*")
    tables = [pq.read_table(path, columns=["trace_id", "response", "verdict"]) for path in sorted(pool.glob("*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def differences(calm: Run, killed: Run) -> list[str]:
    """Return in what two runs differ."""
    wrong = []
    for teacher in ("long", "short"):
        if said(calm, teacher) != said(killed, teacher):
            wrong.append(f"{teacher}: other traces")
        ids = killed.trace_ids(teacher)
        if not len(ids) == len(set(ids)) == NUM_PROBLEMS:
            wrong.append(f"{teacher}: {len(ids)} traces, {len(set(ids))} of them different, of {NUM_PROBLEMS}")
    for pattern in ("mixtures/*/*.parquet", "students/*/model.safetensors"):
        left, right = ({path.relative_to(run.storage): path.read_bytes() for path in run.found(pattern)} for run in (calm, killed))
        wrong += [f"{path} differs" for path in sorted(left.keys() | right.keys()) if left.get(path) != right.get(path)]
    return wrong


def soak(num_kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Do a calm run, then others until so many kills were had, and tell."""
    calm = whole(folder / "calm", 0, seed)
    runs: list[Told] = []
    killed, different = Counter[str](), list[str]()
    while killed.total() < num_kills:
        name = f"killed-{len(runs)}"
        told = whole(folder / name, num_kills - killed.total(), seed + len(runs), calm.seconds / calm.num_signs)
        assert told.killed, "a whole run went by without a kill"
        runs.append(told)
        killed += told.killed
        different += [f"{name}: {each}" for each in differences(calm.run, told.run)]
    seconds, restarts = sum(told.seconds for told in runs), sum(told.restart_seconds for told in runs)
    return {
        "kills": killed.total(), "by_kind": dict(killed), "runs": len(runs), "calm_seconds": round(calm.seconds),
        "killed_seconds": round(seconds), "restart_seconds": round(restarts),
        "ratio": round((seconds - restarts) / len(runs) / calm.seconds, 2), "different": different,
    }  # fmt: skip


def main() -> int:
    """Run it and tell."""
    told, enough = soaked(soak, __doc__, 30)
    return int(bool(told["different"]) or told["ratio"] > MOST_RATIO or not enough)


if __name__ == "__main__":
    sys.exit(main())
