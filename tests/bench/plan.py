"""The batch plan: how full its packs are at every mix of long and short rows, and what a plan of a million rows takes.

    python tests/bench/plan.py 1000000    # one plan in this process: its seconds and the peak of its memory

The efficiency is the share of the packs' room that holds tokens of rows; it depends on the rows alone, so it is told once. Seconds and
bytes are those of a process that does nothing else, with the ids and counts of the rows: smaller is better, and `ratio` is the median.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from mixray.training import made_up
from mixray.training.plan import Sizes, Step, batch_plan, efficiency, plan_table

ALPHAS = (0.0, 0.2, 0.5, 1.0)
PACK_TOKENS, STEP_PACKS = made_up.CAP, 16
NUM_ROWS, MANY_ROWS = 20_000, 1_000_000
LEAST_EFFICIENCY, MOST_SECONDS, MOST_BYTES = 0.99, 30.0, 10**9
ROUNDS = 3


def plan_of(alpha: float, num_rows: int) -> list[Step]:
    """Return the steps of a plan by tokens."""
    tokens = made_up.lengths(alpha, num_rows).tolist()
    targets = [length - made_up.prompt_of(length) for length in tokens]
    ids = [f"problem-{number}" for number in range(num_rows)]
    return list(batch_plan(ids, tokens, targets, Sizes(None, STEP_PACKS * PACK_TOKENS, PACK_TOKENS), seed=0))


def measure(rounds: int = ROUNDS) -> Iterator[dict[str, object]]:
    """Tell how full packs are, then the seconds and bytes of a large plan."""
    for alpha in ALPHAS:
        full = efficiency(plan_of(alpha, NUM_ROWS), PACK_TOKENS)
        yield {
            "name": f"share of the packs' room that is used, {NUM_ROWS:,} rows at alpha {alpha}", "ratio": round(full, 4),
            "low": round(full, 4), "high": round(full, 4), "rounds": 1, "target": LEAST_EFFICIENCY, "met": full >= LEAST_EFFICIENCY,
        }  # fmt: skip
    command = [sys.executable, __file__, str(MANY_ROWS)]
    told = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(rounds)]
    for name, most in (("seconds", MOST_SECONDS), ("peak_bytes", MOST_BYTES)):
        seen = [one[name] for one in told]
        yield {
            "name": f"{name.replace('_', ' ')} of a plan of {MANY_ROWS:,} rows", "ratio": statistics.median(seen), "low": min(seen),
            "high": max(seen), "rounds": rounds, "target": most, "met": statistics.median(seen) <= most,
        }  # fmt: skip


def once(num_rows: int) -> dict[str, float]:
    """Make one plan and its table in this process."""
    began = time.perf_counter()
    table = plan_table(plan_of(ALPHAS[1], num_rows))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows": num_rows, "steps": table.num_rows, "seconds": round(seconds, 2), "peak_bytes": peak}


if __name__ == "__main__":
    print(json.dumps(once(int(sys.argv[1]))))
