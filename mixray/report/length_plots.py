"""Plots of how long responses are: their distribution, and what a budget of tokens would leave of the accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mixray.report import numerals, svg
from mixray.report.looks import Look
from mixray.report.plots import FOOT
from mixray.report.svg import LINE, WIDTH, Picture

Row = Mapping[str, Any]

STRIP = 40.0


def histograms(rows: Sequence[Row], roles: Mapping[str, str], title: str) -> Picture:
    """Draw the response tokens of every arm as a strip of bars over common edges; what was cut at the limit is outlined."""
    edges = [float(edge) for edge in rows[0]["edges"]]
    left = min(0.42 * WIDTH, max(svg.width_of(row["label"]) for row in rows) + 12)
    x = _tokens_axis(edges, left, WIDTH - 8)
    bottom = STRIP * len(rows)
    parts = svg.vertical_grid(x, 0, bottom, "tokens of a response", svg.compact)
    for place, row in enumerate(rows):
        base = STRIP * (place + 1)
        parts.append(svg.text(left - 10, base - 6, svg.shortened(row["label"], left - 12), class_="label", text_anchor="end"))
        parts.append(svg.element("line", x1=left, x2=WIDTH - 8, y1=base, y2=base, class_="base"))
        parts.append(svg.element("g", "".join(_bars(row, x, base)), class_=roles[row["label"]]))
    told = "; ".join(f"{row['label']}: {sum(row['truncated_counts'])} of {sum(row['counts'])} cut" for row in rows)
    note = "Each strip is one arm, its highest bar the commonest length. Outlined: cut off at the limit, never right."
    return Picture(title, svg.document(bottom + FOOT, parts, f"{title}. {told}"), note)


def _tokens_axis(edges: Sequence[float], start: float, end: float) -> svg.Axis:
    """Return an axis over the edges, logarithmic where they were made so: where the last step is far wider than the first."""
    first, last = edges[1] - edges[0], edges[-1] - edges[-2]
    if last > 4 * first and edges[1] > 0:
        return svg.Axis(edges[0] if edges[0] > 0 else edges[1] / 2, edges[-1], start, end, logarithmic=True)
    return svg.Axis(edges[0], edges[-1], start, end)


def _bars(row: Row, x: svg.Axis, base: float) -> list[str]:
    most = max(row["counts"], default=0) or 1
    made = []
    for (low, high), number, cut in zip(pairwise(row["edges"]), row["counts"], row["truncated_counts"], strict=True):
        start, end = x.at(max(float(low), x.low)), x.at(float(high))
        whole, pale = ((STRIP - 6) * part / most for part in (number - cut, cut))
        of = svg.tooltip(f"{row['label']}, {low:,.0f} to {high:,.0f} tokens: {number:,}, {cut:,} of them cut")
        width = max(1.0, end - start - 1)
        bars = svg.element("rect", x=start, y=base - whole, width=width, height=whole, class_="bar") if whole else ""
        if pale:
            bars += svg.element("rect", x=start, y=base - whole - pale, width=width, height=pale, class_="bar cut")
        if bars:
            made.append(svg.element("g", of + bars))
    return made


def budgets(rows: Sequence[Row], looks: Mapping[str, Look], title: str, forced: Sequence[Row] = ()) -> Picture:
    """Draw, for every arm, the share that is right within so many tokens, and beside it that of `forced` arms, made to answer there."""
    points = [point for row in (*rows, *forced) for point in row["points"]]
    left, top, bottom = 44.0, 30.0, 220.0
    x = svg.logarithmic((float(point["tokens"]) for point in points), left, WIDTH - 8)
    ends = [row["points"][-1] for row in rows] + [point for row in forced for point in row["points"]]  # those that have bars
    y = svg.linear([100 * point["accuracy"] for point in points] + [100 * point["high"] for point in ends], bottom, top, zero=True)
    parts = svg.vertical_grid(x, top, bottom, "budget: tokens of a response", svg.compact)
    parts += svg.horizontal_grid(y, left, WIDTH - 8, "right within the budget, %", svg.compact)
    for row in rows:
        look = looks[row["label"]]
        at = [(x.at(float(point["tokens"])), y.at(100 * point["accuracy"])) for point in row["points"]]
        last = row["points"][-1]
        end = svg.element("line", x1=at[-1][0], x2=at[-1][0], y1=y.at(100 * last["low"]), y2=y.at(100 * last["high"]), class_="range thin")
        of = svg.tooltip(f"{row['label']}, whole budget: {numerals.accuracy(last)}")
        parts.append(svg.element("g", of + svg.path(at, class_=f"line {look.dash}") + end, class_=look.colour))
    parts += [_forced(row, looks[row["label"]], x, y, 3.0 * (place - (len(forced) - 1) / 2)) for place, row in enumerate(forced)]
    legend, height = legend_of([(row["label"], looks[row["label"]]) for row in rows], bottom + FOOT + 16)
    told = "; ".join(f"{row['label']} ends at {numerals.percent(row['points'][-1]['accuracy'])}" for row in rows)
    note = "How accuracy grows with the tokens a response may use. A flat line: more room buys nothing. Bars: intervals."
    if forced:
        note += " Rings: a longer response is cut there and made to state its result; set a little apart where arms share a budget."
    return Picture(title, svg.document(height, [*parts, *legend], f"{title}. {told}"), note)


def _forced(row: Row, look: Look, x: svg.Axis, y: svg.Axis, aside: float) -> str:
    """Return the rings of an arm that was made to answer at budgets, joined by a thin line, each with its interval."""
    at = [(x.at(float(point["tokens"])) + aside, y.at(100 * point["accuracy"])) for point in row["points"]]
    marks = [svg.path(at, class_="line thin dotted")]
    for point, (place, level) in zip(row["points"], at, strict=True):
        ends = {"y1": y.at(100 * point["low"]), "y2": y.at(100 * point["high"])}
        of = (
            f"{row['label']}, made to answer at {point['tokens']:,} tokens: {numerals.accuracy(point)}; "
            f"{numerals.percent(point['forced_share'])} cut, {numerals.percent(point['forced_right_share'])} cut and right"
        )
        mark = svg.element("line", x1=place, x2=place, **ends, class_="range thin")
        mark += svg.element("circle", cx=place, cy=level, r=4, class_="hollow")
        marks.append(svg.element("g", svg.tooltip(of) + mark))
    return svg.element("g", "".join(marks), class_=look.colour)


def legend_of(entries: Sequence[tuple[str, Look]], top: float) -> tuple[list[str], float]:
    """Return a legend in as many columns as fit, and where it ends."""
    wide = max(svg.width_of(label) for label, _ in entries) + 38
    columns = max(1, int(WIDTH / wide))
    parts = []
    for place, (label, look) in enumerate(entries):
        x, y = (place % columns) * WIDTH / columns, top + LINE * 1.2 * (place // columns)
        stroke = svg.element("line", x1=x + 2, x2=x + 26, y1=y, y2=y, class_=f"line {look.dash}")
        parts.append(svg.element("g", stroke, class_=look.colour) + svg.text(x + 32, y + 4, label, class_="label"))
    return parts, top + LINE * 1.2 * -(-len(entries) // columns)
