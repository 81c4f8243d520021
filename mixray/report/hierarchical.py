"""Averages with intervals by a hierarchical bootstrap: problems are drawn again, then samples within each drawn problem.

In: the share of right samples of each problem, and how many samples it has. Out: one benchmark's interval. It is there for those who want
it (`report.bootstrap: hierarchical`); the default is Wilson's interval over problems, whose coverage is nearer to what is asked: the noise
of sampling is in the spread of the problems' shares already, and drawing samples again adds it a second time (measured: README.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mixray.report.intervals import ROUND_DIGITS, Block, Interval, quantile, wilson


def hierarchical(block: Block, samples: NDArray[np.int64], confidence: float, num_resamples: int, seed: int) -> Interval:
    """Return one benchmark's mean share with a percentile interval, percentiles as far out as Student's t.

    The samples of several training seeds are drawn from together. Where every sample is right, or none, all resamples are the same and
    Wilson's interval is told.

    Args:
        block: the share of right samples, of shape (seeds, problems).
        samples: how many samples there are, of shape (problems,), over all seeds.
        confidence: of the interval.
        num_resamples: of the bootstrap.
        seed: of the draws.
    """
    values, num_problems = block.mean(axis=0), block.shape[1]
    share = float(values.mean())
    if num_problems == 1 or bool(np.all(values == 0) or np.all(values == 1)):
        return wilson(share, num_problems, confidence)
    outside = float(ndtr(-quantile(confidence, num_problems - 1)))
    means = resampled(values, samples, num_resamples, np.random.default_rng(seed))
    low, high = (round(float(end), ROUND_DIGITS) for end in np.quantile(means, [outside, 1 - outside]))
    return Interval(share, max(0.0, min(share, low)), min(1.0, max(share, high)))


def resampled(values: Block, samples: NDArray[np.int64], num_resamples: int, generator: np.random.Generator) -> Block:
    """Return the means of resamples.

    Problems that show the same are drawn by their number, and their samples as one binomial: the same distribution, with little to draw.
    """
    alike, counts = np.unique(np.stack([np.round(values, ROUND_DIGITS), samples.astype(float)]), axis=1, return_counts=True)
    shares, sizes = np.clip(alike[0], 0, 1), alike[1]
    drawn = generator.multinomial(len(values), counts / len(values), size=num_resamples)
    right = generator.binomial((drawn * sizes).astype(np.int64), shares)
    return np.asarray((right / sizes).sum(axis=1) / len(values), dtype=float)
