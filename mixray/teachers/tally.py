"""Counts of traces, small enough to travel: what a block reports while a pool grows, and what a part file says of itself.

In: trace rows. Out: a `Tally`, which adds up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

SAMPLES = 3
SAMPLE_CHARACTERS = 200
_COUNTS = ("problems", "traces", "right", "failed", "response_tokens")


@dataclass(slots=True)
class Tally:
    """How many problems and traces, how many right, how many failed (any status but ok), and what failures look like."""

    problems: int = 0
    traces: int = 0
    right: int = 0
    failed: int = 0
    response_tokens: int = 0
    samples: list[str] = field(default_factory=list)

    @staticmethod
    def of(rows: Iterable[Mapping[str, Any]]) -> Tally:
        """Count trace rows."""
        tally, problems = Tally(), set()
        for row in rows:
            problems.add(row["problem_id"])
            tally.traces += 1
            tally.right += row["verdict"] == "right"
            tally.response_tokens += row["num_response_tokens"] or 0
            if row["status"] != "ok":
                tally.failed += 1
                if len(tally.samples) < SAMPLES:
                    tally.samples.append(f"{row['status']}: {(row['error'] or row['response'] or '')[-SAMPLE_CHARACTERS:]!r}")
        tally.problems = len(problems)
        return tally

    def add(self, other: Tally) -> None:
        """Take another tally in; the latest samples are kept."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.samples = (other.samples + self.samples)[:SAMPLES]

    def table(self) -> pa.Table:
        """Return the tally as a table of one row."""
        return pa.Table.from_pylist([asdict(self)], schema=TALLY)

    @staticmethod
    def read(table: pa.Table) -> Tally:
        """Return the sum of a table of tallies."""
        total = Tally()
        for row in table.to_pylist():
            total.add(Tally(**row))
        return total


TALLY = pa.schema([*((name, pa.int64()) for name in _COUNTS), ("samples", pa.list_(pa.string()))])
