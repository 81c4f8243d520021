"""What a score tells beside its accuracy: what became of the samples, how long they are, pass@k and maj@k."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from mixray.report.intervals import Block
from mixray.report.samples import Answers
from mixray.rows import SAMPLE_KINDS

QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def shares(told: Sequence[Answers]) -> dict[str, float]:
    """Return the shares of samples that are not right, by kind; with the right ones they make 1, each sample counted once."""
    counts = np.sum([answers.counts() for answers in told], axis=0)
    return {f"{kind}_share": float(count / counts.sum()) for kind, count in zip(SAMPLE_KINDS[1:], counts[1:], strict=True)}


def lengths(told: Sequence[Answers]) -> dict[str, Any]:
    """Return the mean of the responses' tokens and their quantiles."""
    tokens = np.concatenate([answers.tokens for answers in told])
    found = np.quantile(tokens, list(QUANTILES.values()))
    return {
        "mean_response_tokens": float(tokens.sum() / len(tokens)),
        "token_quantiles": {name: float(value) for name, value in zip(QUANTILES, found, strict=True)},
    }


def sample_counts(most: int) -> list[int]:
    """Return the k of pass@k and maj@k: the powers of two up to n, and n."""
    return sorted({*(2**power for power in range(most.bit_length())), most})


def passed(answers: Answers, k: int) -> Block:
    """Return pass@k of each problem without bias: 1 - C(n - c, k) / C(n, k) of its c right in n samples (Chen et al. 2021).

    Raises:
        ValueError: a problem has fewer samples.
    """
    if k > answers.samples_per_problem:
        raise ValueError(f"pass@{k} of {answers.samples_per_problem} samples")
    found = np.empty(len(answers.problem_ids))
    for num_samples in np.unique(answers.samples):
        of = answers.samples == num_samples
        found[of] = _passed(int(num_samples), k)[answers.num_right[of]]
    return found


@cache
def _passed(num_samples: int, k: int) -> Block:
    """Return pass@k by the number of right samples, of shape (num_samples + 1,)."""
    right, step = np.arange(num_samples + 1)[:, None], np.arange(k)
    return np.asarray(1 - np.prod(np.maximum(num_samples - right - step, 0) / (num_samples - step), axis=1), dtype=float)
