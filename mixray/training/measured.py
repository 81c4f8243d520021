"""What was measured of a student, as its card tells it: scores, the distance to the untouched student, limits, the hub's model-index.

In: figures of a report, or of scores. Out: Markdown, and the head's entries. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixray.card import KEPT, NOTHING, cell, code, table

TOLD_SETTINGS = {
    "student_prompt": "user turn", "num_samples": "answers per problem", "temperature": "temperature", "top_p": "top-p",
    "max_tokens": "most tokens of an answer", "seed": "seed of sampling",
}  # fmt: skip
"""The settings of an evaluation that a card tells."""


@dataclass(frozen=True)
class Score:
    """How a student did on one benchmark; without an interval where nobody has worked one out."""

    benchmark: str
    accuracy: float
    num_problems: int
    source: str
    """Label of the artefact of kind `scores`."""
    low: float | None = None
    high: float | None = None
    num_samples: int | None = None
    """Answers in all: problems times answers per problem."""
    truncated_share: float | None = None


@dataclass(frozen=True)
class Gap:
    """How far a student is from the untouched one on a benchmark, paired problem by problem."""

    benchmark: str
    difference: float
    low: float
    high: float
    verdict: str
    num_seeds: int
    """Training seeds it is over."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a student."""

    scores: Sequence[Score] = ()
    gaps: Sequence[Gap] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the evaluation."""
    confidence: float = 0.95
    report: str | None = None
    """Label of the report the figures are from."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages that made the figures."""


def result(score: Score, measured: Measured) -> dict[str, Any]:
    """Return one entry of the hub's model-index; accuracies are percentages there."""
    per_problem = _per_problem(score)
    interval = "" if score.low is None or score.high is None else f", {100 * measured.confidence:g}% interval {_interval(score)}"
    metric = {"type": "accuracy", "value": round(100 * score.accuracy, 2), "name": f"avg@{per_problem or 1}, percent right{interval}"}
    return {
        "task": {"type": "text-generation", "name": "mathematical reasoning"},
        "dataset": {"name": score.benchmark, "type": score.benchmark},
        "metrics": [metric],
    }


def _per_problem(score: Score) -> int | None:
    return None if score.num_samples is None or not score.num_problems else round(score.num_samples / score.num_problems)


def _interval(score: Score) -> str:
    return NOTHING if score.low is None or score.high is None else f"[{100 * score.low:.1f}, {100 * score.high:.1f}]"


def scores_told(measured: Measured) -> list[str]:
    """Return the table of scores, and how they were asked for."""
    rows = []
    for score in measured.scores:
        truncated = NOTHING if score.truncated_share is None else f"{100 * score.truncated_share:.1f} %"
        per_problem = _per_problem(score)
        cells = [cell(score.benchmark), f"{100 * score.accuracy:.1f} %", _interval(score), f"{score.num_problems:,}"]
        rows.append([*cells, NOTHING if per_problem is None else f"{per_problem}", truncated, code(score.source)])
    titles = ["benchmark", "right", f"{100 * measured.confidence:g} % interval", "problems", "answers each", "cut off", "from"]
    told = [
        f"{words}: {json.dumps(measured.asked[key], ensure_ascii=False)}" for key, words in TOLD_SETTINGS.items() if key in measured.asked
    ]
    asked = (
        [f"How it was asked: {cell(', '.join(told))}. No stop strings were sent; an answer that was cut off is not right."] if told else []
    )
    return [table(titles, rows), *asked]


def gaps_told(measured: Measured) -> list[str]:
    """Return the table of distances to the untouched student, and what they are."""
    rows = [
        [
            cell(gap.benchmark),
            f"{100 * gap.difference:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
            cell("above" if gap.low > 0 else "below" if gap.high < 0 else gap.verdict),
            f"{gap.num_seeds}",
        ]
        for gap in measured.gaps
    ]
    note = f"Percentage points, paired on the same problems, with {100 * measured.confidence:g} % intervals."
    return [note, table(["benchmark", "difference", "verdict", "training seeds"], rows)]


def limits(measured: Measured, contamination: str | None = None) -> list[str]:
    """Return what a reader should not take the figures for; `contamination` is what is known of the training problems."""
    found = []
    if not measured.scores:
        found.append("It was not measured on any benchmark.")
    elif not measured.gaps:
        found.append("No report tells how far it is from the model it was made from.")
    if unshown := [gap.benchmark for gap in measured.gaps if gap.low <= 0 <= gap.high]:
        found.append(f"It is not shown to differ from the untouched student on {', '.join(map(cell, unshown))}.")
    if lower := [gap.benchmark for gap in measured.gaps if gap.high < 0]:
        found.append(f"It is worse than the untouched student on {', '.join(map(cell, lower))}.")
    if measured.scores and max((gap.num_seeds for gap in measured.gaps), default=1) == 1:
        found.append("One training seed: how far another would fall from these figures was not measured, and no interval holds it.")
    if cut := [f"{cell(score.benchmark)} ({100 * score.truncated_share:.0f} %)" for score in measured.scores if score.truncated_share]:
        found.append(f"Answers were cut off at the token limit, and count as not right, on {', '.join(cut)}.")
    if contamination and KEPT in contamination:
        found.append("Problems that its benchmarks ask were among those it was trained on.")
    if measured.scores:
        found.append("Verdicts are those of a rule on final answers; the reasoning before them was not judged.")
    return [*found, "It was trained for mathematics alone; nothing was measured of other tasks, other languages, or safety."]
