"""Which plots a report has: those of each student, and those of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixray.report import length_plots, looks, plots, training_plots, training_words
from mixray.report.svg import Picture

Row = Mapping[str, Any]

SCALED = ("hard - easy", "mix - best single")
"""The kinds of gaps that are drawn against the size of the student."""


@dataclass(frozen=True)
class Drawings:
    """The plots of one student, by what they are about; empty where there is nothing to draw."""

    accuracy: list[Picture]
    accuracies: list[Picture]
    gaps: list[Picture] = field(default_factory=list)
    benchmark_gaps: list[Picture] = field(default_factory=list)
    alphas: list[Picture] = field(default_factory=list)
    benchmark_alphas: list[Picture] = field(default_factory=list)
    lengths: list[Picture] = field(default_factory=list)
    benchmark_lengths: list[Picture] = field(default_factory=list)
    training: list[Picture] = field(default_factory=list)


def of_student(report: Row, student: str) -> Drawings:
    """Draw what is told of one student."""
    groups = [row for row in report["groups"] if row["student"] == student]
    arms = [row for row in report["arms"] if row["student"] == student]
    top = report["headline"]
    others = [scope for scope in (*report["scopes"], report["weighted_scope"]) if scope not in (None, top)]
    lines = training_plots.lines(report, student)
    return Drawings(
        accuracy=[plots.accuracies(groups, arms, top, f"{student}: accuracy, {top}")],
        accuracies=[plots.accuracies(groups, arms, scope, f"{student}: accuracy, {scope}") for scope in others],
        gaps=_forests(report, student, [top]),
        benchmark_gaps=_forests(report, student, others),
        alphas=_alphas(groups, [top], student, ""),
        benchmark_alphas=_alphas(groups, others, student, ", {scope}"),
        lengths=_lengths(report, groups, student, [top]),
        benchmark_lengths=_lengths(report, groups, student, others),
        training=training_plots.pictures(lines, student, training_words.NOTES),
    )


def scalings(report: Row) -> tuple[list[Picture], list[Picture]]:
    """Return how the gaps that decide change with the size of the student: on the headline, and on each benchmark."""
    rows = [row for row in report["scaling"] if row["kind"] in SCALED]
    drawn = [(row["benchmark"], plots.scaling(row, f"{row['name']} by size of student, {row['benchmark']}")) for row in rows]
    top = report["headline"]
    return [picture for scope, picture in drawn if scope == top], [picture for scope, picture in drawn if scope != top]


def _forests(report: Row, student: str, scopes: Sequence[str]) -> list[Picture]:
    found = []
    for scope in scopes:
        gaps = [gap for gap in report["gaps"] if (gap["student"], gap["benchmark"]) == (student, scope)]
        if gaps:
            found.append(plots.forest(plots.ordered(gaps), f"{student}: gaps, {scope}"))
    return found


def _alphas(groups: Sequence[Row], scopes: Sequence[str], student: str, of_scope: str) -> list[Picture]:
    """Draw accuracy against alpha for every blend with more than two alphas."""
    found = []
    for blend in dict.fromkeys(row["blend"] for row in groups if row["alpha"] is not None):
        rows = sorted((row for row in groups if row["blend"] == blend), key=lambda row: float(row["alpha"]))
        if len(rows) > 2:
            title = f"{student}: accuracy against alpha, {blend}"
            found += [plots.curve(rows, groups[0], scope, title + of_scope.format(scope=scope)) for scope in scopes]
    return found


def _lengths(report: Row, groups: Sequence[Row], student: str, scopes: Sequence[str]) -> list[Picture]:
    roles, look = {row["label"]: plots.role(row) for row in groups}, looks.of_student(groups)
    found = []
    for scope in scopes:
        lengths, curves, forced = (
            [row for row in report[key] if (row["student"], row["benchmark"]) == (student, scope)]
            for key in ("lengths", "budget_curves", "forced_budgets")
        )
        if lengths:
            found.append(length_plots.histograms(lengths, roles, f"{student}: how long responses are, {scope}"))
        if curves:
            found.append(length_plots.budgets(curves, look, f"{student}: right within a budget, {scope}", forced))
    return found
