"""A few problems worth reading side by side, picked by stated rules and a seeded draw, so that nobody picks what suits.

A label is right on a problem where more than half of its samples, over all seeds, are right, and wrong where none is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixray.naming import UNTOUCHED
from mixray.report.answers import SeedGroup
from mixray.report.samples import Answers, Flags
from mixray.rows import keyed_draw

MOST_OF_A_RULE = 2


@dataclass(frozen=True)
class Rule:
    """A sentence, the labels it speaks of, and where it holds: a flag per problem by benchmark."""

    why: str
    labels: tuple[str, ...]
    holds: dict[str, Flags]


def case_rows(groups: Sequence[SeedGroup], seed: int) -> list[dict[str, Any]]:
    """Return up to MOST_OF_A_RULE problems for each rule and student."""
    rows = []
    for student in dict.fromkeys(group.student for group in groups):
        of_student = [group for group in groups if group.student == student]
        ids = {name: answers.problem_ids for name, answers in of_student[0].answers[0].items()}
        for rule in _rules(of_student):
            found = [(name, place) for name, flags in rule.holds.items() for place in np.flatnonzero(flags).tolist()]
            drawn = sorted(found, key=lambda pair: _draw(seed, student, rule.why, pair[0], ids[pair[0]][pair[1]]))
            why = f"{rule.why} ({len(found)} such {'problem' if len(found) == 1 else 'problems'})."
            rows += [
                {"why": why, "student": student, "benchmark": name, "problem_id": ids[name][place], "labels": list(rule.labels)}
                for name, place in drawn[:MOST_OF_A_RULE]
            ]
    return rows


def _draw(seed: int, *key: str) -> int:
    return keyed_draw(seed, "case", *key)


def _rules(groups: Sequence[SeedGroup]) -> Iterable[Rule]:
    untouched, *taught = groups
    trained = [group for group in taught if group.merged is None]
    for blend in dict.fromkeys(group.blend for group in trained if group.alpha is not None):
        by_alpha = {group.alpha: group for group in trained if group.blend == blend}
        easy, hard = by_alpha.get(0.0), by_alpha.get(1.0)
        if easy is None or hard is None:
            continue
        for mix in (group for alpha, group in by_alpha.items() if alpha not in (0.0, 1.0)):
            labels = (UNTOUCHED, easy.label, mix.label, hard.label)
            both = {name: _wrong(easy, name) & _wrong(hard, name) & _right(mix, name) for name in mix.benchmarks}
            yield Rule(f"{mix.label} is right where both {easy.label} and {hard.label} are wrong", labels, both)
            neither = {name: _right(easy, name) & _right(hard, name) & _wrong(mix, name) for name in mix.benchmarks}
            yield Rule(f"{mix.label} is wrong where both {easy.label} and {hard.label} are right", labels, neither)
        cut = {name: _right(easy, name) & _cut(hard, name) for name in hard.benchmarks}
        yield Rule(f"{hard.label} does not come to an end where {easy.label} is right", (UNTOUCHED, easy.label, hard.label), cut)
    for group in trained:
        lost = {name: _right(untouched, name) & _wrong(group, name) for name in group.benchmarks}
        yield Rule(f"{group.label} is wrong where the untouched student was right", (UNTOUCHED, group.label), lost)


def _right(group: SeedGroup, benchmark: str) -> Flags:
    return group.block(benchmark).mean(axis=0) > 0.5


def _wrong(group: SeedGroup, benchmark: str) -> Flags:
    return group.block(benchmark).max(axis=0) == 0


def _cut(group: SeedGroup, benchmark: str) -> Flags:
    """Return on which problems more than half of the samples were cut off."""
    return group.block(benchmark, Answers.share_cut).mean(axis=0) > 0.5
