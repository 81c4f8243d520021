"""The chosen traces as training rows: texts are read here, and only those that are in.

In: the pools, and chosen candidates in their order. Out: parquet files of rows.EXAMPLE. Each pool is read a row group at a time, and
what is chosen of it goes into one of a few files by its place in the order; then each is put in order and written. So memory holds one
such part of the texts, however many rows a mixture has.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from mixray.mixing.draws import Codes
from mixray.mixing.gathering import Gathered
from mixray.mixing.views import Lesson
from mixray.progress import StageProgress
from mixray.rows import EXAMPLE, MESSAGE
from mixray.store import Artefact

_TEXTS = ["trace_id", "problem_id", "question", "response", "subject", "level"]
_CHOSEN = pa.schema([("place", pa.int64()), ("asked", pa.string()), ("taught", pa.string()), *list(EXAMPLE)[1:]])
_TOKENS_PER_PART = 2**23  # some 30 MB of text: an Arrow array of strings holds 2 GB at most
_MOST_PARTS = 200  # all are open at once
_ROWS_PER_GROUP = 2**14
_THREADS = 2
Result = TypeVar("Result")


def write(
    folder: Path, found: Gathered, rows: Codes, pools: Mapping[str, Artefact], lessons: Mapping[str, Lesson], progress: StageProgress
) -> None:
    """Write the candidates `rows`, in this order, into `folder`."""
    tokens = np.cumsum(found.length[rows])  # a cut row's text is whole
    # Numbered without gaps, which a row longer than a part would leave.
    part_of = np.unique(tokens // max(_TOKENS_PER_PART, int(tokens[-1]) // _MOST_PARTS), return_inverse=True)[1]
    parts = [folder / f"part-{number:05d}.arrow" for number in range(int(part_of[-1]) + 1)]
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(ipc.new_file(str(part), _CHOSEN, options=ipc.IpcWriteOptions(compression="lz4"))) for part in parts]
        for number, name in enumerate(found.names):
            places = np.flatnonzero(found.pool[rows] == number)
            for table in _chosen(pools[name], lessons[name], found, rows, places):
                bounds = np.searchsorted(part_of[table["place"].to_numpy()], np.arange(len(parts) + 1))
                for file, (start, end) in zip(files, itertools.pairwise(bounds), strict=True):
                    if end > start:
                        file.write_table(table.slice(start, end - start))
    for number, _ in enumerate(
        _ahead(partial(_finish, part, folder / f"examples-{place:05d}.parquet") for place, part in enumerate(parts))
    ):
        progress.update(number + 1, len(parts))


def _finish(part: Path, path: Path) -> None:
    """Write one part in its order."""
    with ipc.open_file(str(part)) as file:
        table = file.read_all()
    part.unlink()
    table = _examples(table.take(np.argsort(table["place"].to_numpy())))
    pq.write_table(table, path, compression="zstd", row_group_size=_ROWS_PER_GROUP)


def _ahead(calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Yield the results of calls in their order while the next few run in threads; arrow computes and compresses outside the lock."""
    with ThreadPoolExecutor(_THREADS) as threads:
        running: deque[Future[Result]] = deque()
        for call in calls:
            running.append(threads.submit(call))
            if len(running) > _THREADS:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _chosen(pool: Artefact, lesson: Lesson, found: Gathered, rows: Codes, places: Codes) -> Iterator[pa.Table]:
    """Yield the chosen texts of a pool, a row group at a time, in the order of their places, beside what is counted of them."""
    lying = found.row[rows[places]]
    order = np.argsort(lying, kind="stable")
    lying, places = lying[order], places[order]
    yield from _ahead(partial(_read, pool, lesson, found, rows, lying, places, *group) for group in pool.row_groups())


def _read(
    pool: Artefact, lesson: Lesson, found: Gathered, rows: Codes, lying: Codes, places: Codes, path: str, group: int, start: int
) -> pa.Table:
    """Return what is chosen of one row group: of the rows `lying` in the pool, in order, that are to take these `places`."""
    texts = pool.read_row_group(path, group, _TEXTS)
    first, last = np.searchsorted(lying, (start, start + texts.num_rows))
    mine = places[first:last]
    by_place = np.argsort(mine)
    table = texts.take((lying[first:last] - start)[by_place])
    mine = mine[by_place]
    asked = lesson.asked(table["question"])
    response = table["response"]
    if lesson.view != "whole":
        response = pa.chunked_array([pa.array([lesson.response(text) for text in response.to_pylist()], pa.string())])
    return pa.table(
        {
            "place": mine, "asked": asked, "taught": response, "problem_id": table["problem_id"], "trace_id": table["trace_id"],
            "pool": pa.array([pool.name]).take(pa.array(np.zeros(len(mine), np.int8))),
            "num_tokens": found.num_tokens[rows[mine]].astype(np.int32),
            "num_loss_tokens": found.num_loss_tokens[rows[mine]].astype(np.int32),
            "subject": table["subject"], "level": table["level"],
        }, schema=_CHOSEN,
    )  # fmt: skip


def _examples(table: pa.Table) -> pa.Table:
    """Return rows.EXAMPLE: question and response of a row become its two messages."""
    asked, taught = table["asked"].combine_chunks(), table["taught"].combine_chunks()
    turns = np.arange(2 * table.num_rows).reshape(2, -1).T.ravel()
    contents = pa.concat_arrays([asked, taught]).take(pa.array(turns))
    roles = pa.DictionaryArray.from_arrays(np.tile(np.array([0, 1], np.int8), table.num_rows), pa.array(["user", "assistant"]))
    messages = pa.StructArray.from_arrays([roles.cast(pa.string()), contents], fields=list(MESSAGE))
    offsets = pa.array(np.arange(table.num_rows + 1, dtype=np.int32) * 2)
    listed = pa.ListArray.from_arrays(offsets, messages)
    columns = [listed, *(table[name] for name in EXAMPLE.names if name != "messages")]
    return pa.Table.from_arrays([pa.chunked_array([c]) if isinstance(c, pa.Array) else c for c in columns], names=EXAMPLE.names).cast(
        EXAMPLE
    )
