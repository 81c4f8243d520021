"""The numbers of the report as Markdown: what became of the samples, gaps, alpha curves, sizes, budgets, costs, problems worth reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mixray.report import numerals
from mixray.report.rates import QUANTILES
from mixray.rows import SAMPLE_KINDS

Row = Mapping[str, Any]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def samples(report: Row) -> list[str]:
    """Return what became of the samples, their lengths, and avg@n, pass@k and maj@k where there are several samples."""
    titles = [*(kind.replace("_", " ") for kind in SAMPLE_KINDS[1:]), *(f"{name} tokens" for name in QUANTILES)]
    rows = [
        [
            row["student"],
            row["label"],
            *(numerals.rate(row["overall"], f"{kind}_share") for kind in SAMPLE_KINDS[1:]),
            *(numerals.count(row["overall"]["token_quantiles"][name]) for name in QUANTILES),
        ]
        for row in report["groups"]
    ]
    first = "What became of the samples that are not right, each counted once and weighed as the accuracy is, and how long responses are:"
    return [
        "### Samples", first, table(["student", "trained on", *titles], rows), *_several(report), *_questions(report),
    ]  # fmt: skip


def _several(report: Row) -> list[str]:
    """Return avg@n, pass@k and maj@k by scope, where there are several samples."""
    rows = []
    for row in report["groups"]:
        for scope, score in {**row["scores"], report["headline"]: row["overall"]}.items():
            for k in sorted(filter(lambda k: k != "1", score["pass_at"]), key=int):  # @1 is the average
                cells = [numerals.at(score, name, k) for name in ("pass_at", "maj_at")]
                average = f"avg@{score['samples_per_problem']} {numerals.accuracy(score)}"
                rows.append([row["student"], row["label"], scope, average, k, *cells])
    if not rows:
        return []
    return [
        "The same samples as pass@k (one of k right) and maj@k (the most frequent answer of k right), over all draws of k:",
        table(["student", "trained on", "benchmark", "average", "k", "pass@k", "maj@k"], rows),
    ]


def _questions(report: Row) -> list[str]:
    """Return the mean over all questions beside the mean of benchmarks, where there are several benchmarks."""
    if report["weighted_scope"] is None:
        return []
    rows = [
        [row["student"], row["label"], numerals.accuracy(row["overall"]), numerals.accuracy(row["weighted"])] for row in report["groups"]
    ]
    return [
        "The mean of benchmarks weighs each benchmark the same, as the paper does; the mean over all questions each question:",
        table(["student", "trained on", report["headline"], report["weighted_scope"]], rows),
    ]


def gaps(report: Row) -> str:
    """Return the table of gaps."""
    return table(
        ["student", "benchmark", "gap", "difference", "verdict", "holds with all its others", "could have shown"],
        (
            [
                gap["student"],
                gap["benchmark"],
                gap["name"],
                numerals.change(gap),
                gap["verdict"],
                "yes" if gap["holds_jointly"] else numerals.NOTHING if gap["low"] <= 0 <= gap["high"] else "no",
                f"{100 * gap['detectable']:.1f}",
            ]
            for gap in report["gaps"]
        ),
    )


def curves(report: Row) -> list[str]:
    """Return accuracy by alpha on the headline, for blends of at least three alphas."""
    rows = []
    for curve in report["alpha_curves"]:
        if curve["benchmark"] == report["headline"] and len(curve["points"]) > 2:
            cells = ", ".join(f"{numerals.alpha(point['alpha'])}: {numerals.accuracy(point)}" for point in curve["points"])
            rows.append([curve["student"], curve["blend"], numerals.alpha(curve["best_alpha"]), cells])
    return ["### Alpha", table(["student", "blend", "highest at", "accuracy by alpha"], rows)] if rows else []


def scaling(report: Row) -> list[str]:
    """Return how the gaps of several students change with their size, on the headline."""
    rows = [
        [
            row["name"],
            point["student"],
            numerals.parameters(point["num_parameters"]).strip(" ()") or numerals.NOTHING,
            numerals.change(point),
        ]
        for row in report["scaling"]
        if row["benchmark"] == report["headline"]
        for point in row["points"]
    ]
    return ["### Gaps by student size", table(["gap", "student", "parameters", "difference"], rows)] if rows else []


def forced(report: Row) -> list[str]:
    """Return what arms are right of where they were made to answer at a budget of tokens, on the headline; nothing where none was."""
    rows = [
        [
            row["student"],
            row["label"],
            numerals.count(point["tokens"]),
            numerals.rate(point, "unforced_share"),
            numerals.accuracy(point),
            numerals.rate(point, "forced_share"),
            numerals.rate(point, "forced_right_share"),
        ]
        for row in report["forced_budgets"]
        if row["benchmark"] == report["headline"]
        for point in row["points"]
    ]
    if not rows:
        return []
    told = (
        "A response longer than a budget of tokens is cut there and the student made to state its result. Of all samples: right within the "
        "budget as they are, right when made to answer, cut, and cut and right for what was said then."
    )
    titles = ["student", "trained on", "budget", "unforced", "made to answer", "cut", "cut and right"]
    return ["### Made to answer", told, table(titles, rows)]


def costs(report: Row) -> list[str]:
    """Return what each arm cost, and what a point over the untouched student cost; nothing where nothing was trained."""
    rows = [
        [
            row["student"],
            row["label"],
            numerals.count(row["teacher_tokens"]),
            numerals.duration(row["teacher_seconds"]),
            _money(row["teacher_cost"], row["currency"]),
            numerals.duration(row["training_seconds"]),
            numerals.points(row["points"] / 100) + ("" if row["shown"] else " (not shown)"),
            numerals.count(row["teacher_tokens_per_point"]),
            numerals.duration(row["training_seconds_per_point"]),
            _money(row["cost_per_point"], row["currency"]),
        ]
        for row in report["costs"]
    ]
    if not rows:
        return []
    titles = [
        "student", "trained on", "teacher tokens", "teacher time", "price", "training", "points gained", "teacher tokens per point",
        "training per point", "price per point",
    ]  # fmt: skip
    told = (
        "A mixture pays for the share of a pool's right traces that it uses, wrong answers with them. A dash: not known, or nothing gained."
    )
    return ["### What a point cost", told, table(titles, rows)]


def _money(amount: float | None, currency: str | None) -> str:
    return numerals.NOTHING if amount is None else f"{amount:,.2f} {currency or ''}".strip()


def cases(report: Row) -> list[str]:
    """Return the problems picked to be read side by side."""
    if not report["cases"]:
        return []
    rows = [[row["student"], row["benchmark"], row["problem_id"], row["why"]] for row in report["cases"]]
    told = "Drawn by the report's seed among all that a sentence holds of, at most two for each; the responses are in `index.html`."
    return ["### Problems worth reading", told, table(["student", "benchmark", "problem", "why"], rows)]
