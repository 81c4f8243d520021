"""Files and hub data sets of rows, one row at a time.

In: a path or URL (jsonl, json, csv, parquet; also compressed), or `hf:<data set>`. Out: the rows as they are, one by one, in order, and a
checksum that tells whether a source has changed. What cannot be read as a row comes out as `Unreadable` in its place: no row is lost, and
none ends the reading of the others. Memory does not grow with the file, nor with its longest line; a json list alone is read whole.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import infer_compression

from mixray.errors import MixrayError, SourceError

HUB = "hf:"
LONGEST_LINE_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20
ROWS_AT_ONCE = 256
MOST_CHARACTERS_SHOWN = 2000
_HUB_NAME = re.compile(r"(?P<name>[^:@]+)(?::(?P<config>[^:@]+))?(?:@(?P<revision>.+))?")


@dataclass(frozen=True)
class Unreadable:
    """What stands in the place of a row that is none."""

    reason: str
    """One word to count by: too_long, not_json, not_csv, ragged or not_text."""
    detail: str
    content: str
    """An excerpt, in ASCII."""


def raw_rows(source: str, split: str = "train") -> Iterator[Any]:
    """Yield the rows of `source` as they are, mostly dictionaries, with an `Unreadable` in the place of each broken one.

    Args:
        source: a path or URL of a .jsonl, .json, .csv or .parquet file, also compressed (.jsonl.gz); or `hf:<data set>`, a hub id or a
            local folder, with `:<configuration>` and `@<revision>` where needed.
        split: the split of a hub data set.

    Raises:
        SourceError: the source is not there, is of an unknown kind, or breaks off.
    """
    try:
        yield from _hub_rows(source.removeprefix(HUB), split) if source.startswith(HUB) else _file_rows(source)
    except MixrayError:
        raise
    except Exception as error:  # file systems, archives and hubs each have errors of their own
        raise _cannot_be_read(source, error) from error


def content_checksum(source: str) -> str | None:
    """Return a text that changes with what `source` holds; None for a hub data set, which its name and revision stand for.

    Raises:
        SourceError: the source is not there.
    """
    try:
        if source.startswith(HUB):
            folder = Path(source.removeprefix(HUB))
            return _checksum_of_folder(folder) if folder.is_dir() else None
        fs, path = fsspec.url_to_fs(source)
        if "file" not in fs.protocol:
            return str(fs.checksum(path))
        with fs.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except Exception as error:  # as above
        raise _cannot_be_read(source, error) from error


def excerpt(row: Any) -> str:
    """Return a row as ASCII text of at most `MOST_CHARACTERS_SHOWN`, for a person to recognise it by."""
    if isinstance(row, Unreadable):
        return row.content
    if isinstance(row, dict):  # clipped first: the row may hold megabytes
        row = {key: value[:MOST_CHARACTERS_SHOWN] if isinstance(value, str | bytes) else value for key, value in row.items()}
    try:
        return ascii(row[:MOST_CHARACTERS_SHOWN] if isinstance(row, str | bytes) else row)[:MOST_CHARACTERS_SHOWN]
    except RecursionError:
        return "(nested too deeply to be shown)"


def _cannot_be_read(source: str, error: Exception) -> SourceError:
    told = (str(error).strip() or "no reason given").splitlines()[0][:300]
    return SourceError(
        "A source of rows cannot be read",
        seen=source,
        rule=f"{type(error).__name__}: {told}",
        do="check the path, the split and who may read it",
    )


def _checksum_of_folder(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        with path.open("rb") as file:
            whole.update(f"{path.relative_to(folder)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def _hub_rows(name: str, split: str) -> Iterator[Any]:
    import datasets

    datasets.disable_progress_bars()
    match = None if Path(name).is_dir() else _HUB_NAME.fullmatch(name)
    named = match.groupdict() if match else {"name": name, "config": None, "revision": None}
    # Never with trust_remote_code. What is downloaded stays in the hub's cache and is mapped from there, not held in memory.
    yield from datasets.load_dataset(named["name"], named["config"], split=split, revision=named["revision"])


def _file_rows(source: str) -> Iterator[Any]:
    path = source.partition("?")[0] if "://" in source else source
    compression = infer_compression(path)
    kind = PurePosixPath(PurePosixPath(path).stem if compression else path).suffix.lower()
    if kind not in _READERS:
        raise SourceError(
            "A file of rows is of an unknown kind",
            seen=source,
            rule=f"one of {', '.join(_READERS)}, also compressed (.gz)",
            do="rename it, or name a folder of files as hf:<folder>",
        )
    with fsspec.open(source, "rb", compression=compression) as file:
        yield from _READERS[kind](file)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield each line with its length; of one longer than `LONGEST_LINE_BYTES` only the beginning is kept."""
    kept, length = b"", 0
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield (kept + end)[:LONGEST_LINE_BYTES], length + len(end)
            kept, length = b"", 0
        kept += rest[: LONGEST_LINE_BYTES - len(kept)]
        length += len(rest)
    if length:
        yield kept, length


def _text(line: bytes) -> str:
    """Decode UTF-8; bytes that are none become lone surrogates, which whoever uses the text refuses."""
    return line.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")


def _too_long(row: Any, length: int) -> Unreadable:
    return Unreadable("too_long", f"a line of {length:,} bytes, at most {LONGEST_LINE_BYTES:,}", excerpt(row))


def _jsonl_rows(file: BinaryIO) -> Iterator[Any]:
    return _json_of_lines(_chunks(file))


def _json_of_lines(chunks: Iterable[bytes]) -> Iterator[Any]:
    for line, length in _lines(chunks):
        if length > LONGEST_LINE_BYTES:
            yield _too_long(_text(line[:MOST_CHARACTERS_SHOWN]), length)
        elif line.strip():
            yield _parsed(_text(line))


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable("not_json", str(error)[:300], excerpt(line))


def _json_rows(file: BinaryIO) -> Iterator[Any]:
    """A .json file is one list of rows or, often enough, one row per line."""
    chunks = _chunks(file)
    head = b""
    while not head.strip() and (chunk := next(chunks, b"")):
        head += chunk
    if _text(head).lstrip().startswith("["):
        yield from json.loads(_text(b"".join([head, *chunks])))
    else:
        yield from _json_of_lines(itertools.chain([head], chunks))


def _csv_rows(file: BinaryIO) -> Iterator[Any]:
    csv.field_size_limit(LONGEST_LINE_BYTES)  # the default, 131,072 characters, is less than a long trace
    lengths: list[int] = []  # of the lines of the row at hand

    def texts() -> Iterator[str]:
        for line, length in _lines(_chunks(file)):
            lengths.append(length)
            yield _text(line) + "\n"

    # strict: otherwise a stray quote swallows the rest of the file and calls it a value.
    reader = csv.reader(texts(), strict=True)
    columns = next(reader, [])
    while True:
        start = reader.line_num + 1
        lengths.clear()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Unreadable("not_csv", f"lines {start} to {reader.line_num}: {error}", "")
            continue
        if max(lengths) > LONGEST_LINE_BYTES:
            yield _too_long(values, max(lengths))
        elif len(values) == len(columns):
            yield dict(zip(columns, values, strict=True))
        elif values:
            yield Unreadable("ragged", f"line {start}: {len(values)} values for {len(columns)} columns", excerpt(values))


def _parquet_rows(file: BinaryIO) -> Iterator[Any]:
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
            yield from _of_batch(batch)


def _of_batch(batch: pa.RecordBatch) -> Iterator[Any]:
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # one row's text is no UTF-8, or its date lies beyond the calendar
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                yield Unreadable("not_text", str(error)[:300], "")


_READERS: dict[str, Callable[[BinaryIO], Iterator[Any]]] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
