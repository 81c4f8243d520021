"""What a number speaks of: one benchmark, the paper's mean of benchmarks, or all questions together; and how its intervals are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixray.recipe import Report
from mixray.report.answers import SeedGroup
from mixray.report.gaps import Difference, Pairs, difference
from mixray.report.hierarchical import hierarchical
from mixray.report.intervals import Block, Interval, accuracy, equal_weights
from mixray.report.samples import Answers
from mixray.rows import keyed_draw

# No benchmark can be called either: names in a recipe have no spaces.
OVERALL = "mean of benchmarks"
WEIGHTED = "all questions"


@dataclass(frozen=True, eq=False)
class Scope:
    """Benchmarks and their weights, which sum to 1."""

    name: str
    benchmarks: tuple[str, ...]
    weights: Block


def headline(group: SeedGroup) -> str:
    """Return what the answer speaks of: the only benchmark, or the mean of all."""
    return group.benchmarks[0] if len(group.benchmarks) == 1 else OVERALL


def scopes(group: SeedGroup) -> dict[str, Scope]:
    """Return what is told of: each benchmark alone and, of several, their mean and the mean over all their questions."""
    names = group.benchmarks
    found = {name: Scope(name, (name,), np.ones(1)) for name in names}
    if len(names) > 1:
        sizes = np.array([len(group.answers[0][name].problem_ids) for name in names], dtype=float)
        found[OVERALL] = Scope(OVERALL, names, equal_weights(len(names)))
        found[WEIGHTED] = Scope(WEIGHTED, names, sizes / sizes.sum())
    return found


@dataclass(frozen=True)
class Statistics:
    """How intervals are made: the recipe's settings and the seed of the bootstrap. What two arms came to is kept, not drawn again."""

    settings: Report
    seed: int
    _known: dict[tuple[str, str, str], dict[str, Difference]] = field(default_factory=dict, compare=False)
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False)
    _averages: dict[tuple[str, ...], Interval] = field(default_factory=dict, compare=False)

    def accuracy(self, group: SeedGroup, scope: Scope, share: Callable[[Answers], Block] | None = None) -> Interval:
        """Return a group's accuracy in a scope, or the mean of another share of each problem, with its interval.

        `bootstrap: hierarchical` is of accuracies; how another share varies among samples is not known here.
        """
        blocks = [group.block(name, share) if share else group.block(name) for name in scope.benchmarks]
        drawn = self.settings.bootstrap == "hierarchical" and share is None
        alone = [self._hierarchical(group, name) for name in scope.benchmarks] if drawn else None
        return accuracy(blocks, self.settings.confidence, scope.weights, alone)

    def _hierarchical(self, group: SeedGroup, benchmark: str) -> Interval:
        key = (*(arm.name for arm in group.arms), benchmark)
        if key not in self._averages:
            samples = np.sum([answers[benchmark].samples for answers in group.answers], axis=0)
            how = (self.settings.confidence, self.settings.num_resamples, self.draw("average", *key))
            self._averages[key] = hierarchical(group.block(benchmark), samples, *how)
        return self._averages[key]

    def differences(self, hard: SeedGroup, easy: SeedGroup, rows: Sequence[tuple[int, int]]) -> dict[str, Difference]:
        """Return hard minus easy in every scope, the seed rows compared as told."""
        key = (hard.student, hard.label, easy.label)
        if key not in self._known:
            self._known[key] = self._compared(hard, easy, rows)
        return self._known[key]

    def compare(self, wanted: Iterable[tuple[SeedGroup, SeedGroup, Sequence[tuple[int, int]]]]) -> None:
        """Work out many differences beforehand, on all cores: drawing does not hold the interpreter. Each has draws of its own."""
        calls = {(hard.student, hard.label, easy.label): (hard, easy, rows) for hard, easy, rows in wanted}
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(lambda call: self.differences(*call), calls.values()))

    def _compared(self, hard: SeedGroup, easy: SeedGroup, rows: Sequence[tuple[int, int]]) -> dict[str, Difference]:
        ones, others = [one for one, _ in rows], [other for _, other in rows]
        pairs = {
            name: Pairs(
                hard.block(name)[ones], easy.block(name)[others], self.draw("difference", hard.student, hard.label, easy.label, name)
            )
            for name in hard.benchmarks
        }
        resampled = {name: of.resampled(self.settings.num_resamples) for name, of in pairs.items()}
        return {
            name: difference(
                [pairs[benchmark] for benchmark in scope.benchmarks],
                self.settings.confidence,
                self.settings.num_resamples,
                scope.weights,
                [resampled[benchmark] for benchmark in scope.benchmarks],
            )
            for name, scope in scopes(hard).items()
        }

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what `make` gives, made once for this name."""
        if name not in self._rows:
            self._rows[name] = make()
        return self._rows[name]

    def draw(self, *key: str) -> int:
        """Return the seed of what `key` names: the same in every order of work."""
        return keyed_draw(self.seed, "bootstrap", *key)
