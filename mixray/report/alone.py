"""One arm by itself, outside any report: its accuracies with intervals."""

from __future__ import annotations

from typing import Any

from mixray.recipe import Report
from mixray.report.intervals import accuracy
from mixray.report.samples import read_answers
from mixray.rows import SAMPLE_KINDS
from mixray.store import Artefact


def accuracies(scores: Artefact) -> dict[str, dict[str, Any]]:
    """Return accuracy, interval, and numbers of problems, samples and truncated answers of each benchmark.

    The confidence is the recipe's default; the numbers are those of a report.

    Raises:
        MixrayError: nothing was asked, or the rows are damaged.
    """
    told = {}
    for name, answers in read_answers(scores).items():
        interval = accuracy([answers.right[None]], Report().confidence)
        told[name] = {
            "accuracy": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "num_problems": len(answers.problem_ids),
            "num_samples": answers.num_samples,
            "num_truncated": int(answers.counts()[SAMPLE_KINDS.index("truncated")]),
        }
    return told
