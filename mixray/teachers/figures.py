"""What a pool came to: counts, tokens, seconds, cost, and pass rates by subject and level.

In: a pool's traces in order, a few thousand at a time, and the stamps of its parts. Out: the `outcome` of its manifest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from mixray.recipe import AnyTeacher, Teacher
from mixray.rows import accepted
from mixray.teachers.parts import Stamp

STATUSES = ("ok", "truncated", "looping", "garbled", "empty", "error")
_COLUMNS = [
    "problem_id",
    "subject",
    "level",
    "num_prompt_tokens",
    "num_response_tokens",
    "status",
    "verdict",
    "verdict_reason",
    "rule_verdict",
]


class Figures:
    """Adds traces up. A problem's traces come together, as they do in a pool."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.strata: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self.judged = self.right_by_judge = 0
        self._last: tuple[str, bool] = ("", False)

    def add(self, table: pa.Table) -> None:
        """Take in the next TRACE rows."""
        for row in table.select(_COLUMNS).to_pylist():
            self.verdicts[row["verdict"]] += 1
            self.reasons[row["verdict_reason"]] += 1
            self.statuses[row["status"]] += 1
            self.tokens["prompt"] += row["num_prompt_tokens"] or 0
            self.tokens["response"] += row["num_response_tokens"] or 0
            right = row["verdict"] == "right"
            if row["rule_verdict"] is not None:
                self.judged += 1
                self.right_by_judge += right
            stratum = self.strata[row["subject"] or "", row["level"] or 0]
            stratum["traces"] += 1
            stratum["right"] += right
            kept = accepted(row)
            stratum["accepted"] += kept
            problem, solved = self._last
            if row["problem_id"] != problem:
                stratum["problems"] += 1
                solved = False
            stratum["solved"] += kept and not solved
            self._last = (row["problem_id"], solved or kept)

    def outcome(self) -> dict[str, Any]:
        """Return the counts."""
        num_traces = self.verdicts.total()
        return {
            "num_problems": sum(stratum["problems"] for stratum in self.strata.values()),
            "num_traces": num_traces,
            **{name: self.verdicts[name] for name in ("right", "wrong", "unknown")},
            "accepted": sum(stratum["accepted"] for stratum in self.strata.values()),
            "num_solved": sum(stratum["solved"] for stratum in self.strata.values()),
            "truncated": self.statuses["truncated"],
            "statuses": {name: self.statuses[name] for name in STATUSES},
            "verdict_reasons": dict(sorted(self.reasons.items())),
            "prompt_tokens": self.tokens["prompt"],
            "response_tokens": self.tokens["response"],
            "mean_response_tokens": self.tokens["response"] / max(num_traces, 1),
            "judged": self.judged,
            "right_by_judge": self.right_by_judge,
            "strata": [
                {
                    "subject": subject,
                    "level": level,
                    **{name: counts[name] for name in ("problems", "traces", "right", "accepted", "solved")},
                }
                for (subject, level), counts in sorted(self.strata.items())
            ],
        }


def spent(stamps: Iterable[Stamp], teacher: AnyTeacher, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return what a pool took, over all its runs.

    `seconds` runs in each run from the first question to the last part; `compute_seconds` counts every replica from its start to its
    last part, times its GPUs or CPU threads; cost is tokens and replica hours at the recipe's price.
    """
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    replicas: dict[str, float] = {}
    for stamp in stamps:
        first[stamp.run] = min(first.get(stamp.run, stamp.first_asked), stamp.first_asked)
        last[stamp.run] = max(last.get(stamp.run, 0.0), stamp.written)
        replicas[stamp.actor] = max(replicas.get(stamp.actor, 0.0), stamp.written - stamp.actor_started)
    seconds, replica_seconds = sum(last[run] - first[run] for run in first), sum(replicas.values())
    gpus, threads = (teacher.num_gpus, teacher.threads) if isinstance(teacher, Teacher) else (0, 0)
    price = teacher.price
    cost = (
        outcome["prompt_tokens"] * price.prompt_per_million_tokens / 1e6
        + outcome["response_tokens"] * price.response_per_million_tokens / 1e6
        + replica_seconds / 3600 * price.per_hour
    )
    return {
        "seconds": seconds,
        "tokens_per_second": outcome["response_tokens"] / seconds if seconds > 0 else 0.0,
        "compute": "gpu" if gpus else "cpu" if threads else "none",
        "replica_seconds": replica_seconds,
        "compute_seconds": replica_seconds * (gpus or threads),
        "cost": cost,
        "cost_per_accepted_trace": cost_per_accepted_trace(cost, outcome["accepted"]),
        "currency": price.currency,
    }


def cost_per_accepted_trace(cost: float, accepted: int) -> float | None:
    """Return what each accepted trace has cost; None where there is none."""
    return cost / accepted if accepted else None


def judged_anew(before: dict[str, Any], figures: Figures) -> dict[str, Any]:
    """Return the outcome of a pool whose verdicts have changed and whose answers have not."""
    after = before | figures.outcome()
    return after | {"cost_per_accepted_trace": cost_per_accepted_trace(before["cost"], after["accepted"])}
