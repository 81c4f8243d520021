"""The report as Markdown, for a terminal, a pull request or a README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mixray.report import markdown_numbers, numerals, shifts, training_words, words
from mixray.report.curves import SMOOTHED_PARTS
from mixray.report.markdown_numbers import table

Row = Mapping[str, Any]


def render(report: Row) -> str:
    """Return report.md."""
    parts = [
        f"# Report of `{report['name']}`",
        f"Intervals, in brackets, hold the true value at {100 * report['confidence']:g}%. Changes are percentage points. {words.WITHOUT}",
        "## The answer",
        f"```\n{words.answer(report)}\n```",
        "## Arms, pooled over training seeds",
        _arms(report),
        *markdown_numbers.samples(report),
        "## Gaps",
        "Paired on the same problems, in percentage points. The last column is the gap that this test could have shown four times in five;"
        " the one before it is about all gaps of the same student on the same benchmark, or mean (Holm's correction).",
        report["multiplicity"]["text"],
        markdown_numbers.gaps(report),
        *markdown_numbers.curves(report),
        *markdown_numbers.scaling(report),
        *markdown_numbers.forced(report),
        *markdown_numbers.costs(report),
        *markdown_numbers.cases(report),
        *shifts.in_words(report),
        "## Mixtures",
        f"Shares are those of the hard pool. {words.too_long(report)}",
        _mixtures(report),
        "What each step left, as rows of each pool:",
        _steps(report),
        "## Training",
        *_training(report),
        "## Overlaps",
        _overlaps(report["overlaps"]),
        *([_hits(report)] if report["overlaps"]["listed_hits"] else []),
        "## Pools",
        _pools(report),
        "## Where it comes from",
        table(["what", "artefact"], ([row["role"], f"`{row['label']}`"] for row in report["provenance"]["artefacts"])),
        ", ".join(f"{name} {version}" for name, version in report["provenance"]["versions"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def _arms(report: Row) -> str:
    scopes = report["scopes"]
    rows = []
    for row in report["groups"]:
        scores = [numerals.accuracy(row["scores"].get(scope) or row["overall"]) for scope in scopes]
        gap = words.against_untouched(report, row) if row["mixture"] is not None else None
        rows.append(
            [
                row["student"],
                row["label"] + words.origin(row) + ("" if row["matched"] else " *"),
                numerals.alpha(row["alpha"]),
                str(len(row["arms"])),
                *scores,
                numerals.change(gap) if gap else numerals.NOTHING,
                words.direction(gap) if gap else numerals.NOTHING,
                numerals.count(row["mean_response_tokens"]),
                numerals.rate(row["overall"], "truncated_share"),
            ]
        )
    return table(
        ["student", "trained on", "alpha", "arms", *scopes, "against untouched", "verdict", "tokens per response", "truncated"], rows
    )


def _mixtures(report: Row) -> str:
    return table(
        ["mixture", "alpha", "rows", "row share", "token share", "loss token share", "too long"],
        (
            [
                row["name"],
                numerals.alpha(row["alpha"]),
                numerals.count(row["num_rows"]),
                *(numerals.percent(row[share]) for share in ("row_share", "token_share", "loss_token_share")),
                numerals.count(row["dropped"]),
            ]
            for row in report["mixtures"]
        ),
    )


def _steps(report: Row) -> str:
    return table(
        ["mixture", "after", "problems", "rows"],
        (
            [
                row["name"],
                step["step"],
                numerals.count(step["num_problems"]),
                ", ".join(f"{numerals.count(counts['rows'])} {pool}" for pool, counts in step["pools"].items()),
            ]
            for row in report["mixtures"]
            for step in row["steps"]
        ),
    )


def _training(report: Row) -> list[str]:
    students = dict.fromkeys(row["student"] for row in report["groups"])
    parts = [f"**{student}.** {' '.join(training_words.told(report, student))}" for student in students]
    rows = [row for row in report["arms"] if row["training"] is not None]
    if not rows:
        return parts
    smoothed = f"smoothed over one in {SMOOTHED_PARTS} of the steps"
    shape = f"The curve is the loss from the first step to the last, {smoothed}, each between its own least and greatest value."
    return [*parts, training_words.DANGER, _trained(report, rows), f"{shape} {training_words.THINNED} The plots are in `index.html`."]


def _trained(report: Row, rows: Iterable[Row]) -> str:
    titles = [
        "arm", "steps", "rows", "trained tokens", "passes", "curve", "first loss", "last loss", "time", "tokens/s", "MFU", "room left",
        "peak memory",
    ]  # fmt: skip
    cells = []
    for row in rows:
        told, curve = row["training"], report["curves"].get(row["arm"])
        cells.append(
            [
                row["arm"],
                *(numerals.count(told[key]) for key in ("num_steps", "num_rows", "num_loss_tokens")),
                numerals.passes(told),
                numerals.sparkline(curve["smoothed_loss"]) if curve else numerals.NOTHING,
                *(numerals.loss(told[key]) for key in ("first_loss", "last_loss")),
                numerals.duration(told["seconds"]),
                numerals.count(told["tokens_per_second"]),
                *(numerals.percent(told[key]) for key in ("mfu", "padding_share")),
                numerals.memory(told["peak_memory_bytes"]),
            ]
        )
    return table(titles, cells)


def _overlaps(overlaps: Row) -> str:
    contaminated, problems, repeated = (numerals.count(overlaps[key]) for key in ("num_contaminated", "num_problems", "num_repeated"))
    return f"{contaminated} of {problems} training problems overlap a benchmark; {repeated} repeat another training problem."


def _hits(report: Row) -> str:
    return table(
        ["problem", "benchmark", "its problem", "how"],
        ([hit["problem_id"], hit["benchmark"], hit["benchmark_id"], hit["tier"]] for hit in report["overlaps"]["listed_hits"]),
    )


def _pools(report: Row) -> str:
    return table(
        ["teacher", "traces", "right", "wrong", "unknown", "right by judge", "truncated", "tokens per right trace"],
        (
            [
                row["teacher"],
                *(
                    numerals.count(row[key])
                    for key in ("num_traces", "right", "wrong", "unknown", "right_by_judge", "truncated", "mean_right_tokens")
                ),
            ]
            for row in report["pools"]
        ),
    )
