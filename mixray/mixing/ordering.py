"""In which order the chosen rows are trained: shuffled, as a curriculum, or in stretches of a growing alpha.

Pure: chosen candidates in, the same in their order out. The order is stored with the rows, so a resumed training keeps it; so are the
stretches of rows that are alike to it, within which a training's seed shuffles (training/plan.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from mixray.mixing import dealing
from mixray.mixing.draws import Codes, Keys, draws
from mixray.mixing.gathering import Gathered
from mixray.mixing.rule import Rule


def in_order(found: Gathered, rows: Codes, rank: Codes, rule: Rule) -> Codes:
    """Return the rows in the order of the training.

    A problem keeps its place in the shuffle whichever pool answers it, so that neighbouring alphas differ in nothing but the traces.
    """
    blend, pools, problems = rule.blend, found.pool[rows], found.problem[rows]
    own = found.problem_key[problems] + rank[rows].astype(np.uint64)
    if blend.sharing in ("paired", "independent"):
        own = own + pools.astype(np.uint64) * np.uint64(2**32)
    draw = draws(own, rule.seed, "order")
    if blend.stages:
        return _staged(rows, pools, draw, rule)
    if blend.order == "shuffled":
        return rows[np.lexsort((found.trace_key[rows], draw))]
    way = -1 if blend.order == "easy_first" else 1
    return rows[np.lexsort((found.trace_key[rows], draw, way * found.pass_rate[problems], way * pools))]


def stretches(found: Gathered, rows: Codes, rule: Rule) -> list[int]:
    """Return how many of the ordered rows each stretch holds, within which they stand in no order; one stretch where they are shuffled."""
    if rule.blend.stages:
        return _sizes(rule, len(rows))
    if rule.blend.order == "shuffled":
        return [len(rows)]
    pools, rates = found.pool[rows], found.pass_rate[found.problem[rows]]
    ends = np.flatnonzero((pools[1:] != pools[:-1]) | (rates[1:] != rates[:-1])) + 1
    return [int(size) for size in np.diff(ends, prepend=0, append=len(rows))]


def _sizes(rule: Rule, num_rows: int) -> list[int]:
    return dealing.counts([Fraction(1, len(rule.blend.stages))] * len(rule.blend.stages), num_rows)


def _staged(rows: Codes, pools: Codes, draw: Keys, rule: Rule) -> Codes:
    """Return rows in equal stretches, each with its own share of the hard pool's rows, shuffled within."""
    stages = [Fraction(repr(stage)) for stage in rule.blend.stages]
    sizes = _sizes(rule, len(rows))
    hard, easy = (rows[pools == pool][np.argsort(draw[pools == pool], kind="stable")] for pool in (0, 1))
    parts = []
    for count, size in zip(_of_hard(stages, sizes, len(hard)), sizes, strict=True):
        parts.append(np.concatenate((hard[:count], easy[: size - count])))
        hard, easy = hard[count:], easy[size - count :]
    place = dict(zip(rows.tolist(), draw.tolist(), strict=True))
    return np.array([row for part in parts for row in sorted(part.tolist(), key=place.__getitem__)], np.int64)


def _of_hard(stages: Sequence[Fraction], sizes: Sequence[int], num_hard: int) -> list[int]:
    """Return how many of the hard pool's rows each stretch takes: its share of it, all of them in the end, never more than its rows."""
    taken: list[int] = []
    wanted = Fraction()
    for stage, size in zip(stages, sizes, strict=True):
        wanted += stage * size
        taken.append(max(0, min(round(wanted) - sum(taken), size, num_hard - sum(taken))))
    for stretch in reversed(range(len(sizes))):
        taken[stretch] += min(num_hard - sum(taken), sizes[stretch] - taken[stretch])
    return taken
