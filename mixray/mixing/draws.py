"""Keyed draws over a million problems at once: what is random in a mixture, and why it is the same everywhere.

Every choice is a hash of (seed, purpose, problem id), so it does not depend on the order of the rows, on files or on workers, and
one choice never shifts another. Two problems of one 63-bit key would be one; of sets of a million problems, one in ten million
has such a pair, and it ends in the error about two questions under one id.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mixray.rows import keyed_draw

Codes = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Values = npt.NDArray[np.float64]


def keys_of(ids: Iterable[str]) -> Keys:
    """Return each id as a number that stands for it, of shape (ids,)."""
    return np.fromiter((keyed_draw(item) for item in ids), np.uint64)


def draws(keys: Keys, seed: int, purpose: str) -> Keys:
    """Return one draw for each key, of the same shape: a 64-bit mix (splitmix64's finish) of the key with (seed, purpose)."""
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2**64
        mixed = keys ^ np.uint64(keyed_draw(seed, purpose))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def line_up(problems: Codes, drawn: Keys, value: Values | None = None, strata: Codes | None = None) -> Codes:
    """Return `problems` in the order in which they are dealt: by `value`, ties by draw; every stretch holds each stratum's share.

    With strata, the first k of the line hold k/N of each stratum, to one problem, however many strata there are and however uneven,
    and a longer stretch holds a shorter one: Tijdeman's solution of the chairman assignment problem (1980).

    Args:
        problems: codes, of shape (chosen,).
        drawn: a draw for each code there is, of shape (problems,).
        value: a number for each code, smallest first; NaN is last.
        strata: a stratum for each code.
    """
    draw = drawn[problems]
    order = np.argsort(draw, kind="stable") if value is None else np.lexsort((draw, value[problems]))
    if strata is None:
        return problems[order]
    return problems[order[_balanced(strata[problems[order]])]]


def _balanced(strata: Codes) -> Codes:
    """Return places in an order of which every beginning holds each stratum's share to one; within a stratum they stay in order.

    Job j of a stratum with n of N places may start at the first t for which t * n / N >= j - 1 + slack, and of those that may start, the
    one with the smallest (j - slack) / n comes next.
    """
    codes = np.unique(strata, return_inverse=True)[1]
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        return np.arange(len(codes))
    by_stratum = np.argsort(codes, kind="stable")
    rank = np.empty(len(codes), np.int64)
    rank[by_stratum] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    slack = 1 / (2 * len(sizes) - 2)
    start = np.ceil((rank + slack) * len(codes) / sizes[codes] - 1e-9)
    due = (rank + 1 - slack) / sizes[codes]
    waiting = np.lexsort((due, start)).tolist()
    starts, dues = start.tolist(), due.tolist()
    ready: list[tuple[float, int]] = []
    found, following = np.empty(len(codes), np.int64), 0
    for turn in range(1, len(codes) + 1):
        while following < len(waiting) and starts[waiting[following]] <= turn:
            heapq.heappush(ready, (dues[waiting[following]], waiting[following]))
            following += 1
        found[turn - 1] = heapq.heappop(ready)[1]
    return found
