"""Processes that want the same artefact at once, and one that stands still in the middle of making it.

    python tests/contenders.py race URL FOLDER WAYS ROUNDS NUMBER PROCESSES
    python tests/contenders.py make URL FOLDER STALE_SECONDS [POINT]

`race`: rounds of one artefact each, all processes beginning together; WAYS is `locked`, `unlocked` where nothing but the commit decides, or
`mixed`: one after the other.
`make`: one attempt; at POINT it stops itself (SIGSTOP). Each process makes other bytes, so that two of them can be told apart. Prints what
it holds the artefact to be, or ends with the message.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixray import commits, disk, locks
from mixray.errors import MixrayError
from mixray.store import Artefact, Store

NUM_ROWS = 3


def begin(*arguments: object) -> subprocess.Popen[str]:
    """Start one of these processes."""
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def race(store: Store, folder: Path, ways: str, rounds: int, num_processes: int) -> dict[str, Any]:
    """Run rounds between processes; return how often each round was computed, how often it was told to be what, and what failed."""
    started = time.monotonic()
    running = [begin("race", store.url, folder, ways, rounds, number, num_processes) for number in range(num_processes)]
    told = [process.communicate(timeout=1200) for process in running]
    computed = [len(list(folder.glob(f"{ways}-{number}-computed-*"))) for number in range(rounds)]
    results = [json.loads(out) for out, _ in told if out.strip()]
    for number in range(rounds):
        artefact_of(store, f"{ways}-{number}").verify()
    return {
        "computed": computed,
        "one_result": [len({result[number] for result in results}) == 1 for number in range(rounds)],
        "failures": [error for process, (_, error) in zip(running, told, strict=True) if process.returncode],
        "seconds": time.monotonic() - started,
    }


def artefact_of(store: Store, name: str) -> Artefact:
    return store.artefact("pools", "long", {"name": name})


def contend(url: str, folder: Path, ways: str, rounds: int, number: int, num_processes: int) -> None:
    """Be one of the racing processes."""
    store, found = Store(url), []
    for turn in range(rounds):
        locked = ways == "locked" or (ways == "mixed" and turn % 2 == 0)
        artefact = artefact_of(store, f"{ways}-{turn}")
        _meet(folder, f"{ways}-{turn}", number, num_processes)
        with artefact.lock(seconds=600) if locked else contextlib.nullcontext():
            if not locked or not artefact.is_done():
                (folder / f"{ways}-{turn}-computed-{number}").touch()
                fill(artefact)
        found.append(_content(artefact))
    print(json.dumps(found))


def _meet(folder: Path, name: str, number: int, num_processes: int) -> None:
    (folder / f"{name}-here-{number}").touch()
    deadline = time.monotonic() + 300
    while len(list(folder.glob(f"{name}-here-*"))) < num_processes:
        assert time.monotonic() < deadline, "another process is gone"
        time.sleep(0.002)


def fill(artefact: Artefact) -> None:
    """Make the artefact, like no other process would."""
    with artefact.staging() as staging:
        for part in range(3):
            staging.write_table(f"part-{part:05d}.parquet", pa.table({"process": [os.getpid()] * NUM_ROWS}))
        staging.outcome = {"process": os.getpid()}
        stop_at("computed")


def _content(artefact: Artefact) -> str:
    processes = {artefact.outcome["process"], *artefact.read_table()["process"].to_pylist()}
    return " and ".join(map(str, sorted(processes)))


def make(url: str, folder: Path) -> None:
    """Make one artefact as a stage does, and say whose it is."""
    artefact = artefact_of(Store(url), "one")
    with artefact.lock(seconds=60):
        if not artefact.is_done():
            (folder / f"computed-{os.getpid()}").touch()
            fill(artefact)
    print(_content(artefact))


_point = ""


def stop_at(point: str) -> None:
    """Stand still if this is the point; once."""
    global _point
    if point == _point:
        _point = ""
        os.kill(os.getpid(), signal.SIGSTOP)


@contextlib.contextmanager
def _stopping_between(point: str) -> Iterator[None]:
    """Have the steps of a commit tell where they are."""
    global _point
    _point = point
    create, copy = Store.create, commits.Objects._copy

    def created(store: Store, path: str, data: bytes) -> bool:
        if "/.commits/" in path:
            stop_at("staged")
        made = create(store, path, data)
        if "/.commits/" in path:
            stop_at("decided")
        return made

    def copied(place: commits.Objects, source: str, target: str) -> None:
        copy(place, source, target)
        stop_at("copying")

    Store.create, commits.Objects._copy = created, copied  # type: ignore[method-assign]
    try:
        yield
    finally:
        Store.create, commits.Objects._copy = create, copy  # type: ignore[method-assign]


def main(mode: str, url: str, folder: str, *more: str) -> None:
    if mode == "race":
        ways, rounds, number, num_processes = more
        contend(url, Path(folder), ways, int(rounds), int(number), int(num_processes))
        sys.stdout.flush()
        os._exit(0)  # on a busy machine arrow's threads now and then abort an interpreter that ends while they let go of a file
    stale_seconds, point = float(more[0]), more[1] if len(more) > 1 else ""
    locks.STALE_SECONDS = stale_seconds
    if os.environ.get("MIXRAY_TEST_SHARED"):  # this disk, as if others had it
        disk.is_shared.__globals__["SHARED_KINDS"].update(("ext4", "overlay", "tmpfs", "xfs", "btrfs"))
    with _stopping_between(point):
        try:
            make(url, Path(folder))
        except MixrayError as error:
            print(error, file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
