"""How often 95 % intervals hold the truth, on simulated students: every cell printed, with its own binomial error.

    python tests/bench/coverages.py [scores] [gaps] [means] [again] [best] [power]

A student answers a problem right with a probability whose logit is ease + the arm's own taste for the problem + what its training seed
does to all problems and to this one; all are normal. Problems are drawn anew in each world, two arms share the ease of each problem,
and n samples of it are drawn. With one seed the truth is that of the trained student; with three, that of all seeds there could be.

`ratio` is the share of worlds held, `low` and `high` are two binomial errors around it, `rounds` the number of worlds. A cell is met where
that range touches 93 to 97 %; a power where it touches 70 to 90 %. Cells in which too little can be seen say so in `why`, and
are not judged.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from mixray.report.differences import against_best
from mixray.report.gaps import Pairs, difference
from mixray.report.hierarchical import hierarchical
from mixray.report.intervals import Interval, accuracy

LOW, HIGH = 0.93, 0.97
CONFIDENCE = 0.95
LEAST_POWER, MOST_POWER = 0.7, 0.9
WORLDS = 600
GAP_WORLDS = 400
AGAIN_WORLDS = 1000
NUM_RESAMPLES = 1000
TASTE, SEEDS_ON_ALL, SEEDS_ON_ONE = 0.7, 0.15, 0.5
# Below this many problems of the rarer outcome, or problems that two arms answer differently, an interval has next to nothing to go by.
FEWEST_TELLING = 5
FEWEST_APART = 10
FEW_PROBLEMS = 40
PAPER = {"math": (5_000, 0.6), "gsm8k": (1_319, 0.8), "olympiadbench": (675, 0.27), "amc23": (40, 0.4), "aime24": (30, 0.07)}
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(120)


@dataclass(frozen=True)
class Cell:
    """One simulated test: `share` right on average, of `num_problems` with `num_samples` each, by arms of `num_seeds` seeds."""

    share: float
    num_problems: int
    num_samples: int
    num_seeds: int
    spread: float = 2.0
    better: float = 0.0
    """By how much the hard arm's logits are higher."""

    @cached_property
    def centre(self) -> float:
        """The mean ease that gives the share."""
        return centre_of(self.share, self.width)

    @cached_property
    def width(self) -> float:
        """The standard deviation of all that a logit is made of."""
        return math.hypot(self.spread, TASTE, SEEDS_ON_ONE, SEEDS_ON_ALL if self.num_seeds > 1 else 0.0)

    @cached_property
    def truth(self) -> float:
        """The true difference of the hard arm and the easy one."""
        return expected(self.centre + self.better, self.width) - self.share

    def worlds(self, number: int, arms: int, generator: np.random.Generator) -> Iterator[list[np.ndarray]]:
        """Yield worlds: for each arm the share of right samples, of shape (seeds, problems); the last arm is the easy one."""
        for _ in range(number):
            ease = self.centre + self.spread * generator.standard_normal(self.num_problems)
            yield [self._answers(ease + (self.better if arm < arms - 1 else 0.0), generator) for arm in range(arms)]

    def _answers(self, ease: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        shape = (self.num_seeds, self.num_problems)
        logits = ease + TASTE * generator.standard_normal(self.num_problems) + SEEDS_ON_ONE * generator.standard_normal(shape)
        if self.num_seeds > 1:
            logits = logits + SEEDS_ON_ALL * generator.standard_normal((self.num_seeds, 1))
        return generator.binomial(self.num_samples, 1 / (1 + np.exp(-logits))) / self.num_samples

    def __str__(self) -> str:
        seeds = f"{self.num_seeds} seed{'s' if self.num_seeds > 1 else ''}"
        return f"{100 * self.share:g} % of {self.num_problems:,} problems x {self.num_samples}, {seeds}"


def expected(centre: float, width: float) -> float:
    """Return the mean of the logistic function of a normal."""
    return float(np.dot(_WEIGHTS / _WEIGHTS.sum(), 1 / (1 + np.exp(-(centre + width * _NODES)))))


def centre_of(share: float, width: float) -> float:
    """Return the mean of a normal whose logistic function has this mean."""
    low, high = -30.0, 30.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle, width) < share else (low, middle)
    return (low + high) / 2


def scores() -> Iterator[dict[str, object]]:
    """Yield the coverage of accuracies."""
    for share, num_problems, num_samples, num_seeds in product(
        (0.03, 0.1, 0.5, 0.9, 0.97), (30, 40, 300, 1_319, 5_000), (1, 4, 8, 64), (1, 3)
    ):
        cell = Cell(share, num_problems, num_samples, num_seeds)
        generator = np.random.default_rng([1, num_problems, num_samples, num_seeds, round(1000 * share)])
        held = 0
        for (right,) in cell.worlds(WORLDS, 1, generator):
            told = accuracy([right], CONFIDENCE)
            held += told.low <= share <= told.high
        telling = num_problems * min(share, 1 - share)
        why = f"only {telling:.1f} problems of the rarer outcome on average" if telling < FEWEST_TELLING else ""
        yield told_of(f"score: {cell}", held, WORLDS, why)


def gaps() -> Iterator[dict[str, object]]:
    """Yield the coverage of paired differences."""
    for (share, better), num_problems, num_samples, num_seeds in product(
        ((0.03, 0.5), (0.5, 0.0), (0.5, 0.5), (0.9, 0.0)), (30, 40, 300, 1_319, 5_000), (1, 8, 64), (1, 3)
    ):
        cell = Cell(share, num_problems, num_samples, num_seeds, better=better)
        generator = np.random.default_rng([2, num_problems, num_samples, num_seeds, round(1000 * share), round(10 * better)])
        held, apart = 0, 0.0
        for world, (hard, easy) in enumerate(cell.worlds(GAP_WORLDS, 2, generator)):
            told = difference([Pairs(hard, easy, world)], CONFIDENCE, NUM_RESAMPLES)
            held += told.low <= cell.truth <= told.high
            apart += float((hard * (1 - easy) + easy * (1 - hard)).sum()) / num_seeds / GAP_WORLDS
        why = f"only {apart:.1f} problems answered differently on average" if apart < FEWEST_APART else ""
        if num_seeds > 1 and num_problems <= FEW_PROBLEMS and not why:
            why = "few problems, and what seeds add is told by two degrees of freedom: leans wide"
        yield told_of(f"gap of {100 * cell.truth:.1f} points: {cell}", held, GAP_WORLDS, why)


def means() -> Iterator[dict[str, object]]:
    """Yield the coverage of means of the paper's five benchmarks, and of their gaps, weighted equally and by questions."""
    sizes = np.array([count for count, _ in PAPER.values()], dtype=float)
    weights = {"benchmarks": np.full(len(PAPER), 1 / len(PAPER)), "questions": sizes / sizes.sum()}
    for num_samples, num_seeds in product((1, 4, 8), (1, 3)):
        cells = [Cell(share, count, num_samples, num_seeds, better=0.3) for count, share in PAPER.values()]
        generator = np.random.default_rng([3, num_samples, num_seeds])
        truths = {
            name: (float(of @ [cell.share for cell in cells]), float(of @ [cell.truth for cell in cells])) for name, of in weights.items()
        }
        held = {(name, kind): 0 for name in weights for kind in ("score", "gap")}
        for world, drawn in enumerate(zip(*(cell.worlds(GAP_WORLDS, 2, generator) for cell in cells), strict=True)):
            pairs = [Pairs(hard, easy, 10 * world + place) for place, (hard, easy) in enumerate(drawn)]
            resampled = [of.resampled(NUM_RESAMPLES) for of in pairs]
            for name, of in weights.items():
                score, gap = (
                    accuracy([easy for _, easy in drawn], CONFIDENCE, of),
                    difference(pairs, CONFIDENCE, NUM_RESAMPLES, of, resampled),
                )
                held[name, "score"] += score.low <= truths[name][0] <= score.high
                held[name, "gap"] += gap.low <= truths[name][1] <= gap.high
        for (name, kind), number in held.items():
            yield told_of(
                f"{kind}, mean of {name}: the paper's five x {num_samples}, {num_seeds} seed{'s' * (num_seeds > 1)}", number, GAP_WORLDS
            )


def again() -> Iterator[dict[str, object]]:
    """Yield what three ways of an average's interval hold: the default, a plain bootstrap of problems, and one of problems, then samples.

    The default is judged; the plain bootstrap is there for comparison, and the hierarchical one is what `report.bootstrap` offers.
    """
    for share, width, num_problems, num_samples in product((0.5, 0.1), (0.0, 1.0, 2.0), (30, 100, 500), (4, 16)):
        generator = np.random.default_rng([4, num_problems, num_samples, round(10 * width), round(10 * share)])
        centre = centre_of(share, width)
        held = dict.fromkeys(("default", "problems alone", "problems, then samples"), 0)
        for world in range(AGAIN_WORLDS):
            ease = centre + width * generator.standard_normal(num_problems)
            right = generator.binomial(num_samples, 1 / (1 + np.exp(-ease))) / num_samples
            samples = np.full(num_problems, num_samples)
            told = {
                "default": accuracy([right[None]], CONFIDENCE),
                "problems alone": _of_problems(right, generator),
                "problems, then samples": hierarchical(right[None], samples, CONFIDENCE, NUM_RESAMPLES, world),
            }
            for name, interval in told.items():
                held[name] += interval.low <= share <= interval.high
        for name, number in held.items():
            what = f"{name}: {100 * share:g} % of {num_problems} problems x {num_samples}, logits spread by {width:g}"
            yield told_of(what, number, AGAIN_WORLDS, "" if name == "default" else "for comparison: not the default")


def _of_problems(right: np.ndarray, generator: np.random.Generator) -> Interval:
    """Return the plain percentile interval of a bootstrap over problems."""
    distinct, counts = np.unique(right, return_counts=True)
    drawn = generator.multinomial(len(right), counts / len(right), size=NUM_RESAMPLES) @ distinct / len(right)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(right.mean()), float(low), float(high))


def best() -> Iterator[dict[str, object]]:
    """Yield the coverage of a mix's gap to the better of two singles, where these are equally good and where they are not."""
    for lead, num_problems in product((0.0, 0.4), (300, 1_319)):
        cell = Cell(0.5, num_problems, 1, 1, better=0.5)
        generator = np.random.default_rng([5, num_problems, round(10 * lead)])
        held = 0
        for world in range(GAP_WORLDS):
            ease = cell.centre + cell.spread * generator.standard_normal(num_problems)
            mix, good, other = (cell._answers(ease + more, generator) for more in (0.5, 0.0, -lead))
            each = [
                difference([Pairs(mix, single, 2 * world + place)], CONFIDENCE, NUM_RESAMPLES) for place, single in enumerate((good, other))
            ]
            told = against_best(each)
            held += told.low <= cell.truth <= told.high
        yield told_of(f"gap to the best single, the other {lead:g} logits behind: {cell}", held, GAP_WORLDS)


def power() -> Iterator[dict[str, object]]:
    """Yield how often a gap as large as `detectable` said is shown: four times in five."""
    for share, num_problems, num_samples in product((0.1, 0.5, 0.9), (40, 300, 1_319), (1, 8)):
        cell = Cell(share, num_problems, num_samples, 1)
        generator = np.random.default_rng([6, num_problems, num_samples, round(100 * share)])
        said = float(
            np.mean(
                [
                    difference([Pairs(hard, easy, world)], CONFIDENCE, NUM_RESAMPLES).detectable(CONFIDENCE)
                    for world, (hard, easy) in enumerate(cell.worlds(GAP_WORLDS // 4, 2, generator))
                ]
            )
        )
        better = _better(cell, said)
        told = f"power at the gap said to be detectable, {100 * said:.1f} points: {cell}"
        if better is None:
            yield {"name": told, "why": "no student is that much better", "met": True}
            continue
        shown = sum(
            difference([Pairs(hard, easy, world)], CONFIDENCE, NUM_RESAMPLES).low > 0
            for world, (hard, easy) in enumerate(replace(cell, better=better).worlds(GAP_WORLDS, 2, generator))
        )
        result = told_of(told, shown, GAP_WORLDS)
        telling = num_problems * min(share, 1 - share)
        met = result["low"] <= MOST_POWER and result["high"] >= LEAST_POWER
        why = {"why": f"only {telling:.1f} problems of the rarer outcome on average"} if telling < FEWEST_TELLING else {}
        yield {**result, "target": 0.8, "met": met or bool(why), **why}


def _better(cell: Cell, gap: float) -> float | None:
    """Return by how much the logits must be higher for a gap; None where it cannot be."""
    low, high = 0.0, 12.0
    if replace(cell, better=high).truth < gap:
        return None
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if replace(cell, better=middle).truth < gap else (low, middle)
    return high


def told_of(name: str, held: int, worlds: int, why: str = "") -> dict[str, Any]:
    """Return one cell's result."""
    share = held / worlds
    error = math.sqrt(max(share * (1 - share), 1 / worlds) / worlds)
    result: dict[str, Any] = {
        "name": name, "ratio": round(share, 4), "low": round(share - 2 * error, 4), "high": round(min(1.0, share + 2 * error), 4),
        "rounds": worlds, "target": CONFIDENCE, "met": bool(why) or (share + 2 * error >= LOW and share - 2 * error <= HIGH),
    }  # fmt: skip
    return {**result, "why": why} if why else result


PARTS: dict[str, Callable[[], Iterator[dict[str, object]]]] = {
    "scores": scores, "gaps": gaps, "means": means, "again": again, "best": best, "power": power,
}  # fmt: skip


def measure() -> Iterator[dict[str, object]]:
    """Yield every cell."""
    for part in PARTS.values():
        yield from part()


if __name__ == "__main__":
    all_met = True
    for part in sys.argv[1:] or PARTS:
        for result in PARTS[part]():
            print(json.dumps(result), flush=True)
            all_met &= bool(result["met"])
    sys.exit(not all_met)
