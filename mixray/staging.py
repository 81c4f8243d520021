"""A folder being filled: what a stage writes before its artefact is committed.

In: tables and values, or files a library writes into the folder itself. Out: the files with their sizes and checksums.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass
class Staging:
    """A local folder being filled, and what its stage says came out."""

    folder: Path
    outcome: dict[str, Any] = field(default_factory=dict)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one parquet file."""
        pq.write_table(table, self.folder / name, compression="zstd")

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file, keys sorted."""
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (self.folder / name).write_text(text + "\n", encoding="utf-8")

    def files(self) -> list[dict[str, Any]]:
        """Return path (relative to the folder), bytes, sha256 and, of parquet, rows of every file, in the order of the paths."""
        found: list[dict[str, Any]] = []
        for path in sorted(item for item in self.folder.rglob("*") if item.is_file()):
            size, checksum = measure(fsspec.filesystem("file"), str(path))
            entry = {"path": path.relative_to(self.folder).as_posix(), "bytes": size, "sha256": checksum}
            found.append(entry | ({"rows": pq.read_metadata(path).num_rows} if path.suffix == ".parquet" else {}))
        return found


def measure(fs: fsspec.AbstractFileSystem, path: str) -> tuple[int, str]:
    """Return the size in bytes and the sha256 of a file of any filesystem."""
    size, checksum = 0, hashlib.sha256()
    with fs.open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            size += len(chunk)
            checksum.update(chunk)
    return size, checksum.hexdigest()
