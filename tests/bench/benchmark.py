"""What a benchmark is, and how it is measured: both sides in one process, interleaved, the first round thrown away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDS = 5
SLACK = 0.9


@dataclass(frozen=True)
class Benchmark:
    """Two ways to do the same work, and how many times faster ours should be."""

    name: str
    target: float
    baseline: Callable[[], object]
    ours: Callable[[], object]
    disagreements: Callable[[], list[str]] = list
    """Asked once all rounds are done: in what the two sides differ although they should not."""


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(benchmark: Benchmark) -> dict[str, object]:
    """Run both sides in turns and tell the ratio."""
    ratios = [seconds(benchmark.baseline) / seconds(benchmark.ours) for _ in range(ROUNDS + 1)][1:]
    told = tell(benchmark.name, ratios, benchmark.target)
    return told | {"met": told["met"] and not benchmark.disagreements()}


def tell(name: str, ratios: Sequence[float], target: float) -> dict[str, object]:
    """Return the ratio's median and range, and whether the median comes up to nine tenths of the target (shared machines are noisy)."""
    return {
        "name": name,
        "ratio": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "rounds": len(ratios),
        "target": target,
        "met": statistics.median(ratios) >= SLACK * target,
    }
