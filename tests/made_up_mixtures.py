"""Stores with pools and mixtures as their stages commit them, made up of a few rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa

from mixray.mixing.views import Lesson
from mixray.rows import EXAMPLE, TRACE
from mixray.store import Artefact, Store

TOKENS = {"long": (40, 30), "short": (14, 4)}
SUBJECTS = ("sums [even]", "primes", None)
EVIL = 'line\u2028break 🙂 \x00\n"quote" [bold]no markup[/bold] \x1b]0;owned\x07 \\boxed{4}'


def problem(number: int) -> dict[str, Any]:
    return {"problem_id": f"p{number}", "subject": SUBJECTS[number % 3], "level": number % 2 + 1}


def prompt(problem_id: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Think."}, {"role": "user", "content": f"What is {problem_id}?"}]


def trace(
    problem_id: str, pool: str, sample: int = 0, text: str | None = None, verdict: str = "right", status: str = "ok"
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(TRACE.names)
    words = {"long": f"Let us see. {EVIL}", "short": r"\boxed{4}"}
    return row | {
        "trace_id": f"{problem_id}/{pool}/{sample}",
        "problem_id": problem_id,
        "teacher": pool,
        "sample": sample,
        "question": f"{problem_id}?",
        "response": words.get(pool, "?") if text is None else text,
        "verdict": verdict,
        "status": status,
    }


def make_pool(store: Store, name: str, traces: Iterable[dict[str, Any]]) -> Artefact:
    rows = list(traces)
    pool = store.artefact("pools", name, {"teacher": name, "traces": [row["trace_id"] for row in rows]})
    with pool.staging() as staging:
        staging.write_table("traces-00000.parquet", pa.Table.from_pylist(rows, schema=TRACE))
    return pool


def make_pools(store: Store, num_problems: int = 8) -> dict[str, Artefact]:
    """A right trace of each problem from each pool; `long` loops at even problems, `short` is wrong at every third."""

    def traces(pool: str) -> Iterable[dict[str, Any]]:
        for number in range(num_problems):
            yield trace(f"p{number}", pool)
            if pool == "long" and number % 2 == 0:
                yield trace(f"p{number}", pool, 1, "again " * 50, "unknown", "looping")
            if pool == "short" and number % 3 == 0:
                yield trace(f"p{number}", pool, 1, r"\boxed{5}", "wrong")

    return {pool: make_pool(store, pool, traces(pool)) for pool in ("long", "short")}


def example(number: int, pool: str) -> dict[str, Any]:
    row = problem(number)
    text = trace(row["problem_id"], pool)["response"]
    messages = [*prompt(row["problem_id"]), {"role": "assistant", "content": text}]
    tokens, loss_tokens = TOKENS[pool]
    return row | {
        "messages": messages,
        "trace_id": f"{row['problem_id']}/{pool}/0",
        "pool": pool,
        "num_tokens": tokens,
        "num_loss_tokens": loss_tokens,
    }


def make_mixture(
    store: Store, name: str, pools: Mapping[str, Artefact], hard: Collection[int], numbers: Collection[int] = range(8), files: int = 2,
    tags: Mapping[str, str] | None = None, view: str = "whole",
) -> Artefact:  # fmt: skip
    """A mixture of the problems `numbers`, of which `hard` take the long trace; before its filters there were four problems more."""
    rows = [example(number, "long" if number in hard else "short") for number in numbers]
    first, second = pools
    taught = {pool: Lesson("{question}", view, (tags or {}).get(pool)) for pool in pools}
    lessons = [[pool, lesson.settings()] for pool, lesson in taught.items()]
    for row in rows:
        if tag := taught[row["pool"]].tag:
            row["messages"][-2]["content"] += f"\n{tag}"
    settings = {"name": name, "lessons": lessons, "hard": sorted(hard), "numbers": sorted(numbers)}
    mixture = store.artefact("mixtures", name, settings, {f"pool {pool}": artefact for pool, artefact in pools.items()})
    everything = [example(number, pool) for number in [*numbers, *range(100, 104)] for pool in pools]
    with mixture.staging() as staging:
        size = -(-len(rows) // files)
        for part in range(files):
            table = pa.Table.from_pylist(rows[part * size : (part + 1) * size], schema=EXAMPLE)
            staging.write_table(f"examples-{part:05}.parquet", table)
        staging.write_json("shares.json", [*_cells("right", everything), *_cells("mixture", rows)])
        counts = _counts(rows, pools)
        steps = [
            {"step": "right", "dropped_rows": 0, "dropped_problems": 0, "pools": _counts(everything, pools)},
            {"step": "contaminated", "dropped_rows": 8, "dropped_problems": 4, "pools": _counts(everything[:-8], pools)},
            {"step": "mixture", "dropped_rows": len(rows), "dropped_problems": 0, "pools": counts},
        ]
        share = len(hard) / len(rows)
        staging.outcome = {
            "alpha": share, "shares": {first: share, second: 1 - share}, "by": "rows", "hard": first, "easy": second,
            "num_rows": len(rows), "row_share": share, "token_share": 0.5, "loss_token_share": 0.5, "pools": counts,
            "num_problems": len(rows), "dropped": {first: 1, second: 0}, "steps": steps, "max_tokens": 64,
            "view": "whole", "order": "keyed",
        }  # fmt: skip
    return mixture


def _counts(rows: list[dict[str, Any]], pools: Iterable[str]) -> dict[str, dict[str, int]]:
    def counted(pool: str) -> dict[str, int]:
        taken = [row for row in rows if row["pool"] == pool]
        tokens, loss_tokens = (sum(row[column] for row in taken) for column in ("num_tokens", "num_loss_tokens"))
        return {"rows": len(taken), "tokens": tokens, "loss_tokens": loss_tokens}

    return {pool: counted(pool) for pool in pools}


def _cells(step: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = list(dict.fromkeys((row["pool"], row["subject"], row["level"]) for row in rows))
    return [
        {"step": step, "pool": pool, "subject": subject, "level": level}
        | _counts([row for row in rows if (row["subject"], row["level"]) == (subject, level)], [pool])[pool]
        for pool, subject, level in keys
    ]
