"""`make soak`: pools grow on a small cluster while its processes are killed, hundreds of times, at any moment.

Prints one JSON object: the kills by kind, how many traces there are and how many had to be asked again. Ends with 1 where a trace is
missing, there twice, or not what it must be, or where more was asked again than was in flight.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Ray reads it when it is imported: the cluster listens on loopback alone.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
sys.path.insert(0, str(Path(__file__).parent / "teachers"))

from chaos import Chaos, Kind

import mixray.tiny
from mixray.store import Store

KINDS: dict[Kind, int] = {"actor": 6, "engine": 4, "node": 2, "driver": 2, "interrupt": 1, "terminate": 1}
MOST_POOLS = 10_000
LONGEST_PAUSE_SECONDS = 2.0
MOST_AT_ONCE = 3


def soak(num_kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill until `num_kills` processes are gone, let the rest be made, and hold every pool against what it must be."""
    engines = folder / "engines"
    engines.mkdir(parents=True)
    model = str(Path(mixray.tiny.__file__).parent / "models" / "short")
    chance = random.Random(seed)
    chaos = Chaos(Store(str(folder / "runs")), engines, model, MOST_POOLS, may_give_up=True)
    began = time.monotonic()
    with chaos.up():
        while chaos.killed.total() < num_kills:
            if chance.random() < 0.8:  # else it strikes what is only starting
                chaos.wait_for_growth()
            time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
            for kind in chance.choices(list(KINDS), list(KINDS.values()), k=chance.randint(1, MOST_AT_ONCE)):
                chaos.kill(kind, chance)
            print(f"\r{chaos.killed.total()} of {num_kills} kills, {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
        chaos.enough()
    return chaos.check() | {"by_kind": dict(chaos.killed), "gave_up": chaos.gave_up, "seconds": round(time.monotonic() - began)}


def soaked(soak: Callable[[int, int, Path], dict[str, Any]], about: str | None, num_kills: int) -> tuple[dict[str, Any], bool]:
    """Run a soak in a folder of its own, which stays where it fails, and print what it told; return that, and whether it killed enough."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=num_kills)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mixray-soak-"))
    try:
        told = soak(arguments.kills, arguments.seed, folder)
    except BaseException:
        print(f"\nwhat is left lies in {folder}", file=sys.stderr)
        raise
    print(json.dumps(told))
    if told.get("different"):
        print(f"what differs lies in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return told, bool(told["kills"] >= arguments.kills)


if __name__ == "__main__":
    sys.exit(int(not soaked(soak, __doc__, 300)[1]))
