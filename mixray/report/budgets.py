"""How long responses are: histograms, and what a budget of tokens would have left right.

All arms of a student share the edges of a scope's bins, and the budgets, so that their rows can be laid over one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from mixray.report.answers import SeedGroup
from mixray.report.samples import Answers, Places
from mixray.report.scopes import WEIGHTED, Scope, Statistics, scopes

MOST_BINS = 24
MOST_BUDGETS = 16


def length_rows(groups: Sequence[SeedGroup]) -> list[dict[str, Any]]:
    """Return a histogram of response tokens for each student, label and scope; `counts[i]` are from `edges[i]` to below `edges[i + 1]`.

    Edges grow by equal factors; the mean of benchmarks counts the responses of all of them.
    """
    rows = []
    for of_student, scope in _by_student(groups):
        edges = spaced(*_ends(of_student, scope), MOST_BINS + 1)
        edges[-1] += 1  # the longest response is in the last bin
        for group in of_student:
            told = group.of(scope.benchmarks)
            tokens, cut = np.concatenate([each.tokens for each in told]), np.concatenate([each.cut for each in told])
            rows.append(
                {
                    "student": group.student,
                    "label": group.label,
                    "benchmark": scope.name,
                    "edges": edges,
                    "counts": _binned(tokens, edges),
                    "truncated_counts": _binned(tokens[cut], edges),
                }
            )
    return rows


def budget_rows(groups: Sequence[SeedGroup], statistics: Statistics) -> list[dict[str, Any]]:
    """Return, for each student, label and scope, the share right within so many tokens: a longer response is not right."""
    rows = []
    for of_student, scope in _by_student(groups):
        budgets = spaced(*_ends(of_student, scope), MOST_BUDGETS)
        for group in of_student:
            points = []
            for tokens in budgets:
                told = statistics.accuracy(group, scope, partial(Answers.share_within, tokens=tokens))
                points.append({"tokens": tokens, "accuracy": told.estimate, "low": told.low, "high": told.high})
            rows.append({"student": group.student, "label": group.label, "benchmark": scope.name, "points": points})
    return rows


def spaced(low: int, high: int, most: int) -> list[int]:
    """Return at most so many whole numbers from `low` to `high`, both among them, that grow by equal factors; at least two."""
    low, high = max(1, low), max(2, low + 1, high)
    steps = np.geomspace(low, high, most)
    return sorted({low, high, *(min(high, max(low, round(float(step)))) for step in steps)})


def _by_student(groups: Sequence[SeedGroup]) -> list[tuple[list[SeedGroup], Scope]]:
    found = []
    for student in dict.fromkeys(group.student for group in groups):
        of_student = [group for group in groups if group.student == student]
        found += [(of_student, scope) for name, scope in scopes(of_student[0]).items() if name != WEIGHTED]
    return found


def _ends(groups: Sequence[SeedGroup], scope: Scope) -> tuple[int, int]:
    """Return the fewest and the most tokens of any response of these groups."""
    told = [answers for group in groups for answers in group.of(scope.benchmarks)]
    return min(int(each.tokens.min()) for each in told), max(int(each.tokens.max()) for each in told)


def _binned(tokens: Places, edges: Sequence[int]) -> list[int]:
    # Responses of no tokens, such as a failed request's, are in the first bin.
    return [int(count) for count in np.histogram(np.maximum(tokens, edges[0]), edges)[0]]
