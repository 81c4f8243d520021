"""Whole runs killed over and over: `python tests/soak_runs.py [--kills 30] [--seed 0]`, the slower half of `make soak`.

One run is left alone, another one is not: its actors, its nodes and its driver are ended while every stage is at work. Both must come to
the same traces and, to the bit, the same student. Prints what that cost: `{"kills", "by_kind", "calm_seconds", "killed_seconds",
"restart_seconds", "ratio"}`. The ratio is the killed run's time, without that from each kill to the next sign of progress, over the calm
one's. Ends with 1 where something is lost, doubled or different, or the ratio is above 1.3.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
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


def whole(folder: Path, num_kills: int, seed: int) -> tuple[Run, float, float, Counter[str]]:
    """Make everything once, killing so many times; return the run, its seconds, those of restarts, and the kills."""
    chance, killed, restarts = random.Random(seed), Counter[str](), 0.0
    folder.mkdir()
    with labelled_nodes() as nodes:
        for role in ("teacher", "student", "worker"):
            nodes.add(role, NUM_CPUS)
        run, began = Run(folder, nodes), time.monotonic()
        try:
            while killed.total() < num_kills:
                before = progress(run)
                if not _grown(run, before):
                    break
                time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
                kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
                before, at = progress(run), time.monotonic()
                if run.process.poll() is None and kill(kind, run, nodes, chance):
                    killed[kind] += 1
                    _grown(run, before)
                    restarts += time.monotonic() - at
                print(f"\r{killed.total()} of {num_kills} kills, {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
            run.end()
            seconds = time.monotonic() - began
        finally:
            run.process.kill()
            run.process.wait()
    return run, seconds, restarts, killed


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
    """Do both runs and tell."""
    calm, calm_seconds, _, _ = whole(folder / "calm", 0, seed)
    run, seconds, restarts, killed = whole(folder / "killed", num_kills, seed)
    ratio = (seconds - restarts) / calm_seconds
    return {
        "kills": killed.total(), "by_kind": dict(killed), "calm_seconds": round(calm_seconds), "killed_seconds": round(seconds),
        "restart_seconds": round(restarts), "ratio": round(ratio, 2), "different": differences(calm, run),
    }  # fmt: skip


def main() -> int:
    """Run it and tell."""
    told, enough = soaked(soak, __doc__, 30)
    return int(bool(told["different"]) or told["ratio"] > MOST_RATIO or not enough)


if __name__ == "__main__":
    sys.exit(main())
