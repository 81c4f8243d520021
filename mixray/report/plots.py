"""Plots of the report as SVG that takes its colours from the page: the same picture in light and dark, byte for byte repeatable.

Every colour is drawn as a marker and replaced by a CSS variable (`--ink`, `--hard`, ...), ids get a prefix so that several pictures
share one page, and neither dates nor random salts are written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]

# Any six digits that matplotlib would not write on its own account.
MARKERS = {
    "ink": "#010101", "faint": "#020202", "easy": "#030303", "mix": "#040404", "hard": "#050505", "untouched": "#060606",
    "line-1": "#070707", "line-2": "#080808", "line-3": "#090909", "line-4": "#0a0a0a", "line-5": "#0b0b0b",
}  # fmt: skip
STYLE = {
    "svg.hashsalt": "mixray",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": MARKERS["faint"],
    "axes.labelcolor": MARKERS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": MARKERS["ink"],
    "xtick.color": MARKERS["ink"],
    "ytick.color": MARKERS["ink"],
    "grid.color": MARKERS["faint"],
    "grid.linewidth": 0.5,
}
WIDTH_INCHES, ROW_INCHES, FRAME_INCHES = 5.4, 0.36, 0.75


@dataclass(frozen=True)
class Picture:
    """One plot: what it shows in words, its SVG, and what to see in it."""

    title: str
    svg: str
    note: str = ""


def accuracies(groups: Sequence[Row], arms: Sequence[Row], scope: str, title: str) -> Picture:
    """Draw the accuracy of every arm of one student with its interval; single seeds as small dots."""
    with mpl.rc_context(STYLE):
        figure, axes = _rows_figure(groups)
        for place, group in enumerate(groups):
            score, colour = _score(group, scope), _colour(group)
            axes.plot([100 * score["low"], 100 * score["high"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot([100 * score["accuracy"]], [place], marker="o", markersize=7, color=colour)
            seeds = [100 * _score(arm, scope)["accuracy"] for arm in arms if arm["arm"] in group["arms"]]
            if len(seeds) > 1:
                axes.plot(seeds, [place + 0.24] * len(seeds), linestyle="", marker="|", markersize=6, color=MARKERS["ink"])
        axes.set_xlabel("accuracy, %")
        axes.axvline(100 * _score(groups[0], scope)["accuracy"], color=MARKERS["untouched"], linewidth=1, linestyle=(0, (2, 3)))
        return Picture(title, svg(figure, title))


def lengths(groups: Sequence[Row], title: str) -> Picture:
    """Draw the mean number of tokens of a response of every arm of one student."""
    with mpl.rc_context(STYLE):
        figure, axes = _rows_figure(groups)
        for place, group in enumerate(groups):
            axes.barh(place, group["mean_response_tokens"], height=0.55, color=_colour(group))
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens per response")
        return Picture(title, svg(figure, title))


def curve(groups: Sequence[Row], untouched: Row, scope: str, title: str) -> Picture:
    """Draw accuracy against alpha for one blend, or one merge, and one student, the untouched student as a dashed line."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 2.9), layout="constrained")
        axes = figure.subplots()
        frame(axes)
        alphas = [group["alpha"] for group in groups]
        scores = [_score(group, scope) for group in groups]
        axes.fill_between(
            alphas,
            [100 * score["low"] for score in scores],
            [100 * score["high"] for score in scores],
            color=MARKERS["mix"],
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(alphas, [100 * score["accuracy"] for score in scores], color=MARKERS["mix"], marker="o", linewidth=2)
        level = 100 * _score(untouched, scope)["accuracy"]
        axes.axhline(level, color=MARKERS["untouched"], linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate("untouched", (1, level), xycoords=("axes fraction", "data"), xytext=(-2, 4), textcoords="offset points", ha="right")
        axes.grid(axis="both")
        axes.set_xlabel("alpha: weight of the hard student" if groups[0]["merged"] else "alpha: share of rows from the hard pool")
        axes.set_ylabel("accuracy, %")
        return Picture(title, svg(figure, title))


def _rows_figure(groups: Sequence[Row]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, FRAME_INCHES + ROW_INCHES * len(groups)), layout="constrained")
    axes = figure.subplots()
    frame(axes)
    axes.grid(axis="x")
    axes.set_yticks(range(len(groups)), [group["label"] for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    return figure, axes


def frame(axes: Axes) -> None:
    """Let the page shine through, and keep ticks and grid out of the way."""
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.patch.set_visible(False)


def _score(row: Row, scope: str) -> Row:
    return dict(row["scores"].get(scope) or row["overall"])


def _colour(group: Row) -> str:
    if group["mixture"] is None:
        return MARKERS["untouched"]
    if group["merged"] is not None:
        return MARKERS["mix"]
    return MARKERS["easy"] if group["alpha"] == 0 else MARKERS["hard"] if group["alpha"] == 1 else MARKERS["mix"]


def svg(figure: Figure, title: str) -> str:
    """Return the figure as an `<svg>` element fit for standing inside a page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"[^a-z0-9]+", "-", title.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r"(href=\"|url\()#", rf"\1#{prefix}-", text)
    for name, colour in MARKERS.items():
        text = text.replace(colour, f"var(--{name})")
    # Width and height in points would keep the picture from shrinking on a phone; the viewBox holds its shape.
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        r'<svg role="img" aria-hidden="true" \1 xmlns:xlink="http://www.w3.org/1999/xlink">',
        text,
        count=1,
    )
