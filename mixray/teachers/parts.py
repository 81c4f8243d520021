"""The rows of a growing pool: part files in the work folder, one for each block Ray Data has written.

In: a folder that other processes write to. Out: which rows are there, how they went, how fast they come. A file that is still being
written, or was left half written by a kill, counts for nothing: Ray Data's checkpoint knows it as pending and removes it.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from mixray.progress import StageProgress
from mixray.rows import TRACE
from mixray.store import Store
from mixray.teachers.attempts import Attempts

POLL_SECONDS = 1.0


@dataclass
class Parts:
    """What has been written so far; `refresh` looks again and reads only what is new."""

    store: Store
    folder: str
    tables: dict[str, pa.Table] = field(default_factory=dict)

    def refresh(self) -> None:
        """Take in new files and forget those that went."""
        self.store.fs.invalidate_cache()
        found = self.store.fs.ls(self.folder, detail=False) if self.store.fs.exists(self.folder) else []
        paths = {path for path in found if path.endswith(".parquet")}
        self.tables = {path: table for path, table in self.tables.items() if path in paths}
        for path in sorted(paths - self.tables.keys()):
            with contextlib.suppress(OSError, pa.ArrowInvalid):  # not whole yet
                self.tables[path] = pq.read_table(self._path(path), schema=TRACE, filesystem=self.store.arrow_fs)

    def rows(self) -> pa.Table:
        """Return every row, in no order."""
        return pa.concat_tables([TRACE.empty_table(), *self.tables.values()])

    def _path(self, path: str) -> str:
        return f"{self.folder}/{posixpath.basename(path)}"


@contextlib.contextmanager
def watched(parts: Parts, total: int, progress: StageProgress, attempts: Attempts) -> Iterator[None]:
    """Show the pool growing while the block runs; as long as it grows, the engines' failed starts are forgiven."""
    ended = threading.Event()

    def watch() -> None:
        first: tuple[float, int] | None = None
        before = parts.rows().num_rows
        while not ended.wait(POLL_SECONDS):
            parts.refresh()
            rows = parts.rows()
            if rows.num_rows > before:
                before = rows.num_rows
                attempts.clear()
            tokens, now = sum(rows["num_response_tokens"].to_pylist()), time.monotonic()
            first = first or ((now, tokens) if rows.num_rows else None)
            progress.update(rows.num_rows, total, **_facts(rows, tokens, now, first))

    watcher = threading.Thread(target=watch, daemon=True, name="mixray-pool-progress")
    progress.update(parts.rows().num_rows, total, state="starting the engine")
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _facts(rows: pa.Table, tokens: int, now: float, first: tuple[float, int] | None) -> dict[str, str | float]:
    if not rows.num_rows or first is None:
        return {"state": "starting the engine"}
    facts: dict[str, str | float] = {"right": f"{rows['verdict'].to_pylist().count('right') / rows.num_rows:.0%}"}
    if now > first[0]:
        facts["tokens_per_second"] = (tokens - first[1]) / (now - first[0])
    return facts
