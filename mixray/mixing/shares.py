"""How much comes from each pool, subject and level: by rows, by tokens and by the tokens that are trained, after every step.

A share of rows is not a share of what the loss sees: hard traces are longer, so their share of the tokens is larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mixray.mixing.gathering import Gathered, Mask

UNITS = {"rows": "row_share", "tokens": "token_share", "loss_tokens": "loss_token_share"}
TOO_LONG, CUT = "too long", "cut"
"""The steps that end what is longer than `train.max_tokens`: by leaving it out, and by cutting it where a recipe asks for that."""


class Ledger:
    """What was there after each step of making a mixture."""

    def __init__(self, found: Gathered) -> None:
        self._found = found
        self._code = found.pool * max(len(found.cells), 1) + found.cell
        self._width = max(len(found.cells), 1)
        self._lost = found.num_cut
        self._noted: list[tuple[str, npt.NDArray[np.int64], int]] = []

    def note(self, step: str, alive: Mask) -> None:
        """Write down the candidates that are there after a step, of shape (candidates,)."""
        found, code = self._found, self._code[alive]
        size = len(found.names) * self._width
        sums = [np.bincount(code, minlength=size)]
        sums += [
            np.rint(np.bincount(code, weights=values[alive], minlength=size)).astype(np.int64)
            for values in (found.num_tokens + self._lost, found.num_loss_tokens + self._lost)
        ]
        num_problems = int(np.count_nonzero(np.bincount(found.problem[alive], minlength=found.num_problems)))
        self._noted.append((step, np.stack(sums).reshape(len(UNITS), len(found.names), self._width), num_problems))

    def note_cut(self, alive: Mask) -> None:
        """Write down that candidates were cut: until here tokens count as they were, from here on as they are trained."""
        self._lost = np.zeros_like(self._lost)
        self.note(CUT, alive)

    def cut(self, chosen: Mask) -> dict[str, dict[str, int]]:
        """Return how many of the chosen rows of each pool were cut, and how many tokens those lost, all of them loss tokens."""
        lost = np.where(chosen, self._found.num_cut, 0)
        return {
            pool: {"rows": int(np.count_nonzero(lost[self._found.pool == number])), "tokens": int(lost[self._found.pool == number].sum())}
            for number, pool in self._pools()
        }

    def steps(self) -> list[dict[str, Any]]:
        """Return, for each step, what it took and what each pool has after it."""
        told, rows_before, problems_before = [], None, 0
        for step, sums, num_problems in self._noted:
            num_rows = int(sums[0].sum())
            told.append(
                {
                    "step": step,
                    "num_problems": num_problems,
                    "dropped_rows": 0 if rows_before is None else rows_before - num_rows,
                    "dropped_problems": 0 if rows_before is None else problems_before - num_problems,
                    "pools": {name: dict(zip(UNITS, map(int, sums[:, pool].sum(axis=1)), strict=True)) for pool, name in self._pools()},
                }
            )
            rows_before, problems_before = num_rows, num_problems
        return told

    def cells(self) -> list[dict[str, Any]]:
        """Return a row for each step, pool, subject and level that has any candidate."""
        return [
            {
                "step": step, "pool": name, "subject": subject, "level": level,
                **dict(zip(UNITS, map(int, sums[:, pool, cell]), strict=True)),
            }
            for step, sums, _ in self._noted
            for pool, name in self._pools()
            for cell, (subject, level) in enumerate(self._found.cells)
            if sums[0, pool, cell]
        ]  # fmt: skip

    def dropped(self, step: str) -> dict[str, int]:
        """Return how many candidates of each pool a step took."""
        for (_, before, _), (name, after, _) in zip(self._noted, self._noted[1:], strict=False):
            if name == step:
                return {pool: int(before[0, number].sum() - after[0, number].sum()) for number, pool in self._pools()}
        return dict.fromkeys(self._found.names, 0)

    def in_words(self, pool: str) -> str:
        """Return how many rows of a pool each step left."""
        return ", ".join(f"{row['pools'][pool]['rows']:,} after {row['step']}" for row in self.steps())

    def _pools(self) -> list[tuple[int, str]]:
        return list(enumerate(self._found.names))


def shares(pools: Mapping[str, Mapping[str, int]], hard: str) -> dict[str, float]:
    """Return the hard pool's share of the rows, the tokens and the loss tokens of all pools."""
    totals = {unit: sum(counts[unit] for counts in pools.values()) for unit in UNITS}
    return {share: pools[hard][unit] / totals[unit] if totals[unit] else 0.0 for unit, share in UNITS.items()}
