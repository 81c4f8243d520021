"""`make bench`: speed as ratios, both sides in one run, interleaved, the first round thrown away.

    python tests/bench/run.py [training] [plan] [verdicts] [pipeline] [memory] [serving] [overlaps] [mixing] [bootstrap] [coverage]
        [storage] [jobs] [scaling]

Prints one JSON object per benchmark, `{"name", "ratio", "low", "high", "rounds", "target", "met"}`: the median ratio with the smallest and
the largest seen; of memory, bytes; of a plan, what its name says; of coverage, shares of worlds; of storage, of rounds; of jobs, seconds
more, and a share of rounds; of scaling, shares of what is owed, and an exponent. Ends with 1 where
one is not met, or where both sides of a benchmark do not come to the same.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator

# Ray reads it when it is imported: its clusters listen on loopback alone.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import bootstrap
import coverages
import memory
import mixing
import overlaps
import pipeline
import plan
import races
import scaling
import serving
import submission
import training
import verdicts
from benchmark import ROUNDS, measure

GROUPS: dict[str, Callable[[], Iterator[dict[str, object]]]] = {
    "training": training.measure,
    "plan": plan.measure,
    "verdicts": lambda: (measure(make()) for make in (verdicts.clean, verdicts.pathological)),
    "pipeline": lambda: pipeline.measure(ROUNDS),
    "memory": lambda: iter([memory.measure()]),
    "serving": serving.measure,
    "overlaps": lambda: iter([overlaps.measure()]),
    "mixing": lambda: itertools.chain(mixing.measure(), [mixing.further_alpha()]),
    "bootstrap": bootstrap.measure,
    "coverage": coverages.measure,
    "storage": races.measure,
    "jobs": submission.measure,
    "scaling": scaling.measure,
}


def main(names: list[str]) -> int:
    """Print every benchmark's result; 1 where one falls short."""
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    all_met = True
    for name in names or GROUPS:
        for result in GROUPS[name]():
            print(json.dumps(result), flush=True)
            all_met &= bool(result["met"])
    return int(not all_met)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
