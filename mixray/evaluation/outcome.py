"""What an arm's answers to a benchmark came to, in figures.

In: SCORE rows. Out: numbers. Every sample is counted once, under the first that holds: right, error, truncated, looping, no answer,
unknown, wrong; so wrong is what was read, finished, and is not the gold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mixray import rows


def figures(samples: Sequence[Mapping[str, Any]], num_problems: int) -> dict[str, Any]:
    """Return the figures of one benchmark; `num_looping` counts what repeats itself, cut off or not, `errors` is the same as `error`."""
    kinds = Counter(map(rows.sample_kind, samples))
    asked = [row for row in samples if row["finish_reason"] != "error"]
    tokens = [row["num_response_tokens"] for row in asked]
    by_judge = sum(row["judge_verdict"] is not None and row["verdict"] == "right" and row["rule_verdict"] != "right" for row in samples)
    return {
        "accuracy": kinds["right"] / len(samples),
        "num_problems": num_problems,
        "num_samples": len(samples),
        "samples_per_problem": len(samples) / num_problems,
        **{kind: kinds[kind] for kind in rows.SAMPLE_KINDS},
        "errors": kinds["error"],
        "num_looping": sum(row["status"] == "looping" for row in samples),
        "mean_repetition": sum(row["repetition"] for row in asked) / max(len(asked), 1),
        "response_tokens": sum(tokens),
        "mean_response_tokens": sum(tokens) / max(len(asked), 1),
        "most_response_tokens": max(tokens, default=0),
        "request_seconds": sum(row["seconds"] for row in samples),
        "right_by_judge": by_judge,
    }


def of_asking(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outcome of scores says of the asking, which other verdicts on the same answers keep.

    An outcome written before one of these was told lacks it, and so will theirs.
    """
    return {key: told[key] for key in ("seconds", "num_adopted", "through") if key in told}


def in_words(outcome: Mapping[str, Any]) -> str:
    """Return accuracies in one line, and what should be known before they are believed."""
    told = [f"{name} {out['accuracy']:.1%}" + _cut(out) for name, out in outcome["benchmarks"].items()]
    return "; ".join([", ".join(told), *outcome["warnings"]])


def _cut(out: Mapping[str, Any]) -> str:
    return f" ({out['truncated'] / out['num_samples']:.0%} cut off)" if out["truncated"] else ""


def warnings(num_problems: Mapping[str, int], published: Mapping[str, int | None]) -> list[str]:
    """Return a line for each benchmark that has another number of problems than it is known to have."""
    return [
        f"{name} has {num_problems[name]:,} problems here, {known:,} as published"
        for name, known in published.items()
        if known is not None and num_problems[name] != known
    ]
