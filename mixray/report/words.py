"""The answer in words, made from the rows of the report: for the terminal, the page and the Markdown alike.

It names a best mixture only where the intervals show one, and says so where they do not: with how large a gap would have been shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixray.naming import UNTOUCHED
from mixray.report import numerals

Row = Mapping[str, Any]
TOLD = ("hard - easy", "mix - best single", "merge - easy", "merge - hard", "merge - mix")
"""The kinds of gaps that are part of the answer."""
WITHOUT = (
    "Counts, lengths, costs, and shares of tokens, rows and traces tell what is there; they have no interval unless one stands beside them."
)
"""Which numbers have no interval: what follows what is said of those that have one."""


def answer(report: Row) -> str:
    """Return the answer as lines for the terminal: every arm against the untouched student, then what is best.

    Args:
        report: the content of report.json.
    """
    lines = []
    for student in dict.fromkeys(row["student"] for row in report["groups"]):
        lines += [_title(report, student), *_arms(report, student), *(f"  {line}" for line in verdict(report, student))]
    return "\n".join([*lines, *across(report)])


def too_long(report: Row) -> str:
    """Return what became of examples that were too long, with what was cut in the mixtures that cut them."""
    cut = [row for row in report["mixtures"] if "cut" in row]
    if not cut:
        return "Traces that are too long are left out before anything is mixed, never cut."
    told = ["Traces that are too long are left out before anything is mixed, but in controls that cut them."]
    for row in cut:
        rows, tokens = (numerals.count(sum(counts[unit] for counts in row["cut"].values())) for unit in ("rows", "tokens"))
        pools = ", ".join(f"{numerals.count(counts['rows'])} of {pool}" for pool, counts in row["cut"].items())
        told.append(
            f"{row['name']}: {rows} of {numerals.count(row['num_rows'])} rows ({pools}) were cut at {numerals.count(row['max_tokens'])} "
            f"tokens and lost {tokens}, their answer and their end of turn among them; counts and shares are of what was trained; without "
            f"the limit the share of tokens would be {numerals.percent(row['before']['token_share'])}."
        )
    return " ".join(told)


def verdict(report: Row, student: str) -> list[str]:
    """Return what is shown about one student: its best mixture, its distance to the others, the hard-easy gaps, and those of merges."""
    found = next((row for row in report["answers"] if row["student"] == student), None)
    if found is None:
        return ["Nothing was trained, so there is nothing to compare."]
    lines = [best(found, _changes(report, student, found["benchmark"]))]
    for gap in report["gaps"]:
        if gap["student"] == student and gap["kind"] in TOLD and gap["benchmark"] == found["benchmark"]:
            lines.append(told(gap))
    lines += [line for line in (power(report, student), jointly(report, student), seeds(report, student)) if line]
    if not all(row["matched"] for row in report["groups"] if row["student"] == student):
        lines.append("Arms marked * were trained with other settings: their differences are not due to the data alone.")
    return lines


def told(gap: Row) -> str:
    """Return one sentence on a gap: what it is, and what was shown, alone and together with the others."""
    sentence = f"{gap['name']}: {numerals.change(gap)} points: {gap['verdict']}"
    if gap["low"] <= 0 <= gap["high"]:
        return f"{sentence}."
    return (
        f"{sentence}."
        if gap["holds_jointly"]
        else f"{sentence}, taken alone; not once all gaps of {gap['student']} on {gap['benchmark']} are to hold together."
    )


def power(report: Row, student: str) -> str:
    """Return how large a gap this test could have shown; nothing where no two arms were compared."""
    of = [gap for gap in report["gaps"] if gap["student"] == student and gap["benchmark"] == report["headline"]]
    if not of:
        return ""
    gap = next((gap for gap in of if gap["kind"] == "hard - easy"), of[0])
    detectable = 100 * gap["detectable"]
    size = f"{detectable:.0f}" if detectable >= 10 else f"{detectable:.1f}"
    problems = f"{numerals.count(gap['num_problems'])} problem{'' if gap['num_problems'] == 1 else 's'}"
    return f"With {problems} this test could have shown a gap of {size} points or more ({gap['name']}, four times in five)."


def jointly(report: Row, student: str) -> str:
    """Return how many of one student's gaps are shown, alone and all at once; nothing where there are fewer than two."""
    of = [gap for gap in report["gaps"] if gap["student"] == student and gap["benchmark"] == report["headline"]]
    of = [gap for gap in of if gap["kind"] != "mix - best single"]
    if len(of) < 2:
        return ""
    shown, held = sum(not gap["low"] <= 0 <= gap["high"] for gap in of), sum(gap["holds_jointly"] for gap in of)
    by_chance = (1 - report["confidence"]) * len(of)
    return (
        f"Of {len(of)} gaps on {report['headline']} {shown} {'is' if shown == 1 else 'are'} shown one by one (about {by_chance:.1f} would"
        f" be by chance if no arm differed), {held} when all of these are to hold together."
    )


def seeds(report: Row, student: str) -> str:
    """Return what training seeds mean for the intervals: with one nothing is known of them, with two hardly anything."""
    counts = {len(row["seeds"]) for row in report["groups"] if row["student"] == student and row["mixture"] is not None}
    if counts == {1}:
        return "Every arm was trained with one seed: the intervals speak of problems, not of what another seed would have given."
    if 2 in counts:
        return "Two seeds hardly tell how much seeds differ, so the intervals are wide; a third seed would narrow them most."
    return ""


def across(report: Row) -> list[str]:
    """Return, for each hard - easy gap that several students have, what is shown for which of them, by size."""
    lines = []
    for row in report["scaling"]:
        if row["kind"] != "hard - easy" or row["benchmark"] != report["headline"]:
            continue
        each = [f"{point['student']}{numerals.parameters(point['num_parameters'])} {numerals.change(point)}" for point in row["points"]]
        shown = {
            "above zero": [point["student"] for point in row["points"] if point["low"] > 0],
            "below zero": [point["student"] for point in row["points"] if point["high"] < 0],
            "not shown to differ from zero": [point["student"] for point in row["points"] if point["low"] <= 0 <= point["high"]],
        }
        where = "; ".join(f"{what} for {', '.join(names)}" for what, names in shown.items() if names)
        lines.append(f"{row['name']} across students: {', '.join(each)}. It is {where}.")
    return lines


def best(found: Row, changes: Sequence[Row]) -> str:
    """Return one sentence or two on the mixture or merge with the highest accuracy, and on whether it is shown to be the best.

    Args:
        found: the student's row of `answers`.
        changes: every mixture and merge against the untouched student; the highest may have the widest interval.
    """
    name, gap, noun = found["best"], found["change"], found["noun"]
    against = f"{numerals.change(gap)} points against the untouched student"
    if gap["low"] <= 0:
        return _highest_not_shown(found, changes, against)
    if not found["others"]:
        return f"{name} helps: {against}. There is no other {noun} to compare it with."
    if found["shown"]:
        return f"The best {noun} is {name}: {against}, and {_others(found['others'])}."
    ties = [row for row in found["others"] if row["low"] <= 0]
    return f"No best {noun} is shown: {name} is highest ({against}), but no difference is shown against {_ties(ties)}."


def _highest_not_shown(found: Row, changes: Sequence[Row], against: str) -> str:
    name, noun = found["best"], found["noun"]
    helping = [row for row in changes if row["low"] > 0]
    if helping:
        shown = ", ".join(f"{row['hard']} ({numerals.change(row)})" for row in helping)
        return f"{name} is highest but not shown to help ({against}); shown to help {'is' if len(helping) == 1 else 'are'} {shown}."
    if all(row["high"] < 0 for row in (found["change"], *changes)):
        return f"No {noun} helps: even {name}, the highest, is below the untouched student ({against})."
    if found["change"]["high"] < 0:
        return f"No {noun} is shown to help: {name}, the highest, is below the untouched student ({against})."
    return f"No {noun} is shown to help: {name}, the highest, is at {against}, so no difference is shown."


def _others(others: list[Row]) -> str:
    nearest = others[0]
    return f"{numerals.change(nearest)} against the next best, {nearest['easy']}"


def _ties(ties: list[Row]) -> str:
    return ", ".join(f"{row['easy']} ({numerals.change(row)})" for row in ties)


def _title(report: Row, student: str) -> str:
    untouched = next(row for row in report["groups"] if row["student"] == student and row["mixture"] is None)
    overall = untouched["overall"]
    return (
        f"{student}, untouched: {numerals.accuracy(overall)} of {numerals.count(overall['num_problems'])} problems"
        f" ({100 * report['confidence']:g}% intervals)"
    )


def _arms(report: Row, student: str) -> list[str]:
    rows = [row for row in report["groups"] if row["student"] == student and row["mixture"] is not None]
    width = max((len(row["label"]) for row in rows), default=0) + 1
    lines = []
    for row in rows:
        gap = against_untouched(report, row)
        mark = " " if row["matched"] else "*"
        lines.append(
            f"  {row['label'] + mark:<{width}}  {numerals.accuracy(row['overall']):<22}"
            f"  {numerals.change(gap):<24} points against untouched: {direction(gap)}{origin(row)}"
        )
    return lines


def _changes(report: Row, student: str, benchmark: str) -> list[Row]:
    of = (student, UNTOUCHED, benchmark)
    return [gap for gap in report["gaps"] if (gap["student"], gap["easy"], gap["benchmark"]) == of]


def against_untouched(report: Row, group: Row, benchmark: str | None = None) -> Row:
    """Return the gap between a pooled row and the untouched student, on the headline benchmark where none is named."""
    wanted = benchmark or report["headline"]
    return next(
        gap
        for gap in report["gaps"]
        if (gap["student"], gap["hard"], gap["easy"], gap["benchmark"]) == (group["student"], group["label"], UNTOUCHED, wanted)
    )


def origin(row: Row) -> str:
    """Return ` (merge of long and short, ties)` for a merge, and nothing for what was trained."""
    of = row["merged"]
    return f" (merge of {of['hard']} and {of['easy']}, {of['method']})" if of else ""


def direction(gap: Row) -> str:
    """Return `above`, `below` or `no difference shown`."""
    return "above" if gap["low"] > 0 else "below" if gap["high"] < 0 else str(gap["verdict"])
