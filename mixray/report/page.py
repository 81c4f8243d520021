"""The report as one HTML file that needs neither a server nor a network: styles and pictures are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mixray.report import numerals, plots, training_plots, training_words, words

Row = Mapping[str, Any]


def render(report: Row) -> str:
    """Return index.html."""
    environment = Environment(
        loader=PackageLoader("mixray.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=lambda share: minus(numerals.percent(share)),
        accuracy=lambda score: minus(numerals.accuracy(score)),
        change=lambda gap: minus(numerals.change(gap)),
        count=numerals.count,
        alpha=numerals.alpha,
        duration=numerals.duration,
        loss=numerals.loss,
        memory=numerals.memory,
        passes=numerals.passes,
        svg=lambda picture: Markup(picture.svg),  # drawn here, by matplotlib, which escapes its texts
    )
    template = environment.get_template("report.html.j2")
    students = list(dict.fromkeys(row["student"] for row in report["groups"]))
    return template.render(
        report=report,
        students=students,
        untouched={row["student"]: row for row in report["groups"] if row["mixture"] is None},
        sentences={student: [minus(line) for line in words.verdict(report, student)] for student in students},
        pictures={student: pictures(report, student) for student in students},
        training={student: [minus(line) for line in training_words.told(report, student)] for student in students},
        training_pictures={student: _training(report, student) for student in students},
        training_words=training_words,
        against_untouched=lambda row, scope: words.against_untouched(report, row, scope),
        direction=words.direction,
        origin=words.origin,
        recipe=yaml.safe_dump(report["provenance"]["recipe"], sort_keys=False, allow_unicode=True),
    )


def minus(text: str) -> str:
    """Return the text with true minus signs before numbers."""
    return text.replace("[-", "[−").replace(" -", " −").replace("− ", "- ") if not text.startswith("-") else "−" + minus(text[1:])


def pictures(report: Row, student: str) -> list[plots.Picture]:
    """Return the plots of one student: accuracies, alpha curves where there are more than two alphas, response lengths."""
    groups = [row for row in report["groups"] if row["student"] == student]
    arms = [row for row in report["arms"] if row["student"] == student]
    scopes = report["scopes"]
    drawn = [plots.accuracies(groups, arms, scope, f"{student}: accuracy, {scope}") for scope in reversed(scopes)]
    for blend, rows in _curves(groups).items():
        drawn.append(plots.curve(rows, groups[0], report["headline"], f"{student}: accuracy against alpha, {blend}"))
    return [*drawn, plots.lengths(groups, f"{student}: tokens per response")]


def _training(report: Row, student: str) -> list[plots.Picture]:
    return training_plots.pictures(training_plots.lines(report, student), student, training_words.NOTES)


def _curves(groups: Sequence[Row]) -> dict[str, list[Row]]:
    blends = dict.fromkeys(row["blend"] for row in groups if row["alpha"] is not None)
    found = {blend: sorted((row for row in groups if row["blend"] == blend), key=lambda row: float(row["alpha"])) for blend in blends}
    return {blend: rows for blend, rows in found.items() if len(rows) > 2}
