"""Candidates made up from numbers: what mixing reads of pools, without any text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from mixray.mixing.candidates import CANDIDATE
from mixray.mixing.gathering import Gathered, gather
from mixray.mixing.rule import Rule
from mixray.mixing.selection import select
from mixray.recipe import Blend
from mixray.rows import keyed_draw

Traces = dict[str, list[dict[str, Any]]]
"""Rows by pool, the hardest first: problem, sample, tokens, and what else a test wants to say."""
SUBJECTS = ("algebra", "geometry", None)


@st.composite
def traces(draw: st.DrawFn, names: tuple[str, ...] = ("long", "short"), most_samples: int = 1, all_solve: bool = False) -> Traces:
    """Draw pools over common problems; each solves some of them, or all."""
    num_problems = draw(st.integers(2, 40))
    made: Traces = {name: [] for name in names}
    for problem in range(num_problems):
        for name in names:
            samples = draw(st.integers(1 if all_solve else 0, most_samples))
            made[name] += [
                trace(problem, sample, draw(st.integers(1, 50)), draw(st.sampled_from((0.25, 0.5, 1.0)))) for sample in range(samples)
            ]
    for name in names:
        made[name] = made[name] or [trace(0)]
    return made


def trace(problem: int, sample: int = 0, tokens: int = 10, pass_rate: float = 1.0, **said: Any) -> dict[str, Any]:
    """Make up one candidate."""
    return {
        "problem_id": f"p{problem:03d}", "num_characters": tokens,
        "sample": sample, "num_tokens": tokens, "num_loss_tokens": max(1, tokens - 3),
        "pass_rate": pass_rate, "subject": SUBJECTS[problem % 3], "level": problem % 2 + 1, "repetition": 0.3, "foreign": 0.0, **said,
    }  # fmt: skip


def gathered(pools: Traces, shuffled: int | None = None, blocks: int = 1) -> Gathered:
    """Gather made-up pools, their rows shuffled by a seed and laid out in blocks."""
    tables = {}
    for name, rows in pools.items():
        keyed = [
            {
                "row": place, "problem_key": keyed_draw(row["problem_id"]), "question_key": keyed_draw("question of", row["problem_id"]),
                "trace_key": keyed_draw(name, row["problem_id"], row["sample"]),
                "likeness": keyed_draw("text of", name, row["problem_id"], row["sample"]), **row,
            }
            for place, row in enumerate(rows)
        ]  # fmt: skip
        if shuffled is not None:
            np.random.default_rng(shuffled).shuffle(keyed)  # type: ignore[arg-type]
        size = -(-len(keyed) // blocks)
        parts = [pa.Table.from_pylist(keyed[start : start + size], schema=CANDIDATE) for start in range(0, len(keyed), size)]
        tables[name] = pa.concat_tables(parts)
    return gather(tables)


def mixed(
    made: Traces, alpha: float | None = None, seed: int = 3, layout: tuple[int | None, int] = (None, 1), **said: Any
) -> list[tuple[str, str, int]]:
    """Return (pool, problem, sample) of each row of a mixture, in order; of hard and easy where `said` names no pools."""
    blend = Blend(**({} if "pools" in said else {"hard": "long", "easy": "short"}), **said)
    found = gathered(made, *layout)
    ids = {keyed_draw(row["problem_id"]): row["problem_id"] for rows in made.values() for row in rows}
    rule = Rule(blend, tuple(blend.shares(alpha).values()), seed)
    rows, _ = select(found, np.ones(len(found.problem), bool), rule)
    return [(found.names[found.pool[row]], ids[int(found.problem_key[found.problem[row]])], int(found.sample[row])) for row in rows]
