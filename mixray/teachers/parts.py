"""The part files of a growing pool: one for each block of problems, whole or absent.

In: judged traces of a block. Out: which problems are answered, and at the end all traces in the order of the problems. A part is written
beside its place and renamed (one put on an object store), under a name its problems make, so a block done twice is there once. Whatever
is killed, a problem's traces are all in a part or the problem counts as not asked. Where two parts hold one problem, as after a writer
that was thought dead, all its traces come from one of them.

Ray Data's own row checkpoints would do for fixed samples; they need a write task after each block and cannot hold a problem's traces
together or take failed blocks back (README.md beside this file, "Exactly once").
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from mixray.locks import Fence
from mixray.rows import TRACE, digest
from mixray.store import Store
from mixray.teachers.tally import Tally

PART = pa.schema([("position", pa.int64()), *TRACE])
FOLDER = "parts"
_STAMP, _TALLY = b"mixray.stamp", b"mixray.tally"
_READERS = 8
_LOOKED_AT_ONCE = 256
_NO_PART = (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who wrote a part and when (seconds since the epoch): what a pool took is added up from these, over all runs and kills."""

    run: str
    actor: str
    actor_started: float
    first_asked: float
    written: float


@dataclass(frozen=True, slots=True)
class Part:
    """One part file: its problems' positions, its counts, its stamp."""

    path: str
    positions: npt.NDArray[np.int64]
    tally: Tally
    stamp: Stamp


def written(store: Store, work_folder: str, positions: Iterable[int]) -> Tally | None:
    """Return the counts of the part that holds just these problems, or None where there is none.

    Ray makes a finished block again where the node that held its counts is lost; nobody should be asked for that.

    Raises:
        OSError: it cannot be read now.
        StoreError: the storage does not answer, or does not let us in.
    """
    path = _path(work_folder, sorted(positions))
    store.fs.invalidate_cache()
    if not store.fs.exists(path):
        return None
    part = _look(store, path)
    return part.tally if part else None


def write_part(store: Store, work_folder: str, rows: list[dict[str, Any]], stamp: Stamp, fence: Fence | None = None) -> None:
    """Write a block's traces; an earlier part of the same problems is replaced.

    Raises:
        StoreError: the disk is full or read-only, or another attempt has taken over from the one behind `fence`.
    """
    positions = sorted({row["position"] for row in rows})
    metadata = {_STAMP: json.dumps(asdict(stamp)), _TALLY: json.dumps(asdict(Tally.of(rows)))}
    table = pa.Table.from_pylist(rows, schema=PART.with_metadata(metadata))
    path = _path(work_folder, positions)
    if fence is not None:
        fence.check()
    store.put(path, file_of(table), synced=True)


def file_of(table: pa.Table) -> bytes:
    """Return a table as the bytes of a parquet file, so that it is written at once or not at all."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _path(work_folder: str, positions: list[int]) -> str:
    return f"{work_folder}/{FOLDER}/{positions[0]:09d}-{digest(positions, 12)}.parquet"


class Parts:
    """What has been written so far of `num_problems` problems."""

    def __init__(self, store: Store, work_folder: str, num_problems: int) -> None:
        """Look at every part; one that is damaged is removed, and its problems count as not asked.

        Raises:
            OSError: a part cannot be read now.
            StoreError: the storage does not answer, or does not let us in.
        """
        self.store, self.parts = store, looked_at(store, work_folder)
        self.owner = np.full(num_problems, -1, np.int32)
        for index, part in enumerate(self.parts):
            free = part.positions[self.owner[part.positions] < 0]
            self.owner[free] = index

    def missing(self) -> npt.NDArray[np.int64]:
        """Return the positions of the problems that no part holds."""
        return np.flatnonzero(self.owner < 0)

    def tally(self) -> Tally:
        """Return the counts over all parts."""
        total = Tally()
        for part in self.parts:
            total.add(part.tally)
        return total

    def ordered(self, problems_per_table: int) -> Iterator[pa.Table]:
        """Yield all traces by problem and sample, so many problems at a time; only what one table needs is in memory."""
        firsts = np.array([part.positions[0] for part in self.parts])
        lasts = np.array([part.positions[-1] for part in self.parts])
        for start in range(0, len(self.owner), problems_per_table):
            touched = np.flatnonzero((firsts < start + problems_per_table) & (lasts >= start))
            tables = [self._rows(int(index), start, start + problems_per_table) for index in touched]
            table = pa.concat_tables([PART.empty_table(), *tables])
            if table.num_rows:
                yield table.sort_by([("position", "ascending"), ("sample", "ascending")]).drop_columns("position").cast(TRACE)

    def remove(self, parts: Iterable[Part]) -> None:
        """Remove parts, so that their problems are asked again."""
        for part in parts:
            self.store.fs.rm_file(part.path)

    def _rows(self, index: int, start: int, end: int) -> pa.Table:
        table = pq.read_table(self.parts[index].path, schema=PART, filesystem=self.store.arrow_fs)
        positions = table["position"].to_numpy()
        mine = (positions >= start) & (positions < end) & (self.owner[positions] == index)
        return table.filter(pa.array(mine))


def looked_at(store: Store, work_folder: str, ours: bool = True) -> list[Part]:
    """Return every part of a work folder, by name; one that is damaged is removed where the folder is `ours`, else left out.

    Raises:
        OSError: a part cannot be read now.
        StoreError: the storage does not answer, or does not let us in.
    """
    store.fs.invalidate_cache()
    folder = f"{work_folder}/{FOLDER}"
    try:
        found = store.fs.ls(folder, detail=False)
    except FileNotFoundError:
        return []
    names = sorted(path.rsplit("/", 1)[-1] for path in found)
    paths = [f"{folder}/{name}" for name in names if name.endswith(".parquet") and not name.startswith(".")]
    parts: list[Part] = []
    with ThreadPoolExecutor(_READERS) as readers:
        for start in range(0, len(paths), _LOOKED_AT_ONCE):  # what waits to be looked at takes memory too
            seen = readers.map(functools.partial(_look, store, ours=ours), paths[start : start + _LOOKED_AT_ONCE])
            parts += [part for part in seen if part is not None]
    return parts


def so_far(store: Store, work_folder: str) -> Tally:
    """Return the counts of the parts that are there, for whoever looks on: their ends alone are read, and nothing is removed."""
    store.fs.invalidate_cache()
    total, paths = Tally(), store.fs.glob(f"{work_folder}/{FOLDER}/[0-9]*.parquet")

    def counted(path: str) -> Tally:
        try:
            return Tally(**json.loads((pq.read_schema(path, filesystem=store.arrow_fs).metadata or {})[_TALLY]))
        except _NO_PART:
            return Tally()

    with ThreadPoolExecutor(_READERS) as readers:
        for tally in readers.map(counted, paths):
            total.add(tally)
    return total


def _look(store: Store, path: str, ours: bool = True) -> Part | None:
    """Return a part, or None where there is none, or none that is whole.

    Only the bytes at hand can tell that it is damaged: the same errors come of a storage that is away or refuses for a while, and a part
    was paid for.
    """
    with contextlib.suppress(*_NO_PART):
        return _read(path, path, store.arrow_fs)
    try:
        content = store.fs.cat_file(path)
    except FileNotFoundError:
        return None
    try:
        return _read(path, pa.BufferReader(content))
    except _NO_PART:  # torn by a power cut, or not ours
        if ours:
            with contextlib.suppress(FileNotFoundError):
                store.fs.rm_file(path)
        return None


def _read(path: str, source: str | pa.BufferReader, fs: pafs.FileSystem | None = None) -> Part:
    with pq.ParquetFile(source, filesystem=fs) as file:
        metadata = file.schema_arrow.metadata
        positions = np.unique(file.read(columns=["position"])["position"].to_numpy())
    stamp = json.loads(metadata[_STAMP])
    stamp |= {name: sys.intern(stamp[name]) for name in ("run", "actor")}  # thousands of parts share a few
    return Part(path, positions, Tally(**json.loads(metadata[_TALLY])), Stamp(**stamp))
