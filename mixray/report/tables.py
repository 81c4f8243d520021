"""The rows of arms and of arms pooled over seeds: accuracies and all that is told beside them. Pure: groups in, dictionaries out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from mixray.report import rates
from mixray.report.answers import SeedGroup
from mixray.report.intervals import Block, weighted
from mixray.report.majority import majority
from mixray.report.provenance import without_places
from mixray.report.samples import Answers
from mixray.report.scopes import OVERALL, WEIGHTED, Scope, Statistics, headline, scopes
from mixray.rows import SAMPLE_KINDS


def arm_rows(groups: Iterable[SeedGroup], statistics: Statistics) -> list[dict[str, Any]]:
    """Return a row for every arm: one student, one mixture, one seed."""
    rows = []
    for group in groups:
        for arm, answers in zip(group.arms, group.answers, strict=True):
            trained = arm.trained.label if arm.trained else None
            told = {"arm": arm.name, "seed": arm.seed, "model": without_places(arm.model)}
            told |= {"scores_artefact": arm.scores.label, "trained_artefact": trained}
            told |= {"budgets_artefact": arm.budgets.label if arm.budgets else None}
            alone = group if len(group.arms) == 1 else SeedGroup((arm,), (answers,))
            rows.append({**told, **statistics.once(arm.name, partial(_row, alone, statistics))})
    return rows


def group_rows(groups: Iterable[SeedGroup], statistics: Statistics) -> list[dict[str, Any]]:
    """Return a row for every student and mixture, pooled over seeds."""
    rows = []
    for group in groups:
        names = [arm.name for arm in group.arms]
        row = statistics.once("\n".join(names), partial(_row, group, statistics))  # of one arm, the arm's own row
        rows.append({"arms": names, "seeds": [arm.seed for arm in group.arms], **row})
    return rows


def _row(group: SeedGroup, statistics: Statistics) -> dict[str, Any]:
    everything = group.of(group.benchmarks)
    found = {name: _score(group, scope, statistics) for name, scope in scopes(group).items()}
    return {
        "student": group.student,
        "mixture": group.mixture,
        "label": group.label,
        "blend": group.blend,
        "alpha": group.alpha,
        "merged": asdict(group.merged) if group.merged else None,
        "matched": group.matched,
        **rates.lengths(everything),
        **rates.shares(everything),
        "scores": {name: score for name, score in found.items() if name not in (OVERALL, WEIGHTED)},
        "overall": found[headline(group)],
        "weighted": found.get(WEIGHTED, found[headline(group)]),
    }


def _score(group: SeedGroup, scope: Scope, statistics: Statistics) -> dict[str, Any]:
    told = group.of(scope.benchmarks)
    interval = statistics.accuracy(group, scope)
    samples_per_problem = min(answers.samples_per_problem for answers in told)
    return {
        "accuracy": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "num_problems": sum(len(group.answers[0][name].problem_ids) for name in scope.benchmarks),
        "num_samples": sum(answers.num_samples for answers in told),
        "samples_per_problem": samples_per_problem,
        **rates.lengths(told),
        **_shares(group, scope, statistics),
        **_at(group, scope, statistics, samples_per_problem),
    }


def _shares(group: SeedGroup, scope: Scope, statistics: Statistics) -> dict[str, Any]:
    """Return the shares of samples that are not right, weighed as the accuracy is, so that with it they make 1; with their intervals."""
    told = {f"{kind}_share": statistics.accuracy(group, scope, partial(_of_kind, kind=kind)) for kind in SAMPLE_KINDS[1:]}
    return {
        **{kind: share.estimate for kind, share in told.items()},
        "share_intervals": {kind: [share.low, share.high] for kind, share in told.items()},
    }


def _of_kind(answers: Answers, kind: str) -> Block:
    return answers.once("kind", SAMPLE_KINDS.index(kind), lambda: answers.share_of(kind))


def _at(group: SeedGroup, scope: Scope, statistics: Statistics, samples_per_problem: int) -> dict[str, Any]:
    """Return pass@k and maj@k by k, with the intervals of each."""
    passed, voted = {}, {}
    for k in rates.sample_counts(samples_per_problem):
        passed[str(k)] = statistics.accuracy(group, scope, partial(_passed, k=k))
        voted[str(k)] = statistics.accuracy(group, scope, partial(_voted, k=k, seed=statistics.draw("majority", str(k))))
    return {
        "pass_at": {k: told.estimate for k, told in passed.items()},
        "maj_at": {k: told.estimate for k, told in voted.items()},
        "pass_at_intervals": {k: [told.low, told.high] for k, told in passed.items()},
        "maj_at_intervals": {k: [told.low, told.high] for k, told in voted.items()},
    }


def _passed(answers: Answers, k: int) -> Block:
    return answers.once("pass", k, lambda: rates.passed(answers, k))


def _voted(answers: Answers, k: int, seed: int) -> Block:
    return answers.once("majority", k, lambda: majority(answers, k, seed))


def curve_rows(groups: Sequence[SeedGroup], statistics: Statistics) -> list[dict[str, Any]]:
    """Return, for each blend of each student and each scope, accuracy by alpha; the best alpha is the first of the highest."""
    rows = []
    for student, blend in dict.fromkeys((group.student, group.blend) for group in groups if group.alpha is not None):
        of_blend = [group for group in groups if (group.student, group.blend) == (student, blend) and group.alpha is not None]
        of_blend.sort(key=lambda group: group.alpha or 0.0)
        if len(of_blend) < 2:
            continue
        for name, scope in scopes(of_blend[0]).items():
            told = [(group, statistics.accuracy(group, scope)) for group in of_blend]
            points = [
                {"alpha": group.alpha, "label": group.label, "accuracy": each.estimate, "low": each.low, "high": each.high}
                for group, each in told
            ]
            best = max(told, key=lambda pair: pair[1].estimate)[0]
            rows.append({"student": student, "blend": blend, "benchmark": name, "best_alpha": best.alpha, "points": points})
    return rows


def mean_accuracy(group: SeedGroup, scope: str) -> float:
    """Return the accuracy of a group in a scope, without its interval."""
    of = scopes(group)[scope]
    return weighted([float(np.mean(group.block(name))) for name in of.benchmarks], of.weights)
