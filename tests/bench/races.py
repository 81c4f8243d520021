"""Storage: what several processes that want the same artefact at once come to, on an S3 server on loopback.

`locked`: as stages make artefacts; each is computed once. `unlocked`: nothing but the commit decides; each is of one process alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec

sys.path.insert(0, str(Path(__file__).parents[1]))

import contenders
from real_s3 import ENVIRONMENT, serving_s3

from mixray.store import Store

ROUNDS, NUM_PROCESSES = 50, 4


def measure() -> Iterator[dict[str, object]]:
    """Yield how many of the rounds ended as they must, of both ways."""
    with serving_s3() as url, tempfile.TemporaryDirectory(prefix="mixray-races-") as folder:
        os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=url)
        fsspec.filesystem("s3").mkdir("races")
        for ways, computations in (("locked", 1), ("unlocked", NUM_PROCESSES)):
            told = contenders.race(Store("s3://races/runs"), Path(folder), ways, ROUNDS, NUM_PROCESSES)
            right = sum(computed == computations and one for computed, one in zip(told["computed"], told["one_result"], strict=True))
            yield {
                "name": f"races of {NUM_PROCESSES} processes, {ways}: rounds with one result",
                "ratio": right / ROUNDS,
                "rounds": ROUNDS,
                "most_computed": max(told["computed"]),
                "failures": len(told["failures"]),
                "seconds": round(told["seconds"], 1),
                "target": 1.0,
                "met": right == ROUNDS and not told["failures"],
            }
