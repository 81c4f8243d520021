"""The pools of a store, to look at and to take away.

In: a store, and which traces are wanted. Out: listings, samples, files. A few thousand traces are in memory at a time; an export appears
whole or not at all.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mixray.errors import StoreError, TeacherError
from mixray.recipe import nearest
from mixray.rows import TRACE, accepted, keyed_draw
from mixray.store import Artefact, Store
from mixray.teachers.pools import KIND
from mixray.teachers.rejudge import JUDGED_BY

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
    return [store.open(KIND, folder) for folder in _folders(store)]


def _folders(store: Store) -> list[str]:
    """Return the pools' folders; one that a killed `verify --redo` moved aside is there to be judged again, not to be looked at."""
    return [folder for folder in store.folders(KIND) if not folder.endswith(".replaced")]


def _names(folders: list[str]) -> list[str]:
    return list(dict.fromkeys(folder.rpartition("-")[0] for folder in folders))


def find(store: Store, text: str) -> Artefact:
    """Return the pool whose folder, name or hash is `text`; of a pool and the one that a judge's opinions made of it, the latter.

    Raises:
        StoreError: none fits, or several do.
    """
    folders = _folders(store)
    fits = [folder for folder in folders if text in (folder, f"{KIND}/{folder}", *folder.rpartition("-")[::2])]
    if len(fits) > 1:
        judged_further = {made_from for folder in fits for made_from in store.open(KIND, folder).made_by["inputs"].values()}
        fits = [folder for folder in fits if folder.rpartition("-")[2] not in judged_further]
    if len(fits) == 1:
        return store.open(KIND, fits[0])
    known = fits or folders
    raise StoreError(
        "Several pools have this name" if fits else "There is no such pool",
        seen=text,
        rule=f"one of {', '.join(known)}" if known else f"{store.url} holds no pool",
        do="give the whole name" if fits else f"see `mixray pool ls`{nearest(text, [*_names(folders), *folders])}",
    )


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
    if out.exists():
        raise TeacherError("The export's place is taken", seen=str(out), rule="nothing is written over", do="name another, or remove it")
    staged = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        count = _write(pool, staged, kind, wanted)
        if not count:
            raise TeacherError("No trace of the pool is of this kind", seen=pool.label, do="see `mixray pool show`; nothing was written")
        os.replace(staged, out)
    except OSError as error:
        raise TeacherError("A pool cannot be exported", seen=str(out), rule=str(error), do="make room, or name another place") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        with contextlib.suppress(OSError):  # it must not hide the error that says what is wrong
            staged.unlink(missing_ok=True)
    return count


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
EXPORTED = pa.schema([*TRACE, ("messages", MESSAGES)])


def _write(pool: Artefact, staged: Path, kind: Format, wanted: Wanted) -> int:
    if kind == "jsonl":
        with staged.open("w", encoding="utf-8") as file:
            return sum(file.write(json.dumps(row, ensure_ascii=False) + "\n") > 0 for row in _exported(pool, wanted))
    if kind == "parquet":
        return _write_parquet(pool, staged, wanted)
    import datasets

    staged.mkdir()
    try:
        count = _write_parquet(pool, staged / "rows.parquet", wanted)
        datasets.disable_progress_bars()
        if not count:  # `datasets` cannot load a data set without rows
            return 0
        datasets.Dataset.from_parquet(str(staged / "rows.parquet"), cache_dir=str(staged / "cache")).save_to_disk(str(staged / "out"))
    finally:
        datasets.enable_progress_bars()
    for path in (staged / "out").iterdir():
        path.rename(staged / path.name)
    shutil.rmtree(staged / "cache")
    (staged / "rows.parquet").unlink()
    (staged / "out").rmdir()
    return count


def _write_parquet(pool: Artefact, path: Path, wanted: Wanted) -> int:
    count = 0
    with pq.ParquetWriter(path, EXPORTED, compression="zstd") as writer:
        for table in pool.tables():
            rows = [_with_messages(trace) for trace in table.to_pylist() if wanted.takes(trace)]
            count += len(rows)
            if rows:  # `datasets` cannot read a file that begins with an empty row group
                writer.write_table(pa.Table.from_pylist(rows, schema=EXPORTED))
    return count


def _exported(pool: Artefact, wanted: Wanted) -> Iterator[dict[str, Any]]:
    return (_with_messages(trace) for trace in traces(pool, wanted))


def _with_messages(trace: dict[str, Any]) -> dict[str, Any]:
    turns = [("user", trace["question"]), ("assistant", trace["response"] or "")]
    return trace | {"messages": [{"role": role, "content": content} for role, content in turns]}
