"""The pools of a store, to look at and to take away.

In: a store, and which traces are wanted. Out: listings, samples, files. A few thousand traces are in memory at a time; an export appears
whole or not at all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from mixray import shelf
from mixray.errors import TeacherError
from mixray.export import appearing_whole, save_as_data_set, write_json_lines, write_parquet
from mixray.judged import JUDGED_BY
from mixray.rows import MESSAGE, TRACE, accepted, keyed_draw
from mixray.store import Artefact, Store
from mixray.teachers.pools import KIND

Format = Literal["parquet", "jsonl", "datasets"]


@dataclass(frozen=True)
class Wanted:
    """Which traces are wanted; what is None does not matter."""

    verdict: str | None = None
    status: str | None = None
    problem: str | None = None
    accepted: bool = False

    def takes(self, trace: dict[str, Any]) -> bool:
        """Whether a trace is wanted."""
        asked = ((self.verdict, "verdict"), (self.status, "status"), (self.problem, "problem_id"))
        return all(value is None or trace[column] == value for value, column in asked) and (not self.accepted or accepted(trace))


def pools(store: Store) -> list[Artefact]:
    """Return every committed pool of a store, by name."""
    return [store.open(KIND, folder) for folder in shelf.folders(store, KIND)]


def find(store: Store, text: str) -> Artefact:
    """Return the pool whose folder, name or hash is `text`; of a pool and the one that a judge's opinions made of it, the latter.

    Raises:
        StoreError: none fits, or several do.
    """
    fits = shelf.fitting(store, KIND, text)
    if len(fits) > 1:
        judged_further = {made_from for folder in fits for made_from in store.open(KIND, folder).made_by["inputs"].values()}
        fits = [folder for folder in fits if folder.rpartition("-")[2] not in judged_further]
    return shelf.open_only(store, KIND, text, fits)


def counts_unboxed(pool: Artefact) -> bool:
    """Whether the rule that judged a pool takes a number without a box for an answer; a judge's opinions came after it."""
    settings = pool.made_by["settings"]
    if JUDGED_BY not in settings:
        return counts_unboxed(find(pool.store, pool.made_by["inputs"]["pool"]))
    return bool(settings[JUDGED_BY]["unboxed"])


def traces(pool: Artefact, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Yield the wanted traces in the pool's order."""
    for table in pool.tables():
        yield from (trace for trace in table.to_pylist() if wanted.takes(trace))


def one(pool: Artefact, trace_id: str) -> dict[str, Any]:
    """Return the trace with this id.

    Raises:
        TeacherError: there is none.
    """
    found = next((trace for trace in traces(pool, Wanted()) if trace["trace_id"] == trace_id), None)
    if found is None:
        raise TeacherError("There is no such trace", seen=trace_id, rule="<problem>/<teacher>/<sample>", do="see `mixray pool sample`")
    return found


def sample(pool: Artefact, count: int, wanted: Wanted, seed: int) -> list[dict[str, Any]]:
    """Return `count` of the wanted traces by a keyed draw: the same for the same seed, more of them for a larger count."""
    drawn = ((keyed_draw("sample", seed, trace["trace_id"]), index, trace) for index, trace in enumerate(traces(pool, wanted)))
    return [trace for _, _, trace in heapq.nsmallest(count, drawn)]


def export(pool: Artefact, out: Path, kind: Format, wanted: Wanted) -> int:
    """Write the wanted traces to `out`, a file, or a folder for `datasets`; return how many.

    Each row has the pool's columns and, for training elsewhere, `messages`: the question and the response as turns.

    Raises:
        TeacherError: `out` is there already, or cannot be written; or no trace is wanted.
    """
    with appearing_whole(out, "pool", TeacherError) as staged:
        count = _write(pool, staged, kind, wanted)
        if not count:
            raise TeacherError("No trace of the pool is of this kind", seen=pool.label, do="see `mixray pool show`; nothing was written")
    return count


EXPORTED = pa.schema([*TRACE, ("messages", pa.list_(MESSAGE))])


def _write(pool: Artefact, staged: Path, kind: Format, wanted: Wanted) -> int:
    if kind == "jsonl":
        return write_json_lines(staged, (_with_messages(trace) for trace in traces(pool, wanted)))
    if kind == "parquet":
        return write_parquet(staged, _exported(pool, wanted), EXPORTED)
    staged.mkdir()
    rows = staged / "rows.parquet"
    count = write_parquet(rows, _exported(pool, wanted), EXPORTED)
    if count:  # `datasets` cannot load a data set without rows
        save_as_data_set([rows], staged)
    rows.unlink()
    return count


def _exported(pool: Artefact, wanted: Wanted) -> Iterator[pa.Table]:
    for table in pool.tables():
        yield pa.Table.from_pylist([_with_messages(trace) for trace in table.to_pylist() if wanted.takes(trace)], schema=EXPORTED)


def _with_messages(trace: dict[str, Any]) -> dict[str, Any]:
    turns = [("user", trace["question"]), ("assistant", trace["response"] or "")]
    return trace | {"messages": [{"role": role, "content": content} for role, content in turns]}
