"""Plots of accuracies, gaps, alpha and student size, drawn from the rows of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixray.report import numerals, svg
from mixray.report.scopes import WEIGHTED
from mixray.report.svg import LINE, WIDTH, Picture

Row = Mapping[str, Any]

ROW, FOOT = 25.0, 42.0
ROLES = ("untouched", "easy", "mix", "hard")
"""The classes that colour marks by what an arm was taught."""

KINDS = (
    "hard - easy", "mix - best single", "mix - easy", "mix - hard", "merge - mix", "merge - easy", "merge - hard", "trained - untouched",
)  # fmt: skip
"""The kinds of gaps in the order they are shown."""


def role(group: Row) -> str:
    """Return the class that colours an arm: the ends of a blend have theirs, all between share one."""
    if group["mixture"] is None:
        return "untouched"
    if group["merged"] is not None:
        return "mix"
    return "easy" if group["alpha"] == 0 else "hard" if group["alpha"] == 1 else "mix"


def score(group: Row, scope: str) -> Row:
    """Return the score of an arm on a benchmark, or on a mean of benchmarks."""
    found: Row = group["scores"].get(scope) or group["weighted" if scope == WEIGHTED else "overall"]
    return found


def rows_frame(labels: Sequence[str], right: float, most: float = 0.42) -> tuple[float, float, float, list[str]]:
    """Return left end, right end and bottom of the room beside row labels, and the labels, each in the middle of its row."""
    left = min(most * WIDTH, max(map(svg.width_of, labels), default=0) + 12)
    parts = [
        svg.text(left - 10, ROW * (place + 0.5) + 4, svg.shortened(label, left - 12), class_="label", text_anchor="end")
        for place, label in enumerate(labels)
    ]
    return left, WIDTH - right, ROW * len(labels), parts


def accuracies(groups: Sequence[Row], arms: Sequence[Row], scope: str, title: str) -> Picture:
    """Draw the accuracy of every arm of one student with its interval; single seeds as small strokes."""
    scores = [score(group, scope) for group in groups]
    left, right, bottom, parts = rows_frame([group["label"] for group in groups], 44)
    axis = svg.linear((100 * each[end] for each in scores for end in ("low", "high")), left + 6, right)
    parts += svg.vertical_grid(axis, 0, bottom, "accuracy, %", svg.compact)
    level = axis.at(100 * scores[0]["accuracy"])
    parts.append(svg.element("line", x1=level, x2=level, y1=0.0, y2=bottom, class_="level"))
    for place, (group, each) in enumerate(zip(groups, scores, strict=True)):
        middle = ROW * (place + 0.5)
        low, here, high = (axis.at(100 * each[end]) for end in ("low", "accuracy", "high"))
        of = f"{group['label']}: {numerals.accuracy(each)}"
        mark = svg.element("line", x1=low, x2=high, y1=middle, y2=middle, class_="range")
        mark += svg.element("circle", cx=here, cy=middle, r=5, class_="dot")
        parts.append(svg.element("g", svg.tooltip(of) + mark, class_=role(group)))
        seeds = [score(arm, scope)["accuracy"] for arm in arms if arm["arm"] in group["arms"]]
        for share in seeds if len(seeds) > 1 else ():
            at = axis.at(100 * share)
            parts.append(svg.element("line", x1=at, x2=at, y1=middle + 5, y2=middle + 10, class_="seed"))
        parts.append(svg.text(WIDTH - 2, middle + 4, f"{100 * each['accuracy']:.1f}", class_="value", text_anchor="end"))
    seeds_told = " Strokes below a dot: single training seeds." if any(len(group["arms"]) > 1 for group in groups) else ""
    note = "Dot: accuracy; bar: its interval; dotted line: the untouched student." + seeds_told
    return Picture(title, svg.document(bottom + FOOT, parts, f"{title}. {_told(groups, scores)}"), note)


def _told(groups: Sequence[Row], scores: Sequence[Row]) -> str:
    return "; ".join(f"{group['label']} {numerals.percent(each['accuracy'])}" for group, each in zip(groups, scores, strict=True))


def ordered(gaps: Sequence[Row]) -> list[Row]:
    """Return gaps as they are read: those that decide first, then each mixture's, those against the untouched student last."""
    return sorted(gaps, key=lambda gap: KINDS.index(gap["kind"]) if gap["kind"] in KINDS else len(KINDS))


def forest(gaps: Sequence[Row], title: str, unit: str = "percentage points") -> Picture:
    """Draw gaps with their intervals about zero: filled where a difference is shown, a diamond where it holds jointly, hollow where not.

    Gaps are shares, drawn as percentage points; those in another `unit` are hundredths of it.
    """
    left, right, bottom, parts = rows_frame([gap["name"].replace(" - ", " − ") for gap in gaps], 44, most=0.5)
    axis = svg.linear([0.0, *(100 * gap[end] for gap in gaps for end in ("low", "high"))], left + 6, right)
    parts += svg.vertical_grid(axis, 0, bottom, unit, svg.signed, most=7)
    parts.append(svg.element("line", x1=axis.at(0), x2=axis.at(0), y1=0.0, y2=bottom, class_="zero"))
    for place, gap in enumerate(gaps):
        middle = ROW * (place + 0.5)
        low, here, high = (axis.at(100 * gap[end]) for end in ("low", "difference", "high"))
        shown = "above" if gap["low"] > 0 else "below" if gap["high"] < 0 else "none"
        mark = svg.element("line", x1=low, x2=high, y1=middle, y2=middle, class_="range")
        mark += _diamond(here, middle) if gap["holds_jointly"] and shown != "none" else _disc(here, middle, shown != "none")
        parts.append(svg.element("g", svg.tooltip(f"{gap['name']}: {numerals.change(gap)}: {gap['verdict']}") + mark, class_=shown))
        parts.append(
            svg.text(WIDTH - 2, middle + 4, numerals.points(gap["difference"]).replace("-", "−"), class_="value", text_anchor="end")
        )
    told = "; ".join(f"{gap['name']} {numerals.change(gap)}, {gap['verdict']}" for gap in gaps)
    note = "Hollow: no difference shown. Filled: shown. Diamond: still shown after correction for the number of gaps."
    return Picture(title, svg.document(bottom + FOOT, parts, f"{title}. {told}"), note)


def _disc(x: float, y: float, filled: bool) -> str:
    return svg.element("circle", cx=x, cy=y, r=5 if filled else 4.5, class_="dot" if filled else "hollow")


def _diamond(x: float, y: float) -> str:
    return svg.element("path", d=f"M{x - 7:.1f} {y:.1f}L{x:.1f} {y - 7:.1f}L{x + 7:.1f} {y:.1f}L{x:.1f} {y + 7:.1f}Z", class_="dot")


def curve(groups: Sequence[Row], untouched: Row, scope: str, title: str) -> Picture:
    """Draw accuracy against alpha for one blend, or one merge, and one student, the untouched student as a dotted line."""
    scores = [score(group, scope) for group in groups]
    level = 100 * score(untouched, scope)["accuracy"]
    left, top, bottom = 44.0, 30.0, 200.0
    x = svg.Axis(min(0.0, *(group["alpha"] for group in groups)), max(1.0, *(group["alpha"] for group in groups)), left + 12, WIDTH - 14)
    y = svg.linear([level, *(100 * each[end] for each in scores for end in ("low", "high"))], bottom, top)
    merged = groups[0]["merged"]
    parts = svg.vertical_grid(
        x, top, bottom, "alpha: weight of the hard student" if merged else "alpha: share of the hard pool", svg.compact
    )
    parts += svg.horizontal_grid(y, left, WIDTH - 4, "accuracy, %", svg.compact)
    parts.append(svg.element("line", x1=left, x2=WIDTH - 4, y1=y.at(level), y2=y.at(level), class_="level"))
    places = [(x.at(group["alpha"]), y.at(100 * each["accuracy"])) for group, each in zip(groups, scores, strict=True)]
    best = max(range(len(groups)), key=lambda place: float(scores[place]["accuracy"]))
    marks = [svg.path(places, class_="line")]
    for place, (group, each, (across, up)) in enumerate(zip(groups, scores, places, strict=True)):
        bar = svg.element("line", x1=across, x2=across, y1=y.at(100 * each["low"]), y2=y.at(100 * each["high"]), class_="range thin")
        of = svg.tooltip(f"alpha {group['alpha']:g}, {group['label']}: {numerals.accuracy(each)}")
        marks.append(svg.element("g", of + bar + (_diamond(across, up) if place == best else _disc(across, up, True))))
    parts.append(svg.element("g", "".join(marks), class_="mix"))
    parts.append(svg.text(WIDTH - 22, y.at(level) - 5, "untouched", class_="tick over", text_anchor="end"))
    note = f"Diamond: the highest, at alpha {groups[best]['alpha']:g}. Bars: each alone; whether two differ, the gaps tell."
    return Picture(title, svg.document(bottom + FOOT, parts, f"{title}. {_told(groups, scores)}"), note)


def scaling(row: Row, title: str) -> Picture:
    """Draw one gap against the size of the student; students of unknown size stand side by side."""
    points = sorted(row["points"], key=lambda point: (point["num_parameters"] is None, point["num_parameters"] or 0))
    known = all(point["num_parameters"] for point in points)
    places = [float(point["num_parameters"]) if known else float(place) for place, point in enumerate(points)]
    left, top, bottom = 44.0, 30.0, 190.0
    x = svg.logarithmic(places, left + 50, WIDTH - 60) if known else svg.Axis(-0.5, max(places) + 0.5, left, WIDTH - 4)
    y = svg.linear([0.0, *(100 * point[end] for point in points for end in ("low", "high"))], bottom, top)
    parts = svg.horizontal_grid(y, left, WIDTH - 4, "percentage points", svg.signed)
    parts.append(svg.element("line", x1=left, x2=WIDTH - 4, y1=y.at(0), y2=y.at(0), class_="zero"))
    parts.append(
        svg.path([(x.at(at), y.at(100 * point["difference"])) for at, point in zip(places, points, strict=True)], class_="line faint")
    )
    for at, point in zip(places, points, strict=True):
        across = x.at(at)
        shown = "above" if point["low"] > 0 else "below" if point["high"] < 0 else "none"
        bar = svg.element("line", x1=across, x2=across, y1=y.at(100 * point["low"]), y2=y.at(100 * point["high"]), class_="range thin")
        of = svg.tooltip(f"{point['student']}: {numerals.change(point)}")
        parts.append(svg.element("g", of + bar + _disc(across, y.at(100 * point["difference"]), shown != "none"), class_=shown))
        parts.append(svg.text(across, bottom + LINE, point["student"], class_="label", text_anchor="middle"))
        if point["num_parameters"]:
            parts.append(
                svg.text(across, bottom + 2 * LINE, svg.compact(float(point["num_parameters"])), class_="tick", text_anchor="middle")
            )
    told = "; ".join(f"{point['student']} {numerals.change(point)}" for point in points)
    note = "Above zero the first of the two is better. Hollow: no difference shown. The line joins students; it is no law."
    return Picture(title, svg.document(bottom + FOOT, parts, f"{title}. {told}"), note)
