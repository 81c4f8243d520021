"""What a large report costs: 20 arms x 7,500 problems x 8 samples read from parquet, and all their scores and gaps with 10,000 resamples.

    python tests/bench/bootstrap.py

The ratio is ten seconds over the seconds of the processor, all cores together: above 1 is faster than asked. An idle machine takes no
longer than that, one that does much else does; the name says how long it took here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmark import SLACK

from mixray import rows
from mixray.recipe import Report
from mixray.report import Arm
from mixray.report.answers import SeedGroup, read_groups
from mixray.report.differences import answer_rows, gap_rows
from mixray.report.scopes import Statistics
from mixray.report.tables import arm_rows, curve_rows, group_rows
from mixray.store import Artefact, Store

MOST_SECONDS = 10.0
ROUNDS = 3
NUM_SAMPLES = 8
BENCHMARKS = {"math": 5_000, "gsm8k": 1_319, "olympiadbench": 675, "math500": 436, "amc23": 40, "aime24": 30}
ALPHAS = (None, *(step / 18 for step in range(19)))


def scores(store: Store, number: int, generator: np.random.Generator, ease: dict[str, np.ndarray]) -> Artefact:
    """Store the made-up answers of one arm."""
    tables = []
    for name, of_problems in ease.items():
        count = len(of_problems) * NUM_SAMPLES
        right = generator.random(count) < np.repeat(np.clip(of_problems + 0.01 * number, 0, 1), NUM_SAMPLES)
        cut = ~right & (generator.random(count) < 0.1)
        ids = np.repeat(np.char.add(f"{name}-", np.arange(len(of_problems)).astype(str)), NUM_SAMPLES)
        columns = {
            "problem_id": ids,
            "benchmark": np.full(count, name),
            "sample": np.tile(np.arange(NUM_SAMPLES, dtype=np.int32), len(of_problems)),
            "finish_reason": np.where(cut, "length", "stop"),
            "num_response_tokens": generator.integers(50, 16_000, count, dtype=np.int32),
            "status": np.where(cut, "truncated", "ok"),
            "answer": np.where(right, "7", generator.integers(10, 16, count).astype(str)),
            "verdict": np.where(right, "right", "wrong"),
        }
        nulls = {field.name: pa.nulls(count, field.type) for field in rows.SCORE if field.name not in columns}
        tables.append(pa.table({**nulls, **columns}).select(rows.SCORE.names).cast(rows.SCORE))
    artefact = store.artefact("scores", f"arm-{number}", {"number": number})
    with artefact.staging() as staging:
        pq.write_table(pa.concat_tables(tables), staging.folder / "scores.parquet", compression="zstd")
    return artefact


def arms(store: Store) -> list[Arm]:
    """Return an untouched student and 19 mixtures of two pools."""
    generator = np.random.default_rng(0)
    ease = {name: generator.beta(0.6, 0.9, count) for name, count in BENCHMARKS.items()}
    made = []
    for number, alpha in enumerate(ALPHAS):
        label = None if alpha is None else f"mix-{alpha:.2f}"
        of = {"mixture": label, "blend": label and "mix", "alpha": alpha, "seed": None if label is None else 0, "trained": None}
        answers = scores(store, number, generator, ease)
        made.append(Arm(name=f"arm-{number}", student="student", scores=answers, matched=True, model="made up", **of))
    return made


def compare(groups: list[SeedGroup]) -> int:
    """Make every row with an interval, as the report does; return how many gaps there are."""
    statistics = Statistics(Report(num_resamples=10_000), 0)
    arm_rows(groups, statistics)
    group_rows(groups, statistics)
    curve_rows(groups, statistics)
    answer_rows(groups, statistics)
    return len(gap_rows(groups, statistics))


def measure() -> Iterator[dict[str, object]]:
    """Yield the result of reading and of comparing."""
    with tempfile.TemporaryDirectory() as folder:
        made = arms(Store(str(Path(folder))))
        yield _told("reading 1.2 million score rows", lambda: read_groups(made))
        yield _told("bootstrap of 20 arms x 7,500 problems x 8 samples", lambda: compare(read_groups(made)))


def _told(name: str, work: Callable[[], object]) -> dict[str, object]:
    seconds, of_processor = [], []
    for _ in range(ROUNDS + 1):
        began, busy = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - began)
        of_processor.append(time.process_time() - busy)
    ratios = sorted(MOST_SECONDS / each for each in of_processor[1:])
    middle = ratios[len(ratios) // 2]
    return {
        "name": f"{name}: {MOST_SECONDS / middle:.1f} s of the processor, {min(seconds[1:]):.1f} s by the clock",
        "ratio": round(middle, 3),
        "low": round(ratios[0], 3),
        "high": round(ratios[-1], 3),
        "rounds": ROUNDS,
        "target": 1.0,
        "met": middle >= SLACK,
    }


if __name__ == "__main__":
    results = list(measure())
    print("\n".join(json.dumps(result) for result in results))
    sys.exit(not all(result["met"] for result in results))
