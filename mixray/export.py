"""Files and folders for other programs: whole or not there, and nothing of the user's is lost to one.

In: a place and what fills it. Out: the place filled. A kill leaves at most a hidden folder or file beside the place.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixray.errors import MixrayError


@contextlib.contextmanager
def appearing_whole(out: Path, noun: str, kind: type[MixrayError], force: bool = False) -> Iterator[Path]:
    """Give a place beside `out` to write to; leaving the block without error moves it to `out`, an error removes it.

    Args:
        out: the file or folder to be.
        noun: what is exported, for messages.
        kind: of the errors raised.
        force: whether a former export may be replaced; a folder that holds anything else never is.

    Raises:
        MixrayError: `out` is taken, or cannot be written.
    """
    if _exists(out) and not force:
        raise kind("The export's place is taken", seen=str(out), rule="nothing is written over", do="name another, or remove it")
    staged = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield staged
        if _exists(out):
            _refuse_what_is_no_export(out, staged, kind)
        _take_the_place(out, staged)
    except OSError as error:
        raise kind(f"A {noun} cannot be exported", seen=str(out), rule=str(error), do="make room, or name another place") from error
    finally:
        with contextlib.suppress(OSError):  # it must not hide the error that says what is wrong
            _remove(staged)


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object on each line; return how many."""
    with path.open("w", encoding="utf-8") as file:
        return sum(file.write(json.dumps(row, ensure_ascii=False) + "\n") > 0 for row in rows)


def write_parquet(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Write the tables as row groups of one file; return the number of rows."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            count += table.num_rows
            if table.num_rows:  # `datasets` cannot read a file that begins with an empty row group
                writer.write_table(table)
    return count


def save_as_data_set(parts: list[Path], folder: Path, split: str | None = None) -> None:
    """Turn parquet files, which hold a row at least, into a folder for `datasets.load_from_disk`.

    Args:
        parts: the files; they stay.
        folder: where the data set goes, beside what is there already.
        split: where given, the folder is a dictionary of this split alone.
    """
    import datasets

    scratch = folder / f".{uuid.uuid4().hex}"
    datasets.disable_progress_bars()
    try:
        # The library keeps a copy of what it reads in a cache, which is to end with the export.
        rows = datasets.Dataset.from_parquet([str(part) for part in parts], cache_dir=str(scratch / "cache"))
        (rows if split is None else datasets.DatasetDict({split: rows})).save_to_disk(str(scratch / "out"))
        for path in (scratch / "out").iterdir():
            path.rename(folder / path.name)
    finally:
        datasets.enable_progress_bars()
        shutil.rmtree(scratch, ignore_errors=True)


def _take_the_place(out: Path, staged: Path) -> None:
    if not out.is_dir():
        os.replace(staged, out)
        return
    aside = out.with_name(f".{out.name}.{uuid.uuid4().hex}")  # no system replaces a folder that holds something
    os.replace(out, aside)
    os.replace(staged, out)
    shutil.rmtree(aside)


def _refuse_what_is_no_export(out: Path, staged: Path, kind: type[MixrayError]) -> None:
    """Refuse to replace a folder by a file, a file by a folder, and a folder with files that no such export has."""
    strange = sorted(_names(out) - _names(staged))
    if out.is_dir() != staged.is_dir() or out.is_symlink() or strange:
        raise kind(
            "What is in the export's place is no former export of this kind",
            seen=f"{out}{f' with {strange[0]}' if strange else ''}",
            rule="force replaces nothing else",
            do="name another place, or remove it yourself",
        )


def _names(folder: Path) -> set[str]:
    """Return the paths in a folder, without the numbers: a larger former export had more parts."""
    if not folder.is_dir():
        return set()
    return {re.sub(r"\d+", "#", path.relative_to(folder).as_posix()) for path in folder.rglob("*")}


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
