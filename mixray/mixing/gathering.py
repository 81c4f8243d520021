"""The candidates of every pool of a mixture side by side, as arrays: what is dropped, picked and dealt.

In: CANDIDATE tables by pool, the hardest first, and measures of fit where the blend asks for them. Out: `Gathered`. No text is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mixray.errors import MixtureError
from mixray.mixing.draws import Codes, Keys, Values

COLUMNS = [
    "row", "problem_key", "question_key", "trace_key", "likeness", "sample", "subject", "level", "num_characters", "num_tokens",
    "num_loss_tokens", "repetition", "foreign", "pass_rate",
]  # fmt: skip
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Gathered:
    """Candidates, of shape (candidates,) each, and the problems they answer, of shape (problems,) each, ordered by key.

    Attributes:
        names: the pools, the hardest first; `pool` holds their numbers.
        row: a candidate's row in its pool.
        problem: its problem's number.
        num_tokens: as many as would be trained on, prompt included; so `num_loss_tokens`, the prompt left out.
        num_cut: tokens it has beyond these, lost by `cut`; a trace is as long as both together.
        fit: how well it fits the student, lower is better; NaN where it was not measured.
        cell: number of its (subject, level), which `cells` lists.
        problem_key: stands for a problem's id.
        pass_rate: the share of a problem's samples that are accepted, of all samples of the pools that solved it.
        problem_cell: number of a problem's (subject, level).
    """

    names: tuple[str, ...]
    pool: Codes
    row: Codes
    problem: Codes
    sample: Codes
    num_characters: Codes
    num_tokens: Codes
    num_loss_tokens: Codes
    num_cut: Codes
    repetition: Values
    foreign: Values
    fit: Values
    trace_key: Keys
    likeness: Keys
    cell: Codes
    cells: tuple[tuple[str | None, int | None], ...]
    problem_key: Keys
    pass_rate: Values
    problem_cell: Codes

    @property
    def num_problems(self) -> int:
        """How many problems any pool solved."""
        return len(self.problem_key)

    @property
    def length(self) -> Codes:
        """How long each candidate was before any was cut, in tokens."""
        return self.num_tokens + self.num_cut

    def solved(self, pool: int, alive: Mask) -> Mask:
        """Return which problems a pool still has a candidate for, of shape (problems,)."""
        return np.bincount(self.problem[alive & (self.pool == pool)], minlength=self.num_problems) > 0


def gather(pools: Mapping[str, pa.Table], fits: Mapping[str, pa.ChunkedArray] | None = None) -> Gathered:
    """Lay the pools' candidates side by side.

    Args:
        pools: CANDIDATE rows (COLUMNS of them) by pool, the hardest first.
        fits: a measure of fit for each row of a pool's table.

    Raises:
        MixtureError: one problem id stands for two questions.
    """
    table = pa.concat_tables([pools[name].select(COLUMNS) for name in pools])
    pool = np.repeat(np.arange(len(pools)), [rows.num_rows for rows in pools.values()])
    problem_key, first, problem = np.unique(_numbers(table["problem_key"]), return_index=True, return_inverse=True)
    questions = _numbers(table["question_key"])
    different = np.flatnonzero(questions != questions[first][problem])
    if len(different):
        raise MixtureError(
            "Two pools were asked different questions under one problem id",
            seen=f"pool {list(pools)[pool[different[0]]]}, row {_numbers(table['row'])[different[0]]}, and {len(different) - 1} more",
            do="generate the pools from the same problem set",
        )
    cell, cells = _cells(table["subject"], table["level"])
    fit = np.full(table.num_rows, np.nan) if fits is None else np.concatenate([_numbers(fits[name]) for name in pools])
    # A pool's right samples of a problem are all here: one over their pass rate, summed, is how many samples were asked for.
    asked = np.bincount(problem, weights=1 / _numbers(table["pass_rate"]), minlength=len(problem_key))
    # Rounded: the last digits of a sum follow the order of the rows.
    rates = np.round(np.bincount(problem, minlength=len(problem_key)) / asked, 9)
    return Gathered(
        names=tuple(pools), pool=pool, problem=problem, cell=cell, cells=cells, problem_key=problem_key, pass_rate=rates,
        problem_cell=cell[first], fit=fit.astype(np.float64), num_cut=np.zeros(table.num_rows, np.int64),
        **{name: _numbers(table[name]) for name in ("row", "sample", "num_characters", "num_tokens", "num_loss_tokens")},
        **{name: _numbers(table[name]) for name in ("repetition", "foreign", "trace_key", "likeness")},
    )  # fmt: skip


def cut(found: Gathered, most: int) -> Gathered:
    """Return the candidates as `chat.cut` leaves them: none with room for a trained token after its prompt is longer than `most`."""
    lost = np.maximum(found.num_tokens - most, 0)
    lost[lost >= found.num_loss_tokens] = 0
    return replace(found, num_tokens=found.num_tokens - lost, num_loss_tokens=found.num_loss_tokens - lost, num_cut=found.num_cut + lost)


def _numbers(column: pa.ChunkedArray) -> Any:
    values = column.to_numpy()
    return values.astype(np.int64) if values.dtype == np.int32 else values


def _cells(subject: pa.ChunkedArray, level: pa.ChunkedArray) -> tuple[Codes, tuple[tuple[str | None, int | None], ...]]:
    """Return each row's (subject, level) as a number, and what the numbers stand for, sorted; what is not known comes first."""
    subjects = pc.fill_null(subject, "").combine_chunks().dictionary_encode()
    levels = pc.fill_null(level, -1).to_numpy().astype(np.int64) if len(level) else np.zeros(0, np.int64)
    names = subjects.dictionary.to_pylist()
    places = {name: place for place, name in enumerate(sorted(names))}
    coded = np.array([places[name] for name in names], np.int64)[subjects.indices.to_numpy()] if names else np.zeros(0, np.int64)
    base = int(levels.min()) if len(levels) else 0
    width = int(levels.max()) - base + 1 if len(levels) else 1
    found, codes = np.unique(coded * width + (levels - base), return_inverse=True)
    told = [(sorted(names)[value // width] or None, int(value % width + base)) for value in found]
    return codes, tuple((name, None if number == -1 else number) for name, number in told)
