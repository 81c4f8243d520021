"""Plots of how the arms of one student were trained: one line per arm, seeds of one mixture in one colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mixray.report.plots import MARKERS, STYLE, WIDTH_INCHES, Picture, frame, svg

Row = Mapping[str, Any]

# Ends of blends come last: where there is one end of a kind, it has the colour it has in every other plot.
COLOURS = ("mix", "line-1", "line-2", "line-3", "line-4", "line-5", "easy", "hard")
DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)))
TALL_INCHES, SMALL_INCHES, LEGEND_ROW_INCHES = 2.7, 1.7, 0.22
LEGEND_LETTERS = 56
# Beyond this a linear axis shows one end of the values and hides the other.
LOG_RATIO = 50


@dataclass(frozen=True)
class Line:
    """One arm's curve and how it is drawn."""

    label: str
    curve: Row
    colour: str
    dashes: Any


def lines(report: Row, student: str) -> list[Line]:
    """Return the curves of one student's arms, each mixture in a colour of its own, dashed when all colours are taken."""
    found = []
    looks = list(product(DASHES, COLOURS))
    free = list(looks)
    for group in report["groups"]:
        if group["student"] != student or group["mixture"] is None:
            continue
        wanted = (DASHES[0], "easy" if group["alpha"] == 0 else "hard" if group["alpha"] == 1 else "mix")
        dashes, colour = wanted if wanted in free else free[0]
        free = [look for look in free if look != (dashes, colour)] or list(looks)
        curves = [report["curves"][arm] for arm in group["arms"] if arm in report["curves"]]
        found += [Line(group["label"], curve, MARKERS[colour], dashes) for curve in curves]
    return found


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
    labels = list(dict.fromkeys(line.label for line in drawn))
    columns = max(1, min(len(labels), LEGEND_LETTERS // (max(map(len, labels)) + 6)))
    with mpl.rc_context(STYLE):
        figure, axes = _figure(TALL_INCHES + LEGEND_ROW_INCHES * -(-len(labels) // columns))
        for line in drawn:
            if line.curve["smoothed_steps"] > 1:
                _draw(axes, line, along, "loss", linewidth=0.7, alpha=0.3)
            _draw(axes, line, along, "smoothed_loss", linewidth=1.6)
        _scale(axes, "loss", chain.from_iterable(line.curve[name] for line in drawn for name in ("loss", "smoothed_loss")))
        _along(axes, along_label)
        handles = {line.label: Line2D([], [], color=line.colour, linestyle=line.dashes, linewidth=2) for line in drawn}
        figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=columns, frameon=False)
        return Picture(title, svg(figure, title), note)


def _small(drawn: Sequence[Line], name: str, label: str, title: str, note: str) -> Picture:
    with mpl.rc_context(STYLE):
        figure, axes = _figure(SMALL_INCHES)
        for line in drawn:
            _draw(axes, line, "step", name, linewidth=1)
        values = chain.from_iterable(line.curve[name] for line in drawn)
        # A rate falls to nothing by plan: on a logarithmic axis that end would be all there is to see.
        _scale(axes, label, values if name == "grad_norm" else ())
        _along(axes, "optimiser step")
        return Picture(title, svg(figure, title), note)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.subplots()
    frame(axes)
    axes.grid(axis="both")
    return figure, axes


def _draw(axes: Axes, line: Line, along: str, name: str, **style: Any) -> None:
    values = [float("nan") if value is None else value for value in line.curve[name]]
    alone: dict[str, Any] = {"marker": "o", "markersize": 5} if len(values) == 1 else {}
    axes.plot(line.curve[along], values, color=line.colour, linestyle=line.dashes, **alone, **style)


def _scale(axes: Axes, label: str, values: Iterable[float | None]) -> None:
    known = [value for value in values if value is not None]
    if known and min(known) > 0 and max(known) / min(known) > LOG_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_minor_locator(NullLocator())
        label += ", log scale"
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set_ylabel(label)


def _along(axes: Axes, label: str) -> None:
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
