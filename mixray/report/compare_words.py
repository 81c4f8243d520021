"""What `mixray compare` says: the answer in a sentence for each student, and tables that a terminal and Markdown share.

In: what `mixray.report.compare` returns. Out: text. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mixray.report import numerals

Row = Mapping[str, Any]
LONGEST_VALUE = 80


class Section(NamedTuple):
    """A table with a title, and a line before it."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def sentences(found: Row) -> list[str]:
    """Return the answer: for each student what is shown to differ, or the largest difference; then gaps, and what stands on one side."""
    lines = [_of_student(found, student) for student in dict.fromkeys(row["student"] for row in found["scores"])]
    if not found["scores"]:
        lines.append("No student has an arm of one name in both reports, so no scores can be compared.")
    changed = [gap for gap in found["gaps"] if gap["verdict_changed"]]
    if found["gaps"]:
        lines.append(
            f"{len(changed)} of {_plural(len(found['gaps']), 'gap')} {'has' if len(changed) == 1 else 'have'} another verdict in B."
        )
    for side, rows in (("A", found["only_first"]), ("B", found["only_second"])):
        if rows:
            lines.append(f"In {side} alone: " + ", ".join(f"{row['student']} {row['label']}" for row in rows) + ".")
    if found["num_shown"]:
        lines.append(
            f"{found['num_shown']} of {_plural(len(found['scores']), 'difference')} {'is' if found['num_shown'] == 1 else 'are'} shown; "
            f"{found['expected_by_chance']:g} would be by chance alone."
        )
    return [*lines, how_drawn(found)] if found["scores"] else lines


def how_drawn(found: Row) -> str:
    """Return at which confidence, by how many draws and from which seed the differences are told."""
    drawn = found["drawn"]
    confidence = f"{100 * drawn['confidence']:g} %"
    if not any(row["how"] == "paired" for row in found["scores"]):
        return f"Intervals of differences are at {confidence}."
    how = f"paired ones of {drawn['num_resamples']:,} resamples by seed {drawn['seed']}, those of B"
    return f"Intervals of differences are at {confidence}; {how}."


def _of_student(found: Row, student: str) -> str:
    rows = [row for row in found["scores"] if row["student"] == student]
    headline = found["headline"] if any(row["benchmark"] == found["headline"] for row in rows) else rows[0]["benchmark"]
    rows = [row for row in rows if row["benchmark"] == headline]
    fresh = [row for row in rows if row["how"] != "same answers"]
    if not fresh:
        return f"{student}: both reports tell of the same answers."
    shown = [row for row in fresh if row["verdict"].endswith("better")]
    if shown:
        return f"{student}, {headline}: " + "; ".join(_one(row) for row in shown) + "."
    widest = max(fresh, key=lambda row: abs(row["difference"]))
    rest = f" No arm is shown to differ, of {len(fresh)} in both reports." if len(fresh) > 1 else ""
    return f"{student}, {headline}: {_one(widest)}.{rest}"


def _one(row: Row) -> str:
    """Return `B's mix-0.2 is 3.1 points above A's [+0.4, +5.8]`."""
    size = 100 * row["difference"]
    where = f"{abs(size):.1f} points {'above' if size > 0 else 'below'} A's" if round(abs(size), 1) else "level with A's"
    verdict = "" if row["verdict"].endswith("better") else f": {row['verdict']}"
    return f"B's {row['label']} is {where}{interval(row)}{verdict}"


def interval(row: Row) -> str:
    """Return ` [-1.0, +9.3]` in percentage points, or nothing where there is none."""
    return "" if row["low"] is None else f" [{numerals.points(row['low'])}, {numerals.points(row['high'])}]"


def sections(found: Row) -> list[Section]:
    """Return the tables: scores, gaps, and what went in; those without rows are left out."""
    made = [
        Section("Scores", "Differences are B - A in percentage points.",
                ("student", "arm", "benchmark", "A", "B", "B - A", "verdict", "how"), [_score(row) for row in found["scores"]]),
        Section("Gaps", "Of each report by itself; * marks another verdict.",
                ("student", "benchmark", "gap", "A", "B", "A's verdict", "B's verdict"), [_gap(gap) for gap in found["gaps"]]),
        *(_differing(title, found[key]) for title, key in (
            ("Recipe", "recipe"), ("Statistics", "statistics"), ("Versions", "versions"), ("Artefacts", "artefacts"))),
    ]  # fmt: skip
    return [section for section in made if section.rows]


def _score(row: Row) -> list[str]:
    how = row["how"] + (f": {row['why']}" if row["why"] else "")
    sides = [numerals.accuracy(row[side]) for side in ("first", "second")]
    return [row["student"], row["label"], row["benchmark"], *sides, numerals.points(row["difference"]) + interval(row), row["verdict"], how]


def _gap(gap: Row) -> list[str]:
    sides = (gap["first"], gap["second"])
    verdicts = [side["verdict"] for side in sides]
    mark = " *" if gap["verdict_changed"] else ""
    return [gap["student"], gap["benchmark"], gap["name"], *(numerals.change(side) for side in sides), verdicts[0], verdicts[1] + mark]


def _differing(title: str, rows: Iterable[Row]) -> Section:
    cells = [[row["key" if "key" in row else "role"], _value(row["first"]), _value(row["second"])] for row in rows]
    return Section(title, "What is not the same.", ("what", "A", "B"), cells)


def _value(value: Any) -> str:
    if value is None:
        return numerals.NOTHING
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def markdown(found: Row) -> str:
    """Return the whole comparison as Markdown."""
    sides = [f"* {side}: `{found[key]['report']}` ({found[key]['name']})" for side, key in (("A", "first"), ("B", "second"))]
    parts = ["# Two reports compared", "\n".join(sides), "\n".join(f"* {line}" for line in sentences(found))]
    for section in sections(found):
        lines = [section.columns, ["---"] * len(section.columns), *section.rows]
        table = "\n".join("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts += [f"## {section.title}", section.note, table]
    return "\n\n".join(parts) + "\n"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
