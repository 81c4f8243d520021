"""The rows of the report: arms, arms pooled over seeds, gaps, and which mixture is best. Pure: groups in, plain dictionaries out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixray.errors import MixrayError
from mixray.recipe import Report
from mixray.report import gaps
from mixray.report.answers import Answers, Arm, Group
from mixray.report.gaps import Block, Interval
from mixray.rows import keyed_draw

# No benchmark can be called this: names in a recipe have no spaces.
OVERALL = "mean of benchmarks"


@dataclass(frozen=True)
class Statistics:
    """How intervals are made: the recipe's settings and the seed of the bootstrap."""

    settings: Report
    seed: int

    def accuracy(self, blocks: Sequence[Block], *key: str) -> Interval:
        """Return an accuracy with its interval; `key` names it, so that it has resamples of its own."""
        return gaps.accuracy(blocks, self.settings.confidence, self.settings.num_resamples, self._draw("accuracy", *key))

    def difference(self, blocks: Sequence[Block], *key: str) -> Interval:
        """Return a paired difference with its interval."""
        return gaps.difference(blocks, self.settings.confidence, self.settings.num_resamples, self._draw("difference", *key))

    def _draw(self, *key: str) -> int:
        return keyed_draw(self.seed, "bootstrap", *key)


def headline(group: Group) -> str:
    """Return what the answer speaks of: the only benchmark, or the mean of all."""
    return group.benchmarks[0] if len(group.benchmarks) == 1 else OVERALL


def scopes(group: Group) -> dict[str, tuple[str, ...]]:
    """Return what is told of: each benchmark alone, and the mean of all where there are several."""
    alone: dict[str, tuple[str, ...]] = {name: (name,) for name in group.benchmarks}
    return alone if len(alone) == 1 else {**alone, OVERALL: group.benchmarks}


def arm_rows(groups: Iterable[Group], statistics: Statistics) -> list[dict[str, Any]]:
    """Return a row for every arm: one student, one mixture, one seed."""
    rows = []
    for group in groups:
        for arm, answers in zip(group.arms, group.answers, strict=True):
            alone = Group((arm,), (answers,))
            rows.append({"arm": arm.name, "seed": arm.seed, "model": arm.model, **_row(alone, statistics, arm.name)})
    return rows


def group_rows(groups: Iterable[Group], statistics: Statistics) -> list[dict[str, Any]]:
    """Return a row for every student and mixture, pooled over seeds."""
    return [
        {"arms": [arm.name for arm in group.arms], "seeds": [arm.seed for arm in group.arms], **_row(group, statistics, "pooled")}
        for group in groups
    ]


def _row(group: Group, statistics: Statistics, key: str) -> dict[str, Any]:
    everything = [answer for answers in group.answers for answer in answers.values()]
    scores = {name: _score(group, (name,), statistics, key, name) for name in group.benchmarks}
    top = headline(group)
    return {
        "student": group.student,
        "mixture": group.arms[0].mixture,
        "label": group.label,
        "blend": group.arms[0].blend,
        "alpha": group.arms[0].alpha,
        "merged": asdict(group.merged) if group.merged else None,
        "matched": all(arm.matched for arm in group.arms),
        **_lengths(everything),
        "scores": scores,
        "overall": scores[top] if top in scores else _score(group, group.benchmarks, statistics, key, top),
    }


def _score(group: Group, benchmarks: tuple[str, ...], statistics: Statistics, *key: str) -> dict[str, Any]:
    told = [answers[name] for answers in group.answers for name in benchmarks]
    interval = statistics.accuracy([group.block(name) for name in benchmarks], group.student, group.label, *key)
    return {
        "accuracy": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "num_problems": sum(len(group.answers[0][name].problem_ids) for name in benchmarks),
        "num_samples": sum(answer.num_samples for answer in told),
        **_lengths(told),
    }


def _lengths(told: Sequence[Answers]) -> dict[str, float]:
    num_samples = sum(answer.num_samples for answer in told)
    return {
        "mean_response_tokens": sum(answer.num_response_tokens for answer in told) / num_samples,
        "truncated_share": sum(answer.num_truncated for answer in told) / num_samples,
        "unknown_share": sum(answer.num_unknown for answer in told) / num_samples,
    }


def gap_rows(groups: Sequence[Group], statistics: Statistics) -> list[dict[str, Any]]:
    """Return the wanted gaps of every student on every benchmark.

    Hard - easy, each mix against both, each merge against both its parents and the mix of its alpha, everything against untouched.
    """
    rows = []
    for student in dict.fromkeys(group.student for group in groups):
        of_student = [group for group in groups if group.student == student]
        for kind, hard, easy in _wanted(of_student):
            rows += [gap(kind, hard, easy, scope, statistics) for scope in scopes(hard)]
    return rows


def _wanted(groups: Sequence[Group]) -> list[tuple[str, Group, Group]]:
    untouched, *taught = groups
    trained = [group for group in taught if group.merged is None]
    found: list[tuple[str, Group, Group]] = []
    for by_alpha in _blends(trained):
        easy, hard = by_alpha.get(0.0), by_alpha.get(1.0)
        mixes = [group for alpha, group in by_alpha.items() if alpha not in (0.0, 1.0)]
        if hard and easy:
            found.append(("hard - easy", hard, easy))
        found += [("mix - easy", mix, easy) for mix in mixes if easy]
        found += [("mix - hard", mix, hard) for mix in mixes if hard]
    for merge in taught:
        found += _wanted_of_merge(merge, trained)
    return found + [("trained - untouched", group, untouched) for group in taught]


def _blends(trained: Sequence[Group]) -> list[dict[float | None, Group]]:
    """Return, for each blend, its mixtures by alpha."""
    blends = dict.fromkeys(group.arms[0].blend for group in trained)
    return [{group.arms[0].alpha: group for group in trained if group.arms[0].blend == blend} for blend in blends]


def _wanted_of_merge(merge: Group, trained: Sequence[Group]) -> list[tuple[str, Group, Group]]:
    """Return a merge against its two parents, and against the mixture that blends the same two at the same alpha in the rows."""
    if merge.merged is None:
        return []
    of = {group.label: group for group in trained}
    parents = (merge.merged.easy, merge.merged.hard)
    found = [(kind, merge, of[name]) for kind, name in zip(("merge - easy", "merge - hard"), parents, strict=True) if name in of]
    for by_alpha in _blends(trained):
        ends = tuple(by_alpha[end].label for end in (0.0, 1.0) if end in by_alpha)
        twin = by_alpha.get(merge.arms[0].alpha)
        if ends == parents and twin and twin.label not in parents:
            found.append(("merge - mix", merge, twin))
    return found


def gap(kind: str, hard: Group, easy: Group, scope: str, statistics: Statistics) -> dict[str, Any]:
    """Return one gap: `hard` minus `easy`, problem by problem."""
    names = scopes(hard)[scope]
    rows = _paired(hard, easy)
    blocks = [np.stack([hard.block(name)[one] - easy.block(name)[other] for one, other in rows]) for name in names]
    interval = statistics.difference(blocks, hard.student, hard.label, easy.label, scope)
    return {
        "name": f"{hard.label} - {easy.label}",
        "kind": kind,
        "student": hard.student,
        "benchmark": scope,
        "blend": hard.arms[0].blend,
        "hard": hard.label,
        "easy": easy.label,
        "difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "verdict": gaps.verdict(interval, hard.label, easy.label),
        "num_problems": sum(block.shape[1] for block in blocks),
        "num_seeds": len(rows),
        "matched": all(arm.matched for arm in (*hard.arms, *easy.arms)),
    }


def _paired(hard: Group, easy: Group) -> list[tuple[int, int]]:
    """Return which seed rows are compared: equal seeds, or every seed with the one untouched student."""
    if easy.arms[0].mixture is None:
        return [(place, 0) for place in range(len(hard.arms))]
    places = {arm.seed: place for place, arm in enumerate(easy.arms)}
    rows = [(place, places[arm.seed]) for place, arm in enumerate(hard.arms) if arm.seed in places]
    if not rows:
        raise MixrayError(
            "Two mixtures have no training seed in common",
            seen=f"{hard.label}: {_seeds(hard.arms)}; {easy.label}: {_seeds(easy.arms)}",
            do="train both with the same seeds",
        )
    return rows


def _seeds(arms: Sequence[Arm]) -> list[int | None]:
    return [arm.seed for arm in arms]


def answer_rows(groups: Sequence[Group], statistics: Statistics) -> list[dict[str, Any]]:
    """Return, for each student, the mixture, or merge, with the highest accuracy and what is shown about it.

    It is `shown` to be the best only where it is shown better than every other mixture and than the untouched student.
    """
    rows = []
    for student in dict.fromkeys(group.student for group in groups):
        untouched, *trained = [group for group in groups if group.student == student]
        if not trained:
            continue
        scope = headline(untouched)
        best = max(trained, key=lambda group: _mean(group, scope))  # the first of equals: the smaller alpha
        others = [gap("best - other", best, other, scope, statistics) for other in trained if other is not best]
        change = gap("trained - untouched", best, untouched, scope, statistics)
        rows.append(
            {
                "student": student,
                "benchmark": scope,
                "noun": "mixture or merge" if any(group.merged for group in trained) else "mixture",
                "best": best.label,
                "change": change,
                "others": sorted(others, key=lambda row: float(row["difference"])),
                "shown": all(row["low"] > 0 for row in (change, *others)),
            }
        )
    return rows


def _mean(group: Group, scope: str) -> float:
    return float(np.mean([group.block(name).mean() for name in scopes(group)[scope]]))
