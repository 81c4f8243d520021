"""Accuracies with intervals, and paired differences with intervals. Pure numbers: arrays in, intervals out.

Data come as blocks, one array per benchmark, of shape (seeds, problems): the share of samples that were right. Blocks are averaged
with equal weight, as the paper averages benchmarks.

One seed, an accuracy: Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for small samples and for shares
near 0 or 1), with the effective sample size where problems were asked several times or several benchmarks are averaged (Korn and
Graubard 1998). For one sample per problem this is Wilson's interval exactly.

Everything else: a bootstrap over problems, percentile intervals. The two arms of a difference answer the same problems, so a problem is
drawn jointly for both. Three things keep small samples honest:

* Two made-up problems are added before drawing, one won by each side (one right and one wrong for an accuracy): the adjustment of
  Bonett and Price (2012) for paired shares. Without it ten ties in ten problems would be told as "no difference, interval [0, 0]".
* With several seeds each resample also adds a seed effect, drawn from a t distribution with (seeds - 1) degrees of freedom and as wide
  as the seeds differ by more than chance over problems explains (two-way variance components, as in Cameron, Gelbach and Miller 2011).
  Drawing whole seeds from two or three again would show too little: no resample could leave their range.
* With one seed no such effect can be seen, and the interval speaks of problems alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float64]

NO_DIFFERENCE = "no difference shown"
ACCURACY_EXTREMES = (0.0, 1.0)
DIFFERENCE_EXTREMES = (-1.0, 1.0)
# Sums of thirds and the like miss zero by some 1e-17; an interval that ends at zero holds zero.
ROUND_DIGITS = 12


@dataclass(frozen=True)
class Interval:
    """An estimate and where its true value lies at the wanted confidence."""

    estimate: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether zero is inside, ends included."""
        return self.low <= 0 <= self.high


def accuracy(blocks: Sequence[Block], confidence: float, num_resamples: int, seed: int) -> Interval:
    """Return the mean accuracy over blocks with its interval: Wilson's for one seed, the bootstrap's for several."""
    if any(block.shape[0] > 1 for block in blocks):
        return _bootstrap(blocks, ACCURACY_EXTREMES, confidence, num_resamples, seed)
    share = _mean(blocks)
    # Equal thirds vary by some 1e-33 in floats: rounded away, or they would count as endlessly many problems.
    variance = round(sum(float(block[0].var()) / block.shape[1] for block in blocks) / len(blocks) ** 2, 2 * ROUND_DIGITS)
    num_effective = share * (1 - share) / variance if variance > 0 else float(sum(block.shape[1] for block in blocks))
    return wilson(share, num_effective, confidence)


def difference(blocks: Sequence[Block], confidence: float, num_resamples: int, seed: int) -> Interval:
    """Return the mean of paired differences (hard minus easy, problem by problem) with its bootstrap interval."""
    return _bootstrap(blocks, DIFFERENCE_EXTREMES, confidence, num_resamples, seed)


def wilson(share: float, num_trials: float, confidence: float) -> Interval:
    """Return Wilson's score interval of a share seen in `num_trials` trials."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    scale = 1 + z * z / num_trials
    centre = (share + z * z / (2 * num_trials)) / scale
    half = z * math.sqrt(share * (1 - share) / num_trials + z * z / (4 * num_trials**2)) / scale
    # At 0 and 1 the interval ends there; the subtraction misses it by some 1e-17.
    return Interval(share, max(0.0, round(centre - half, ROUND_DIGITS)), min(1.0, round(centre + half, ROUND_DIGITS)))


def verdict(interval: Interval, hard: str, easy: str) -> str:
    """Return who is better, or that no difference is shown."""
    if interval.holds_zero:
        return NO_DIFFERENCE
    return f"{hard if interval.low > 0 else easy} better"


def seed_variance(blocks: Sequence[Block]) -> float:
    """Return the variance that the choice of seeds adds to the mean, beyond what chance over problems explains; never negative."""
    num_seeds = blocks[0].shape[0]
    if num_seeds == 1:
        return 0.0
    of_seeds = float(np.var(np.mean([block.mean(axis=1) for block in blocks], axis=0), ddof=1)) / num_seeds
    return max(0.0, round(of_seeds - sum(_interaction(block) for block in blocks) / len(blocks) ** 2, ROUND_DIGITS))


def _interaction(block: Block) -> float:
    """Return the variance of one block's mean that comes from single answers: what neither a seed nor a problem explains."""
    num_seeds, num_problems = block.shape
    if num_problems == 1:
        return 0.0
    rest = block - block.mean(axis=1, keepdims=True) - block.mean(axis=0, keepdims=True) + block.mean()
    return float((rest**2).sum()) / ((num_seeds - 1) * (num_problems - 1)) / block.size


def _mean(blocks: Sequence[Block]) -> float:
    return float(np.mean([block.mean() for block in blocks]))


def _bootstrap(blocks: Sequence[Block], extremes: tuple[float, float], confidence: float, num_resamples: int, seed: int) -> Interval:
    generator = np.random.default_rng(seed)
    means = np.mean([_resampled_means(block.mean(axis=0), extremes, num_resamples, generator) for block in blocks], axis=0)
    spread = seed_variance(blocks)
    if spread > 0:
        means = means + math.sqrt(spread) * generator.standard_t(blocks[0].shape[0] - 1, size=num_resamples)
    low, high = np.quantile(np.clip(means, *extremes), [(1 - confidence) / 2, (1 + confidence) / 2])
    estimate = _mean(blocks)
    # The made-up problems pull resamples towards the middle: at a low confidence their quantiles can leave the estimate outside.
    return Interval(estimate, min(estimate, round(float(low), ROUND_DIGITS)), max(estimate, round(float(high), ROUND_DIGITS)))


def _resampled_means(values: Block, extremes: tuple[float, float], num_resamples: int, generator: np.random.Generator) -> Block:
    """Return the means of resamples of `values` and the two made-up problems.

    Counts of distinct values are drawn rather than problems: the same distribution, whatever the order of the problems, and
    thousands of times less to draw.
    """
    distinct, counts = np.unique(np.round(np.concatenate([values, extremes]), ROUND_DIGITS), return_counts=True)
    total = int(counts.sum())
    drawn: Block = generator.multinomial(total, counts / total, size=num_resamples) @ distinct / total
    return drawn
