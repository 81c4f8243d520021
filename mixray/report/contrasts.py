"""Contrasts: sums and differences of several arms' figures, with intervals, problem by problem and seed by seed.

What a gap cannot say takes more than two arms: whether one student's gap is larger than another's is a difference of differences.
In: groups of arms that were asked the same problems, and terms such as `large/long - large/short - tiny/long + tiny/short`. Out: an
estimate with its interval, and the smallest true one that would have been shown.

A term is `student/mixture`, with `@benchmark` where there are several, and `<96` for the answer that the arm was made to give after so many
tokens (`evaluate.budgets`).

Of two arms' shares right it is the gap of the report (`gaps.difference`), to the last digit. Of more arms, or of tokens, it is Student's
interval of the mean over problems, each problem's value being that of the seeds together; what seeds add beyond chance
(`intervals.seed_variance`) reaches as far as Student's t of so few seeds does, as for one arm's accuracy. Several hundred problems are
many, so no bootstrap is needed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixray.errors import MixrayError
from mixray.recipe import Report
from mixray.report.answers import SeedGroup
from mixray.report.forced import right_at
from mixray.report.gaps import Pairs, difference
from mixray.report.intervals import Block, needed, quantile, seed_variance
from mixray.report.samples import Answers
from mixray.rows import keyed_draw

Measure = Literal["accuracy", "tokens", "style"]
"""Shares right; tokens of a response; of words of style the share that shifted less that of other words (`style.py`)."""
_TERM = re.compile(r"(?P<student>[a-z0-9._-]+)/(?P<label>[a-z0-9._-]+)(?:@(?P<benchmark>[a-z0-9._-]+))?(?:<(?P<budget>\d+))?")


@dataclass(frozen=True)
class Term:
    """One arm's figure on one benchmark (the only one where None), answered freely or after `budget` tokens."""

    sign: Literal[1, -1]
    student: str
    label: str
    benchmark: str | None
    budget: int | None


@dataclass(frozen=True)
class Estimate:
    """What a contrast came to: shares right as shares, tokens as tokens. `detectable`: the smallest true value that would have been shown,
    four times in five."""

    value: float
    low: float
    high: float
    detectable: float


def read_terms(text: str) -> list[Term]:
    """Return the terms of a contrast.

    Raises:
        MixrayError: it cannot be read.
    """
    words = text.split()
    signs, names = ["+", *words[1::2]], words[0::2]
    found = [_TERM.fullmatch(name) for name in names]
    if len(signs) != len(names) or not all(found) or not set(signs) <= {"+", "-"}:
        raise MixrayError("A contrast cannot be read", seen=text, rule="student/mixture - student/mixture, with blanks about each sign")
    return [
        Term(1 if sign == "+" else -1, each["student"], each["label"], each["benchmark"], int(each["budget"]) if each["budget"] else None)
        for sign, each in zip(signs, found, strict=True)
        if each
    ]


def estimate(text: str, measure: Measure, groups: Sequence[SeedGroup], settings: Report, seed: int) -> Estimate:
    """Return what a contrast comes to.

    Args:
        text: its terms.
        measure: of what; `style` is not of scores (`style.py`).
        groups: of one recipe, asked the same problems.
        settings: confidence and resamples.
        seed: of the bootstrap.

    Raises:
        MixrayError: a group is not there, has no seed in common with the others, or was not made to answer at the budget.
    """
    terms = read_terms(text)
    of = [_group(groups, term) for term in terms]
    seeds = _common_seeds(of, text)
    blocks = [_block(group, term, measure, seeds) for group, term in zip(of, terms, strict=True)]
    if measure == "accuracy" and [term.sign for term in terms] == [1, -1]:
        pairs = Pairs(blocks[0], blocks[1], _draw(terms, of, seed))
        found = difference([pairs], settings.confidence, settings.num_resamples)
        return Estimate(found.estimate, found.low, found.high, found.detectable(settings.confidence))
    values = np.sum([term.sign * block for term, block in zip(terms, blocks, strict=True)], axis=0)
    return mean_with_interval(values, settings.confidence)


def mean_with_interval(values: Block, confidence: float) -> Estimate:
    """Return the mean of values of shape (seeds, problems), as of other problems and other seeds."""
    num_seeds, num_problems = values.shape
    of_problems, of_seeds = float(values.mean(axis=0).var(ddof=1)) / num_problems, seed_variance([values])
    centre, variance = float(values.mean()), of_problems + of_seeds
    if variance == 0:
        return Estimate(centre, centre, centre, 0.0)

    def together(errors: Callable[[float, float], float]) -> float:
        seeds = errors(confidence, num_seeds - 1) ** 2 * of_seeds if of_seeds else 0.0
        return math.sqrt(errors(confidence, num_problems - 1) ** 2 * of_problems + seeds)

    reach = together(quantile)
    return Estimate(centre, centre - reach, centre + reach, together(needed))


def tokens_of(answers: Answers) -> Block:
    """Return the mean number of response tokens of each problem, of shape (problems,)."""
    return np.bincount(answers.places, weights=answers.tokens, minlength=len(answers.problem_ids)) / answers.samples


def _draw(terms: Sequence[Term], of: Sequence[SeedGroup], seed: int) -> int:
    """Return the seed of two arms' draws: of one student's free answers that of the report, so that both tell the same."""
    hard, easy = terms
    benchmark = hard.benchmark or of[0].benchmarks[0]
    further = [] if (hard.student, hard.budget) == (easy.student, easy.budget) else [easy.student, str(hard.budget), str(easy.budget)]
    return keyed_draw(seed, "bootstrap", "difference", hard.student, hard.label, easy.label, benchmark, *further)


def _group(groups: Sequence[SeedGroup], term: Term) -> SeedGroup:
    for group in groups:
        if (group.student, group.label) == (term.student, term.label):
            return group
    known = ", ".join(f"{group.student}/{group.label}" for group in groups)
    raise MixrayError("A contrast names arms that are not there", seen=f"{term.student}/{term.label}", rule=f"one of {known}")


def _common_seeds(groups: Sequence[SeedGroup], text: str) -> list[int]:
    trained = [{arm.seed for arm in group.arms if arm.seed is not None} for group in groups if group.mixture is not None]
    common = set.intersection(*trained) if trained else {0}
    if not common:
        raise MixrayError("A contrast's arms have no training seed in common", seen=text, do="train them with the same seeds")
    return sorted(common)


def _block(group: SeedGroup, term: Term, measure: Measure, seeds: Sequence[int]) -> Block:
    """Return a group's figures, of shape (seeds, problems); the untouched student is the same with every seed."""
    benchmark = term.benchmark or group.benchmarks[0]
    if term.budget is not None:
        block = right_at(group, benchmark, term.budget)
    else:
        block = group.block(benchmark, tokens_of) if measure == "tokens" else group.block(benchmark)
    if group.mixture is None:
        return np.repeat(block, len(seeds), axis=0)
    places = {arm.seed: place for place, arm in enumerate(group.arms)}
    return block[[places[seed] for seed in seeds]]
