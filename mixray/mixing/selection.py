"""The mixture rule: which traces of which problems are in, from which pool, in which order.

Pure: candidates and a blend in, row numbers out. Everything random is a keyed draw (draws.py), so the result does not depend on files,
on the order of rows or on workers. For hard and easy pools it is nested: the problems that take the hard trace at a smaller alpha do
so at a larger one, and fewer rows are a part of more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mixray.errors import MixtureError
from mixray.mixing import dealing
from mixray.mixing.dealing import Dealt
from mixray.mixing.draws import Codes, Keys, Values, draws, line_up
from mixray.mixing.dropping import NEEDS_EVERY_POOL
from mixray.mixing.gathering import Gathered, Mask
from mixray.mixing.ordering import in_order
from mixray.mixing.rule import Rule

_LAST = np.iinfo(np.int64).max


def select(found: Gathered, alive: Mask, rule: Rule) -> tuple[Codes, Mask]:
    """Return the chosen candidates in the order of their training, and which candidates were eligible, of shape (candidates,).

    Raises:
        MixtureError: the pools hold too little for the size or the sharing.
    """
    picked, rank = pick(found, alive, rule)
    eligible = picked & _shared(found, picked, rule)[found.problem] if rule.blend.sharing in NEEDS_EVERY_POOL else picked
    problems = deal(found, eligible, rule)
    chosen = np.zeros((len(found.names), found.num_problems), bool)
    for pool, taken in enumerate(problems):
        chosen[pool, taken] = True
    rows = np.flatnonzero(eligible & chosen[found.pool, found.problem])
    if rule.blend.by == "rows":
        rows = _trim(found, rows, rank, problems, rule)
    if not len(rows):
        raise _too_small(rule, {name: int(np.count_nonzero(eligible & (found.pool == pool))) for pool, name in enumerate(found.names)})
    return in_order(found, rows, rank, rule), eligible


def pick(found: Gathered, alive: Mask, rule: Rule) -> tuple[Mask, Codes]:
    """Return which candidates are among the `per_problem` of their pool and problem that `pick` prefers, and each one's rank."""
    preferred: dict[str, Values | Codes | Keys] = {
        "first": found.sample,
        "shortest": found.length,
        "longest": -found.length,
        "random": draws(found.trace_key, rule.seed, "pick"),
        "fitting": found.fit,
    }
    group = found.pool * found.num_problems + found.problem
    several = np.flatnonzero(alive & (np.bincount(group[alive], minlength=1)[group * alive] > 1))
    keys = (found.trace_key, found.sample, preferred[rule.blend.pick], group)
    order = several[np.lexsort(tuple(key[several] for key in keys))]
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.where(alive, 0, _LAST)
    rank[order] = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
    return rank < rule.blend.per_problem, rank


def _shared(found: Gathered, picked: Mask, rule: Rule) -> Mask:
    """Return the problems that every pool solved.

    Raises:
        MixtureError: there is none.
    """
    solved = [found.solved(pool, picked) for pool in range(len(found.names))]
    shared: Mask = np.all(solved, axis=0)
    if not shared.any():
        raise MixtureError(
            "No problem was solved by every pool",
            seen=", ".join(f"{name} {np.count_nonzero(mask):,}" for name, mask in zip(found.names, solved, strict=True)),
            rule=f"sharing: {rule.blend.sharing}",
            do="ask more problems or samples, take a better teacher, or share problems otherwise",
        )
    return shared


def deal(found: Gathered, eligible: Mask, rule: Rule) -> Dealt:
    """Return the problems that each pool answers.

    Raises:
        MixtureError: a pool holds too little for the size that is asked.
    """
    weights = _weights(found, eligible, rule.blend.by)
    solved = [np.flatnonzero(found.solved(pool, eligible)) for pool in range(len(found.names))]
    if rule.blend.sharing == "both_right":
        return _deal_shared(found, solved[0], weights, rule, _value(found, eligible, rule))
    return _deal_to_size(found, solved, weights, rule, _value(found, eligible, rule))


def _weights(found: Gathered, eligible: Mask, by: str) -> list[Codes]:
    """Return what each problem brings from each pool: rows, tokens or loss tokens, of shape (problems,) for each pool."""
    values = {"rows": np.ones(len(found.problem)), "tokens": found.num_tokens, "loss_tokens": found.num_loss_tokens}[by]
    return [
        np.rint(np.bincount(found.problem[mine], weights=values[mine], minlength=found.num_problems)).astype(np.int64)
        for mine in (eligible & (found.pool == pool) for pool in range(len(found.names)))
    ]


def _value(found: Gathered, eligible: Mask, rule: Rule) -> Values | None:
    """Return what `assign` orders problems by, smallest first: of shape (problems,); None for the draw alone."""
    if rule.blend.assign == "hash":
        return None
    if rule.blend.assign in ("hardest", "easiest"):
        return found.pass_rate if rule.blend.assign == "hardest" else -found.pass_rate
    mine = eligible & (found.pool == 0)
    best = np.full(found.num_problems, np.inf)
    sign = -1.0 if rule.blend.assign == "longest" else 1.0
    np.minimum.at(best, found.problem[mine], sign * (found.fit if rule.blend.assign == "fitting" else found.length)[mine])
    return best


def _deal_shared(found: Gathered, problems: Codes, weights: list[Codes], rule: Rule, value: Values | None) -> Dealt:
    """Deal problems that every pool solved, each once: all of them, or as many of one line as the size needs."""
    first = line_up(problems, draws(found.problem_key, rule.seed, "rows"), strata=_strata(found, rule))

    def dealt(num_problems: int) -> Dealt:
        line = line_up(first[:num_problems], draws(found.problem_key, rule.seed, "mixture"), value, _strata(found, rule))
        if rule.blend.by == "rows" and rule.blend.per_problem == 1:
            return np.split(line, np.cumsum(rule.counts(num_problems))[:-1])
        near = dealing.split(line, weights, rule.shares)
        if rule.blend.by != "rows" or len(near) > 2:
            return near
        # A problem brings one row or more: of the cuts about the nearest, the one that leaves the largest exact mixture.
        cuts = [min(max(len(near[0]) + step, 0), len(line)) for step in (0, 1, -1, 2)]
        return max((np.split(line, [cut]) for cut in cuts), key=lambda dealt: _total(dealt, weights, rule))

    if rule.blend.size == "fit":
        return dealt(len(first))
    size = rule.blend.size
    low, high = 1, len(first)
    while low < high:  # what n problems bring grows with n
        middle = (low + high) // 2
        low, high = (low, middle) if _is_enough(dealt(middle), weights, rule) else (middle + 1, high)
    if not _is_enough(dealt(low), weights, rule):
        raise _too_small(rule, {"the problems that every pool solved": _total(dealt(low), weights, rule)})
    if rule.blend.by != "rows" and low > 1:  # to the nearest problem
        low = min((low - 1, low), key=lambda num_problems: abs(_total(dealt(num_problems), weights, rule) - size))
    return dealt(low)


def _is_enough(dealt: Dealt, weights: list[Codes], rule: Rule) -> bool:
    """Whether a deal brings the size that is asked: of rows, each pool its count."""
    assert isinstance(rule.blend.size, int)
    if rule.blend.by != "rows":
        return _total(dealt, weights, rule) >= rule.blend.size
    brought = [int(weight[taken].sum()) for weight, taken in zip(weights, dealt, strict=True)]
    return all(count <= have for count, have in zip(rule.counts(rule.blend.size), brought, strict=True))


def _total(dealt: Dealt, weights: list[Codes], rule: Rule) -> int:
    """Return the rows of the largest exact mixture within a deal, or its tokens."""
    brought = [int(weight[taken].sum()) for weight, taken in zip(weights, dealt, strict=True)]
    return _exact_total(brought, rule) if rule.blend.by == "rows" else sum(brought)


def _exact_total(brought: Sequence[int], rule: Rule) -> int:
    """Return the most rows whose counts no pool falls short of."""
    most = min([sum(brought), *(math.floor((have + 1) / share) for have, share in zip(brought, rule.shares, strict=True) if share)])
    for total in range(most, -1, -1):
        if all(count <= most for count, most in zip(rule.counts(total), brought, strict=True)):
            return total
    return 0


def _deal_to_size(found: Gathered, solved: list[Codes], weights: list[Codes], rule: Rule, value: Values | None) -> Dealt:
    """Deal problems that may be in several pools, or in one that not all solved: as many as are asked, or as can be."""
    strata, exact = _strata(found, rule), rule.blend.by == "rows"
    common = draws(found.problem_key, rule.seed, "rows")
    lines = [
        line_up(problems, draws(found.problem_key, rule.seed, f"rows of {name}"), None if pool else value, strata)
        for pool, (name, problems) in enumerate(zip(found.names, solved, strict=True))
    ]

    def dealt(total: int) -> Dealt | None:
        quotas = rule.quotas(total)
        if rule.blend.sharing == "disjoint":
            return dealing.disjoint(lines, weights, quotas, exact)
        if rule.blend.sharing == "independent":
            return dealing.apart(lines, weights, quotas, exact)
        first = line_up(solved[0], common, strata=strata)
        widest = dealing.apart([first] * len(lines), weights, quotas, exact=True)
        if widest is None:
            return None
        line = line_up(max(widest, key=len), draws(found.problem_key, rule.seed, "mixture"), value, strata)
        return dealing.apart([line] * len(lines), weights, quotas, exact)

    brought = {name: int(weight.sum()) for name, weight in zip(found.names, weights, strict=True)}
    if rule.blend.size == "fit":
        total, result = dealing.largest(sum(brought.values()), dealt)
        if total == 0:
            raise _too_small(rule, brought)
        return result
    given = dealt(rule.blend.size)
    if given is None:
        raise _too_small(rule, brought, dealing.largest(rule.blend.size, dealt)[0])
    return given


def _too_small(rule: Rule, brought: dict[str, int], most: int | None = None) -> MixtureError:
    blend = rule.blend
    size = blend.size if isinstance(blend.size, int) else 1
    wanted = ", ".join(f"{float(quota):,.0f} of {name}" for name, quota in zip(blend.names, rule.quotas(size), strict=True))
    there = ", ".join(f"{name} {count:,}" for name, count in brought.items())
    return MixtureError(
        "The pools are too small for a mixture",
        seen=f"{blend.by} there are: {there}" + (f"; enough for {most:,}" if most is not None else ""),
        rule=f"size = {size:,}, sharing = {blend.sharing}: {wanted}",
        do="ask more problems or samples, raise train.max_tokens, lower size, or set size: fit for the largest there is",
    )


def _strata(found: Gathered, rule: Rule) -> Codes | None:
    if not rule.blend.stratify:
        return None
    names = [
        tuple(value for value, kind in zip(cell, ("subject", "level"), strict=True) if kind in rule.blend.stratify) for cell in found.cells
    ]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], np.int64)[found.problem_cell]


def _trim(found: Gathered, rows: Codes, rank: Codes, problems: Dealt, rule: Rule) -> Codes:
    """Return the rows without those that make a share inexact: of the problems dealt last, later samples first."""
    pools = found.pool[rows]
    have = np.bincount(pools, minlength=len(found.names))
    total = rule.blend.size if isinstance(rule.blend.size, int) else _exact_total(have.tolist(), rule)
    counts = rule.counts(total)
    if have.tolist() == counts:
        return rows
    place = np.zeros((len(found.names), found.num_problems), np.int64)
    for pool, taken in enumerate(problems):
        place[pool, taken] = np.arange(len(taken))
    ordered = rows[np.lexsort((rank[rows], place[pools, found.problem[rows]], rank[rows] > 0, pools))]
    starts = np.concatenate(([0], np.cumsum(have)[:-1]))
    kept = [ordered[start : start + count] for start, count in zip(starts, counts, strict=True)]
    return np.sort(np.concatenate(kept))
