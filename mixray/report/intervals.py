"""Accuracies with intervals. Pure numbers: arrays in, intervals out; nothing is drawn.

Data come as blocks, one array per benchmark, of shape (seeds, problems): the share of a problem's samples that were right, or any
other share of a problem such as its pass@k. An interval speaks of the problems such a benchmark could have asked, not of these alone.

One benchmark: Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for small samples and for shares near 0
or 1). Where a problem was asked several times its trials are the effective ones, share (1 - share) / variance of the mean, times (z/t)^2
for a variance that is itself estimated (Korn and Graubard 1998). For one sample per problem this is Wilson's interval exactly.

Several benchmarks: the intervals of each, their distances from the estimate added as squares with the benchmarks' weights (Zou and
Donner 2008). Several seeds: what seeds add beyond chance over problems is one more such distance, from Student's t.

The problem is what is drawn, not problem and sample. With v = p + e, the share of n samples right of a problem whose true share is p,
the spread of v over problems is Var(p) + E[p (1 - p)] / n: the noise of sampling is in it already. A bootstrap that draws samples again
within drawn problems adds E[p (1 - p)] (n - 1) / n^2 a second time, up to 1.4 times too wide (measured: README.md beside this file).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, nctdtrinc, ndtri, stdtrit

Block = NDArray[np.float64]
POWER = 0.8
MANY_DEGREES, FAR_OUT = 200.0, 12.0
# Sums of thirds and the like miss zero by some 1e-17; an interval that ends at zero holds zero.
ROUND_DIGITS = 12
CHANCE_TAKEN_OFF = 0.75


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


def equal_weights(num_blocks: int) -> Block:
    """Return the weights of the paper's mean of benchmarks."""
    return np.full(num_blocks, 1 / num_blocks)


def weighted(values: Sequence[float] | Block, weights: Block) -> float:
    """Return the sum of values times weights, rounded past what floats can tell."""
    return round(float(np.dot(np.asarray(values, dtype=float), weights)), ROUND_DIGITS + 3)


def accuracy(blocks: Sequence[Block], confidence: float, weights: Block | None = None, alone: Sequence[Interval] | None = None) -> Interval:
    """Return the weighted mean of the blocks' accuracies with its interval.

    Args:
        blocks: one per benchmark, all of equally many seeds.
        confidence: of the interval.
        weights: of the benchmarks, summing to 1; equal where not given.
        alone: the intervals over problems of each block, where they are not to be Wilson's.
    """
    weights = equal_weights(len(blocks)) if weights is None else weights
    alone = alone or [_over_problems(block, confidence) for block in blocks]
    estimate = weighted([told.estimate for told in alone], weights)
    num_seeds = blocks[0].shape[0]
    of_seeds = seed_variance(blocks, weights) * quantile(confidence, num_seeds - 1) ** 2 if num_seeds > 1 else 0.0
    if len(blocks) == 1 and of_seeds == 0:
        return alone[0]
    below, above = (
        math.sqrt(float(np.dot(weights**2, [(told.estimate - end) ** 2 for told, end in zip(alone, ends, strict=True)])) + of_seeds)
        for ends in ([told.low for told in alone], [told.high for told in alone])
    )
    return Interval(estimate, max(0.0, round(estimate - below, ROUND_DIGITS)), min(1.0, round(estimate + above, ROUND_DIGITS)))


def _over_problems(block: Block, confidence: float) -> Interval:
    """Return one benchmark's accuracy with its interval, its seeds taken as they are."""
    values = block.mean(axis=0)
    share, num_problems = float(values.mean()), len(values)
    # Equal thirds vary by some 1e-33 in floats: rounded away, or they would count as endlessly many problems.
    variance = round(float(values.var()) / num_problems, 2 * ROUND_DIGITS)
    binary = bool(np.all((values == 0) | (values == 1)))
    if binary or variance == 0:
        return wilson(share, num_problems, confidence)
    variance *= num_problems / (num_problems - 1)
    correction = (quantile(confidence) / quantile(confidence, num_problems - 1)) ** 2
    return wilson(share, share * (1 - share) / variance * correction, confidence)


def wilson(share: float, num_trials: float, confidence: float) -> Interval:
    """Return Wilson's score interval of a share seen in `num_trials` trials."""
    z = quantile(confidence)
    scale = 1 + z * z / num_trials
    centre = (share + z * z / (2 * num_trials)) / scale
    half = z * math.sqrt(share * (1 - share) / num_trials + z * z / (4 * num_trials**2)) / scale
    # At 0 and 1 the interval ends there; the subtraction misses it by some 1e-17.
    return Interval(share, max(0.0, round(centre - half, ROUND_DIGITS)), min(1.0, round(centre + half, ROUND_DIGITS)))


def quantile(confidence: float, degrees: float | None = None) -> float:
    """Return how many standard errors a two-sided interval reaches: the normal's, or Student's with `degrees` of freedom."""
    upper = (1 + confidence) / 2
    return float(ndtri(upper) if degrees is None else stdtrit(degrees, upper))


def needed(confidence: float, degrees: float) -> float:
    """Return how many standard errors a true value is from zero that an interval would have shown with the chance POWER.

    The noncentral t, and not two quantiles of t added: with two degrees of freedom those fall short by a tenth. Standard errors of few
    degrees are too small more often than not, so what is needed is told of as many as the median one would be.
    """
    reach = quantile(confidence, degrees)
    if degrees > MANY_DEGREES:
        return reach + float(stdtrit(degrees, POWER))
    if reach > FAR_OUT:  # there the standard error alone decides, and the noncentral t is not to be had
        shift = reach * math.sqrt(float(chdtri(degrees, 1 - POWER)) / degrees)
    else:
        shift = float(nctdtrinc(degrees, 1 - POWER, reach))
    return shift / math.sqrt(float(chdtri(degrees, 0.5)) / degrees)


def seed_variance(blocks: Sequence[Block], weights: Block | None = None) -> float:
    """Return the variance that the choice of seeds adds to the mean, beyond three quarters of what chance over problems explains.

    Two-way variance components, as in Cameron, Gelbach and Miller (2011). Never negative. With two or three seeds all of chance
    taken off would leave nothing half of the time, and intervals that hold the truth in 92 of 100 worlds where seeds matter; three quarters
    cost little where they do not (measured: README.md).
    """
    num_seeds = blocks[0].shape[0]
    if num_seeds == 1:
        return 0.0
    weights = equal_weights(len(blocks)) if weights is None else weights
    means = np.sum([weight * block.mean(axis=1) for weight, block in zip(weights, blocks, strict=True)], axis=0)
    of_chance = sum(float(weight) ** 2 * _interaction(block) for weight, block in zip(weights, blocks, strict=True))
    return max(0.0, round(float(np.var(means, ddof=1)) / num_seeds - CHANCE_TAKEN_OFF * of_chance, ROUND_DIGITS))


def _interaction(block: Block) -> float:
    """Return the variance of one block's mean that comes from single answers: what neither a seed nor a problem explains."""
    num_seeds, num_problems = block.shape
    if num_problems == 1:
        return 0.0
    rest = block - block.mean(axis=1, keepdims=True) - block.mean(axis=0, keepdims=True) + block.mean()
    return float((rest**2).sum()) / ((num_seeds - 1) * (num_problems - 1)) / block.size
