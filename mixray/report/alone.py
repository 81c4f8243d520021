"""One arm by itself, outside any report: its accuracies with intervals."""

from __future__ import annotations

from typing import Any

from mixray.recipe import Report
from mixray.report import gaps
from mixray.report.answers import read_answers
from mixray.store import Artefact


def accuracies(scores: Artefact) -> dict[str, dict[str, Any]]:
    """Return accuracy, interval, and numbers of problems, samples and truncated answers of each benchmark.

    The confidence is the recipe's default; with one seed nothing is drawn, so the numbers are those of a report.

    Raises:
        MixrayError: nothing was asked, or the rows are damaged.
    """
    settings = Report()
    told = {}
    for name, answers in read_answers(scores).items():
        interval = gaps.accuracy([answers.right[None]], settings.confidence, settings.num_resamples, 0)
        told[name] = {
            "accuracy": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "num_problems": len(answers.problem_ids),
            "num_samples": answers.num_samples,
            "num_truncated": answers.num_truncated,
        }
    return told
