"""Rows as long as teachers write them: log-normal, medians of 4,000 tokens (long) and 450 (short), none over 16,384."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MEDIANS = (450, 4_000)
SPREAD = 0.6
CAP = 16_384
PROMPT_SHARE = 1 / 16
"""Of a row's tokens, those that are not trained."""


def lengths(alpha: float, count: int, smaller: int = 1, seed: int = 0) -> NDArray[np.int64]:
    """Return how many tokens each of so many rows has, everything divided by `smaller`; a share alpha of the rows is long."""
    draws = np.random.default_rng(seed)
    medians = np.where(draws.permutation(count) < round(alpha * count), MEDIANS[1], MEDIANS[0])
    drawn = medians * np.exp(draws.normal(0.0, SPREAD, count))
    return np.clip(drawn / smaller, 4, CAP // smaller).astype(np.int64)


def prompt_of(length: int) -> int:
    """Return how many of a row's tokens are its prompt's."""
    return max(1, round(length * PROMPT_SHARE))
