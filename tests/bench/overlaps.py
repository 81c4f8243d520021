"""How duplicates and contamination grow: 25,000, 50,000 and 100,000 problems against five benchmarks, on one core.

    python tests/bench/overlaps.py

The problems are GSM8K's and MATH's with other numbers and other letters, where these lie beside the checkout; generated ones elsewhere.
The ratio is the processor time for 100,000 over that for 50,000: 2 is linear growth.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from mixray.overlaps.pairs import contamination, duplicates
from mixray.rows import keyed_draw
from mixray.tiny import problems as tiny

SIZES = (25_000, 50_000, 100_000)
MOST_GROWTH = 2.3
ROUNDS = 3
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BENCHMARKS = ("gsm8k", "math500", "amc23", "aime24", "olympiadbench")
_CHANGED = re.compile(r"\d+|\b[A-Z][a-z]{2,}\b")


def benchmarks() -> dict[str, dict[str, str]]:
    """Return the five benchmarks' questions and MATH's test set, or as many generated ones."""
    if not DATA.is_dir():
        return {"generated": _numbered(row["question"] for row in tiny.rows("test", 8_000, (3, 7), 2))}
    return {name: _numbered(_questions(DATA / f"{name}.test.jsonl")) for name in (*BENCHMARKS, "math")}


def problems(count: int) -> dict[str, str]:
    """Return that many different questions; fewer are a prefix of more."""
    if not DATA.is_dir():
        return _numbered(row["question"] for row in tiny.rows("train", count, (3, 7), 1))
    sources = [*_questions(DATA / "gsm8k.train.jsonl"), *_questions(DATA / "math.train.parquet")]
    order = sorted(range(len(sources)), key=lambda place: keyed_draw("bench", place))
    return _numbered(_changed(sources[order[number % len(order)]], number // len(order)) for number in range(count))


def _questions(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        yield from (row["reward_model"]["ground_truth"]["question"] for row in pq.read_table(path).to_pylist())
    else:
        rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        yield from (row.get("problem") or row["question"] for row in rows)


def _changed(question: str, version: int) -> str:
    """Return the question with other numbers and other names; version 0 is the question itself."""

    def other(match: re.Match[str]) -> str:
        drawn = keyed_draw("bench", version, match[0])
        return str(drawn % 10 ** len(match[0]) + 1) if match[0].isdigit() else match[0] + "aeiou"[drawn % 5] + "lmnrst"[drawn % 6]

    return _CHANGED.sub(other, question) if version else question


def _numbered(questions: Iterator[str]) -> dict[str, str]:
    return {f"p{number:06d}": question for number, question in enumerate(questions)}


def spent(count: int, against: dict[str, dict[str, str]]) -> float:
    """Return the processor seconds that both take."""
    given = problems(count)
    began = time.process_time()
    contamination(given, against)
    duplicates(given)
    return time.process_time() - began


def measure(rounds: int = ROUNDS) -> dict[str, object]:
    """Return the growth from 50,000 to 100,000, with the seconds and the problems each second at every size."""
    against = benchmarks()
    times = [[spent(size, against) for size in SIZES] for _ in range(rounds)]
    ratios = [large / middle for _, middle, large in times]
    seconds = [min(column) for column in zip(*times, strict=True)]
    return {
        "name": f"overlaps from {SIZES[1]:,} to {SIZES[2]:,} problems",
        "ratio": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "rounds": rounds,
        "target": MOST_GROWTH,
        "met": statistics.median(ratios) <= MOST_GROWTH,
        "seconds": {f"{size:,}": round(taken, 1) for size, taken in zip(SIZES, seconds, strict=True)},
        "problems_per_second": {f"{size:,}": round(size / taken) for size, taken in zip(SIZES, seconds, strict=True)},
    }


if __name__ == "__main__":
    result = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    print(json.dumps(result))
    sys.exit(not result["met"])
