"""Plots of how the arms of one student were trained: one line per arm, seeds of one mixture in one colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from mixray.report import looks, svg
from mixray.report.length_plots import legend_of
from mixray.report.looks import Look
from mixray.report.plots import FOOT
from mixray.report.svg import WIDTH, Picture

Row = Mapping[str, Any]

LEFT, TOP = 50.0, 30.0
TALL, SMALL = 210.0, 130.0
# Beyond this a linear axis shows one end of the values and hides the other.
LOG_RATIO = 50
# The losses of single steps of more lines than these hide one another and the smoothed ones.
MOST_PALE = 6


@dataclass(frozen=True)
class Line:
    """One arm's curve and how it is drawn."""

    label: str
    curve: Row
    look: Look


def lines(report: Row, student: str) -> list[Line]:
    """Return the curves of one student's arms, each mixture in a look of its own."""
    groups = [group for group in report["groups"] if group["student"] == student]
    found = looks.of_student(groups)
    curves = report["curves"]
    return [Line(group["label"], curves[arm], found[group["label"]]) for group in groups for arm in group["arms"] if arm in curves]


def pictures(drawn: Sequence[Line], student: str, notes: Mapping[str, str]) -> list[Picture]:
    """Return loss against steps and against trained tokens, and, smaller, gradient norm and learning rate; none without curves."""
    if not drawn:
        return []
    return [
        _losses(drawn, "step", "optimiser step", f"{student}: training loss against the step", notes["loss"]),
        _losses(drawn, "loss_tokens", "trained tokens", f"{student}: training loss against trained tokens", notes["loss_tokens"]),
        _small(drawn, "grad_norm", "gradient norm", f"{student}: gradient norm", notes["grad_norm"]),
        _small(drawn, "learning_rate", "learning rate", f"{student}: learning rate", notes["learning_rate"]),
    ]


def _losses(drawn: Sequence[Line], along: str, along_label: str, title: str, note: str) -> Picture:
    values = list(chain.from_iterable(line.curve[name] for line in drawn for name in ("loss", "smoothed_loss")))
    x, y, parts = _frame(drawn, along, along_label, "loss", values, TALL)
    for line in drawn:
        pale = _draw(line, along, "loss", x, y, "line pale") if line.curve["smoothed_steps"] > 1 and len(drawn) <= MOST_PALE else ""
        parts.append(svg.element("g", pale + _draw(line, along, "smoothed_loss", x, y, f"line {line.look.dash}"), class_=line.look.colour))
    legend, height = legend_of(list({line.label: (line.label, line.look) for line in drawn}.values()), TALL + FOOT + 16)
    return Picture(title, svg.document(height, [*parts, *legend], title), note)


def _small(drawn: Sequence[Line], name: str, label: str, title: str, note: str) -> Picture:
    # A rate falls to nothing by plan: on a logarithmic axis that end would be all there is to see.
    values = list(chain.from_iterable(line.curve[name] for line in drawn))
    x, y, parts = _frame(drawn, "step", "optimiser step", label, values, SMALL, may_be_logarithmic=name == "grad_norm")
    for line in drawn:
        parts.append(svg.element("g", _draw(line, "step", name, x, y, f"line thin {line.look.dash}"), class_=line.look.colour))
    return Picture(title, svg.document(SMALL + FOOT, parts, title), note)


def _frame(
    drawn: Sequence[Line], along: str, along_label: str, label: str, values: Iterable[float | None], bottom: float,
    may_be_logarithmic: bool = True,
) -> tuple[svg.Axis, svg.Axis, list[str]]:  # fmt: skip
    known = [value for value in values if value is not None]
    x = svg.linear((value for line in drawn for value in line.curve[along]), LEFT, WIDTH - 8, zero=True)
    if may_be_logarithmic and known and min(known) > 0 and max(known) / min(known) > LOG_RATIO:
        y, label = svg.logarithmic(known, bottom, TOP), f"{label}, log scale"
    else:
        y = svg.linear(known, bottom, TOP)
    parts = svg.vertical_grid(x, TOP, bottom, along_label, svg.compact) + svg.horizontal_grid(y, LEFT, WIDTH - 8, label, svg.compact)
    return x, y, parts


def _draw(line: Line, along: str, name: str, x: svg.Axis, y: svg.Axis, look: str) -> str:
    at = [None if value is None else (x.at(step), y.at(value)) for step, value in zip(line.curve[along], line.curve[name], strict=True)]
    known = [point for point in at if point is not None]
    if len(known) == 1:
        return svg.element("circle", cx=known[0][0], cy=known[0][1], r=4, class_="dot")
    return svg.path(at, class_=look)
