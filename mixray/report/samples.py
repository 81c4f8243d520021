"""Score rows as arrays: what became of every sample, whose it is, how long it is, and which samples of a problem agree.

In: artefacts of kind `scores` (rows.SCORE). Out: per benchmark one `Answers`. Columns stay in Arrow and NumPy: no row is a Python object.

An answer whose verdict is not `right` is not right, whatever the reason. Each sample counts once, as in
`rows.sample_kind`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixray.errors import MixrayError
from mixray.report.intervals import Block
from mixray.rows import SAMPLE_KINDS
from mixray.store import Artefact

COLUMNS = ["problem_id", "benchmark", "finish_reason", "num_response_tokens", "status", "answer", "verdict"]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """One arm's answers to one benchmark: N samples of P problems.

    Attributes:
        problem_ids: sorted.
        places: of shape (N,), the place of each sample's problem among `problem_ids`.
        kinds: of shape (N,), places in SAMPLE_KINDS.
        tokens: of shape (N,), the response's; 0 where not told.
        cut: of shape (N,), whether the response ended at the limit of tokens.
        votes: of shape (N,): 0 for every right sample, the same positive number for those of one other answer, -1 where there is none.
    """

    problem_ids: tuple[str, ...]
    places: Places
    kinds: Places
    tokens: Places
    cut: Flags
    votes: Places
    _told: dict[tuple[str, int], Block] = field(default_factory=dict, repr=False)

    def once(self, name: str, number: int, make: Callable[[], Block]) -> Block:
        """Return what `make` gives, made once for this name and number: several scopes speak of the same answers."""
        key = name, number
        if key not in self._told:
            self._told[key] = make()
        return self._told[key]

    @property
    def num_samples(self) -> int:
        """How many samples there are of all problems."""
        return len(self.places)

    @cached_property
    def is_right(self) -> Flags:
        """Which samples are right, of shape (N,)."""
        return self.kinds == 0

    @cached_property
    def samples(self) -> Places:
        """How many samples each problem has, of shape (P,)."""
        return np.bincount(self.places, minlength=len(self.problem_ids))

    @cached_property
    def num_right(self) -> Places:
        """How many samples of each problem are right, of shape (P,)."""
        return np.bincount(self.places[self.is_right], minlength=len(self.problem_ids))

    @cached_property
    def right(self) -> Block:
        """The share of right samples of each problem, of shape (P,)."""
        return self.num_right / self.samples

    @property
    def samples_per_problem(self) -> int:
        """What every problem was asked at least: the n of avg@n."""
        return int(self.samples.min())

    @cached_property
    def patterns(self) -> tuple[Places, Places]:
        """The ways in which samples of a problem agree, and which of them each problem shows, of shape (P,).

        A row per way: samples, right ones, and the votes of each other answer, the most first, then zeros.
        """
        others = self.votes > 0
        width = int(self.votes.max(initial=0)) + 1
        found, counts = np.unique(self.places[others] * width + self.votes[others], return_counts=True)
        order = np.lexsort((-counts, found // width))
        owners, counts = (found // width)[order], counts[order]
        ranks = np.arange(len(owners)) - np.searchsorted(owners, owners)
        table = np.zeros((len(self.problem_ids), 3 + int(ranks.max(initial=-1))), dtype=np.int64)
        table[:, 0], table[:, 1] = self.samples, self.num_right
        table[owners, 2 + ranks] = counts
        ways, places = np.unique(table, axis=0, return_inverse=True)
        return ways, places.reshape(-1)

    def counts(self) -> Places:
        """Return how many samples there are of each of SAMPLE_KINDS."""
        return np.bincount(self.kinds, minlength=len(SAMPLE_KINDS))

    def share_of(self, kind: str) -> Block:
        """Return the share of samples of each problem that are of one of SAMPLE_KINDS, of shape (P,)."""
        places = self.places[self.kinds == SAMPLE_KINDS.index(kind)]
        return np.bincount(places, minlength=len(self.problem_ids)) / self.samples

    def share_within(self, tokens: float) -> Block:
        """Return the share of samples of each problem that are right and no longer than so many tokens, of shape (P,)."""
        within = self.is_right & (self.tokens <= tokens)
        return np.bincount(self.places[within], minlength=len(self.problem_ids)) / self.samples

    def share_cut(self) -> Block:
        """Return the share of samples of each problem that ended at the limit of tokens, of shape (P,)."""
        return np.bincount(self.places[self.cut], minlength=len(self.problem_ids)) / self.samples


def read_answers(scores: Artefact) -> dict[str, Answers]:
    """Return one arm's answers by benchmark.

    Raises:
        MixrayError: it was asked nothing.
    """
    table = scores.read_table(_columns(scores))
    if not table.num_rows:
        raise MixrayError("An arm was asked nothing", seen=scores.label, do="check the benchmarks of the recipe")
    for name in COLUMNS:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    codes, names = _encoded(table.column("benchmark"))
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    table = table.take(pa.array(order))
    return {str(name): _answers(table.slice(low, high - low)) for name, low, high in zip(names, bounds, bounds[1:], strict=False)}


def _columns(scores: Artefact) -> list[str]:
    """Return those of COLUMNS that are there: score rows of earlier versions tell no status."""
    paths = [entry["path"] for entry in scores.manifest()["files"] if entry["path"].endswith(".parquet")]
    there = pq.read_schema(f"{scores.path}/{paths[0]}", filesystem=scores.store.arrow_fs).names if paths else COLUMNS
    return [name for name in COLUMNS if name in there]


def _encoded(column: pa.ChunkedArray) -> tuple[Places, NDArray[np.object_]]:
    """Return each row's place among the column's distinct values, and these, sorted."""
    encoded = column.combine_chunks().dictionary_encode()
    names = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    return ranks[encoded.indices.to_numpy(zero_copy_only=False)], names[order]


def _answers(table: pa.Table) -> Answers:
    places, problem_ids = _encoded(table.column("problem_id"))
    answer = pc.utf8_trim_whitespace(pc.fill_null(table.column("answer"), ""))
    answered = _flags(pc.not_equal(answer, ""))
    right = _is(table, "verdict", "right")
    finish = {reason: _is(table, "finish_reason", reason) for reason in ("error", "length")}
    holds = (
        right,
        finish["error"] | _is(table, "status", "error"),
        finish["length"],
        _is(table, "status", "looping"),
        ~answered,
        _is(table, "verdict", "unknown"),
        np.ones(table.num_rows, dtype=bool),
    )
    tokens = pc.fill_null(table.column("num_response_tokens"), 0).to_numpy().astype(np.int64)
    # What was cut off has not answered: a box in it may be one that the student was about to take back.
    votes = np.where(right, 0, np.where(answered & ~finish["length"], 1 + _encoded(answer)[0], -1))
    return Answers(tuple(problem_ids), places, np.argmax(holds, axis=0), tokens, finish["length"], votes)


def _is(table: pa.Table, column: str, value: str) -> Flags:
    return _flags(pc.fill_null(pc.equal(table.column(column), value), False))


def _flags(column: pa.ChunkedArray) -> Flags:
    return np.asarray(column.to_numpy(), dtype=bool)
