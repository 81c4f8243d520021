"""Which problems take which pool's traces: exact counts, each problem no more often than the sharing allows.

Pure: lines of problems and weights in, problems by pool out. A weight is what a problem brings from a pool: its rows, or their tokens.
Shares of rows come out exact; shares of tokens are exact to the nearest whole problem, since no trace is ever cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from mixray.mixing.draws import Codes, Values

Dealt = list[Codes]
"""The problems that each pool answers, in the order of their line."""


def counts(shares: Sequence[Fraction], total: int, first_rounds_up: bool = False) -> list[int]:
    """Return whole numbers in these shares that sum to `total`: largest remainder, ties to the earlier pool.

    `first_rounds_up` gives the first pool ceil(share * total) instead, which is what `alpha` stands for, and the last the rest.
    """
    if first_rounds_up:
        first = math.ceil(shares[0] * total)
        return [first, *counts([share / (1 - shares[0]) for share in shares[1:]], total - first)] if shares[0] < 1 else [total, 0]
    whole = [math.floor(share * total) for share in shares]
    remainders = sorted(range(len(shares)), key=lambda pool: (whole[pool] - shares[pool] * total, pool))
    for pool in remainders[: total - sum(whole)]:
        whole[pool] += 1
    return whole


def split(line: Codes, weights: Sequence[Codes], shares: Sequence[Fraction]) -> Dealt:
    """Deal all of one line: each pool takes a stretch, the first pool the first; shares of the weights are met to the nearest problem.

    Of two pools a larger share's stretch holds that of a smaller one, since a pool's share grows with every problem it takes.
    """
    sums = [np.concatenate(([0], np.cumsum(weight[line]))).astype(np.float64) for weight in weights]
    cuts = [_cut(sums[0], sums[1], float(shares[0]))] if len(shares) == 2 else _cuts(sums, [float(share) for share in shares])
    return np.split(line, cuts)


def _cut(hard: Values, easy: Values, share: float) -> int:
    """Return where the share of the first is nearest; ties to the smaller stretch."""
    total = hard + (easy[-1] - easy)
    return int(np.argmin(np.abs(np.divide(hard, total, out=np.zeros_like(hard), where=total > 0) - share)))


def _cuts(sums: Sequence[Values], shares: Sequence[float]) -> list[int]:
    """Return the cuts at which what is left for the last pool is its share of a total that the others' stretches are shares of as well."""

    def cut_at(total: float) -> list[int]:
        cuts, start = [], 0
        for taken, share in zip(sums[:-1], shares[:-1], strict=True):
            wanted = taken[start] + share * total
            end = int(np.searchsorted(taken, wanted))
            nearer = end == len(taken) or (end > start and wanted - taken[end - 1] <= taken[end] - wanted)
            start = max(start, end - nearer)
            cuts.append(start)
        return cuts

    low, high = 0.0, float(sum(taken[-1] for taken in sums))
    for _ in range(64):
        total = (low + high) / 2
        left = sums[-1][-1] - sums[-1][cut_at(total)[-1]]
        low, high = (total, high) if left > shares[-1] * total else (low, total)
    return cut_at((low + high) / 2)


def prefix(line: Codes, weights: Codes, quota: Fraction | int, at_least: bool) -> Codes | None:
    """Return the first of a line that bring `quota`: the fewest that bring `at_least` it, or the nearest; None if all bring less."""
    sums = np.concatenate(([0], np.cumsum(weights[line])))
    end = int(np.searchsorted(sums, math.ceil(quota)))
    if end == len(sums):
        return None
    nearer = not at_least and end > 0 and quota - int(sums[end - 1]) <= int(sums[end]) - quota
    return line[: end - 1 if nearer else end]


def apart(lines: Sequence[Codes], weights: Sequence[Codes], quotas: Sequence[Fraction | int], exact: bool) -> Dealt | None:
    """Deal each pool from its own line, whatever the others took; None where a line is too short."""
    dealt = [prefix(line, weights[pool], quotas[pool], exact) for pool, line in enumerate(lines)]
    return None if any(problems is None for problems in dealt) else [problems for problems in dealt if problems is not None]


def disjoint(lines: Sequence[Codes], weights: Sequence[Codes], quotas: Sequence[Fraction | int], exact: bool) -> Dealt | None:
    """Deal each pool in turn from what the pools before it left; None where too little is left.

    A pool first takes the problems that fewest of the later pools can use, whatever its line prefers. For two pools that finds an answer
    wherever there is one; of more pools it may miss one.
    """
    size = len(weights[0])
    usable = np.zeros((len(lines), size), bool)
    for pool, line in enumerate(lines):
        usable[pool, line] = True
    free = np.ones(size, bool)
    dealt: Dealt = []
    for pool, line in enumerate(lines):
        rivals = usable[pool + 1 :].sum(axis=0)[line]
        mine = line[np.argsort(rivals, kind="stable")]
        taken = prefix(mine[free[mine]], weights[pool], quotas[pool], exact)
        if taken is None:
            return None
        free[taken] = False
        dealt.append(taken)
    return dealt


def largest(most: int, deal: Callable[[int], Dealt | None]) -> tuple[int, Dealt]:
    """Return the largest total that can be dealt, of at most `most`, and the deal.

    Quotas of largest remainder do not always grow with the total (the Alabama paradox), so a few totals past the first miss are tried.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if deal(middle) is not None else (low, middle - 1)
    for total in range(min(most, low + 8), -1, -1):
        dealt = deal(total)
        if dealt is not None:
            return total, dealt
    raise AssertionError("nothing at all can always be dealt")
