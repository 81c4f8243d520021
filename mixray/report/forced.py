"""Forced thinking budgets: what an arm would have said, had it been stopped after so many tokens and made to answer.

In: artefacts of kind `budgets` (rows.BUDGET) beside the scores they were cut from. Out: rows of accuracy by budget, beside those of
`budgets.py`, where a response that goes beyond the budget is merely not right.

An answer within the budget counts as its score says, a judge's opinion included; a cut one counts by the rule alone. So accuracy less
`forced_right_share` is what is right within the budget unforced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixray.errors import MixrayError
from mixray.report.answers import SeedGroup
from mixray.report.intervals import Block, accuracy
from mixray.report.samples import Answers
from mixray.report.scopes import Scope, Statistics, scopes
from mixray.store import Artefact

COLUMNS = ["benchmark", "problem_id", "budget_tokens", "forced", "verdict"]
Shares = Mapping[tuple[str, int], Block]
"""By benchmark and budget, of shape (3, problems), shares of a problem's samples: right at the budget, cut there, cut there and right."""


def forced_rows(groups: Sequence[SeedGroup], statistics: Statistics) -> list[dict[str, Any]]:
    """Return a row for each student, label and scope whose arms were all made to answer at budgets; [] where none was.

    `accuracy` is the share right at the budget; `unforced_share` (right within it as they are), `forced_share` (cut there) and
    `forced_right_share` (cut there, and right for what was said then) are shares of all samples, weighed as the accuracy is. Each has an
    interval.

    Raises:
        MixrayError: budgets hold a problem that the scores do not.
    """
    rows = []
    for group in groups:
        made = [arm.budgets for arm in group.arms if arm.budgets is not None]
        if len(made) < len(group.arms):
            continue
        shares = [dict(_shares(answers, artefact)) for answers, artefact in zip(group.answers, made, strict=True)]
        common = sorted(set.intersection(*(set(_budgets(artefact)) for artefact in made)))
        for scope in scopes(group).values():
            points = [_point(shares, scope, tokens, statistics.settings.confidence) for tokens in common]
            rows.append({"student": group.student, "label": group.label, "benchmark": scope.name, "points": points})
    return rows


def right_at(group: SeedGroup, benchmark: str, tokens: int) -> Block:
    """Return the share right of each problem where a longer response is cut at so many tokens, of shape (seeds, problems).

    Raises:
        MixrayError: an arm was not made to answer there.
    """
    rows = []
    for arm, answers in zip(group.arms, group.answers, strict=True):
        shares = {} if arm.budgets is None else dict(_shares(answers, arm.budgets))
        if (benchmark, tokens) not in shares:
            raise MixrayError(
                "An arm was not made to answer at a budget",
                seen=f"{arm.name} at {tokens} tokens of {benchmark}",
                do="add it to evaluate.budgets",
            )
        rows.append(shares[benchmark, tokens][0])
    return np.stack(rows)


def _budgets(artefact: Artefact) -> list[int]:
    return list(artefact.made_by["settings"]["budgets"])


def _point(shares: Sequence[Shares], scope: Scope, tokens: int, confidence: float) -> dict[str, Any]:
    right, cut, ended = ([np.stack([each[name, tokens][place] for each in shares]) for name in scope.benchmarks] for place in range(3))
    told = accuracy(right, confidence, scope.weights)
    unforced = [whole - forced for whole, forced in zip(right, ended, strict=True)]
    parts = {"unforced_share": unforced, "forced_share": cut, "forced_right_share": ended}
    intervals = {name: accuracy(blocks, confidence, scope.weights) for name, blocks in parts.items()}
    return {
        "tokens": tokens,
        "accuracy": told.estimate,
        "low": told.low,
        "high": told.high,
        **{name: interval.estimate for name, interval in intervals.items()},
        "share_intervals": {name: [interval.low, interval.high] for name, interval in intervals.items()},
    }


def _shares(answers: Mapping[str, Answers], budgets: Artefact) -> Iterator[tuple[tuple[str, int], Block]]:
    """Yield what one arm's problems came to at each budget."""
    rows = budgets.read_table(COLUMNS)
    rows = rows.filter(rows.column("forced"))
    for benchmark, of in answers.items():
        here = rows.filter(pc.equal(rows.column("benchmark"), benchmark))
        for tokens in _budgets(budgets):
            at = here.filter(pc.equal(here.column("budget_tokens"), tokens))
            right = at.filter(pc.equal(at.column("verdict"), "right"))
            cut, ended = (_counted(table, of, budgets) / of.samples for table in (at, right))
            yield (benchmark, tokens), np.stack([of.share_within(tokens) + ended, cut, ended])


def _counted(rows: pa.Table, answers: Answers, budgets: Artefact) -> Block:
    """Return how many of the rows each problem has."""
    places = {problem: place for place, problem in enumerate(answers.problem_ids)}
    counts = np.zeros(len(places))
    for problem in rows.column("problem_id").to_pylist():
        if problem not in places:
            raise MixrayError(
                "An arm was made to answer a problem that it was not asked", seen=f"{problem} in {budgets.label}",
                rule="budgets cut the answers of the arm's scores", do=f"remove {budgets.path} and run again",
            )  # fmt: skip
        counts[places[problem]] += 1
    return counts
