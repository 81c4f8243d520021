"""Exactly once, whatever dies: at least twenty real kills, a full disk, two runs at once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from chaos import DRIVER, NUM_PROBLEMS, NUM_SAMPLES, Chaos, Kind, pool_of

from mixray.store import Store

# What falls at one moment. What a kill costs in time is the start of what was killed.
BURSTS: list[list[Kind]] = [
    ["actor", "engine", "engine"], ["actor", "actor", "driver"], ["node", "engine", "actor"], ["actor", "interrupt", "engine", "engine"],
    ["node", "actor", "actor"], ["engine", "engine", "actor", "terminate"],
]  # fmt: skip
NUM_KILLS = sum(map(len, BURSTS))
NUM_POOLS = 20


@pytest.mark.e2e
def test_every_trace_is_there_once_after_kills_of_every_kind(store: Store, random_student: str, tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    chance, chaos = random.Random(0), Chaos(store, folder, random_student, NUM_POOLS)
    with chaos.up():
        for burst in BURSTS:
            chaos.wait_for_growth()
            assert not chaos.done(), f"all pools were made after {chaos.killed.total()} kills: more pools are needed"
            for kind in burst:
                chaos.kill_surely(kind, chance)
        chaos.wait_for_growth()  # the driver that was started last is at a pool
        chaos.enough()
    cost = chaos.check()
    assert cost["kills"] == NUM_KILLS >= 20
    assert set(chaos.killed) == {kind for burst in BURSTS for kind in burst}


@pytest.mark.e2e
def test_two_runs_of_one_command_make_one_pool(store: Store, random_student: str, tmp_path: Path) -> None:
    chaos = Chaos(store, tmp_path, random_student, num_pools=1)
    with chaos.up():
        other = chaos.start_driver()
        assert [chaos.driver.wait(500), other.wait(500)] == [0, 0]
    assert chaos.check()["asked_again"] == 0


FULL_DISK = """
set -e
mount -t tmpfs -o size=4m tmpfs "$1"
head -c 3800k /dev/zero > "$1/ballast"
"$2" -c "$3" "$1/runs" "$4" "$5" 1 2> "$4/full.log" && exit 9
rm "$1/ballast"
"$2" -c "$3" "$1/runs" "$4" "$5" 1
cp -r "$1/runs" "$6"
"""


@pytest.mark.e2e
def test_a_full_disk_costs_what_did_not_fit(random_student: str, tmp_path: Path) -> None:
    """In a mount namespace of its own, a disk of 4 MB: full at first, then with room."""
    folders = {name: tmp_path / name for name in ("disk", "engines")}
    for folder in folders.values():
        folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run(
        ["unshare", "-rm", "sh", "-c", FULL_DISK, "sh", str(folders["disk"]), sys.executable, DRIVER, str(folders["engines"]),
         random_student, str(tmp_path / "runs")],
        env=environment, check=True, timeout=600,
    )  # fmt: skip
    assert "No space left on device" in (folders["engines"] / "full.log").read_text()
    assert "make room" in (folders["engines"] / "full.log").read_text()
    pool = pool_of(str(folders["disk"] / "runs"), str(folders["engines"]), random_student, 0)
    chaos = Chaos(Store(str(tmp_path / "runs")), folders["engines"], random_student, num_pools=1)
    assert pool.hash == pool_of(chaos.store.url, str(chaos.folder), random_student, 0).hash
    chaos.killed["full disk"] = 1
    assert chaos.check()["traces"] == NUM_PROBLEMS * NUM_SAMPLES
