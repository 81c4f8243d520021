"""What a committed artefact holds: its place, its manifest, files that are what the manifest says, rows.

In: a folder of the store. Out: tables, row groups, JSON, a local copy. Nothing here makes or changes an artefact: that is `mixray.store`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from mixray import copies
from mixray.commits import MANIFEST
from mixray.errors import StoreError
from mixray.staging import measure

if TYPE_CHECKING:
    from mixray.store import Store


@dataclass(frozen=True)
class ArtefactFolder:
    """The folder of one artefact, as those see it who read."""

    store: Store
    kind: str
    name: str
    hash: str

    @property
    def label(self) -> str:
        """`<kind>/<name>-<hash>`, the way logs and messages speak of it."""
        return f"{self.kind}/{self.folder}"

    @property
    def folder(self) -> str:
        """`<name>-<hash>`: the name of its folder among those of its kind, and what listings show."""
        return f"{self.name}-{self.hash}"

    @property
    def path(self) -> str:
        """The folder's path on the store's filesystem."""
        return f"{self.store.root}/{self.label}"

    @property
    def address(self) -> str:
        """Where it lies, as any process on any node finds it."""
        return f"{self.store.absolute_url.rstrip('/')}/{self.label}"

    @property
    def work_path(self) -> str:
        """A folder for unfinished work that a later run resumes; removed by the commit."""
        return f"{self.store.root}/.work/{self.label}"

    def manifest(self) -> dict[str, Any]:
        """Return the manifest: what went in, what came out, files with sizes and checksums, versions of what made it."""
        try:
            with self.store.fs.open(f"{self.path}/{MANIFEST}", "rb") as file:
                return dict(json.loads(file.read()))
        except FileNotFoundError:
            raise StoreError("An artefact is not there", seen=self.label, rule="its manifest is written last", do="run its stage") from None
        except ValueError as error:
            raise StoreError("A manifest is damaged", seen=self.label, rule=str(error), do=f"remove {self.path}") from error

    @property
    def outcome(self) -> dict[str, Any]:
        """What the stage said came out (rows, tokens, seconds, drops)."""
        return dict(self.manifest()["outcome"])

    def verify(self) -> None:
        """Check every file's size and sha256 against the manifest.

        Raises:
            StoreError: a file is missing, or differs.
        """
        for entry in self.manifest()["files"]:
            self.check_file(entry, self.store.fs, f"{self.path}/{entry['path']}")

    def check_file(self, entry: dict[str, Any], fs: fsspec.AbstractFileSystem, path: str) -> None:
        """Hold a file, or a copy of it, against what the manifest says.

        Raises:
            StoreError: it is missing, or differs.
        """
        try:
            size, checksum = measure(fs, path)
        except FileNotFoundError:
            size, checksum = -1, "missing"
        if (size, checksum) != (entry["bytes"], entry["sha256"]):
            raise StoreError(
                "A file is not what its manifest says",
                seen=f"{self.path}/{entry['path']}: {size} bytes, sha256 {checksum[:12]}",
                rule=f"{entry['bytes']} bytes, sha256 {entry['sha256'][:12]}",
                do=f"remove {self.path} and run again",
            )

    def read_table(self, columns: list[str] | None = None) -> pa.Table:
        """Verify the artefact and return its parquet rows, in file order."""
        self.verify()
        paths = [f"{self.path}/{entry['path']}" for entry in self.manifest()["files"] if entry["path"].endswith(".parquet")]
        if not paths:
            raise StoreError("An artefact holds no rows", seen=self.label)
        return pa.concat_tables([self._whole_file(path, columns) for path in sorted(paths)])

    def _whole_file(self, path: str, columns: list[str] | None) -> pa.Table:
        # Not pq.read_table: it lets go of the file on a thread of arrow's own, and a process that ends just then ends in a crash.
        with pq.ParquetFile(path, filesystem=self.store.arrow_fs) as file:
            return file.read(columns)

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Verify the artefact and yield its parquet rows in file order, a row group at a time."""
        self.verify()
        for path, group, _ in self.row_groups():
            yield self.read_row_group(path, group, columns)

    def row_groups(self) -> list[tuple[str, int, int]]:
        """Return file, number and first row of every row group of the parquet files, in file order."""
        found, start = [], 0
        for entry in self.manifest()["files"]:
            if entry["path"].endswith(".parquet"):
                with pq.ParquetFile(f"{self.path}/{entry['path']}", filesystem=self.store.arrow_fs) as file:
                    for group in range(file.num_row_groups):
                        found.append((entry["path"], group, start))
                        start += file.metadata.row_group(group).num_rows
        return found

    def read_row_group(self, path: str, group: int, columns: list[str] | None = None) -> pa.Table:
        """Return one row group, unverified."""
        with pq.ParquetFile(f"{self.path}/{path}", filesystem=self.store.arrow_fs) as file:
            return file.read_row_group(group, columns=columns)

    def read_json(self, name: str) -> Any:
        """Return one JSON file of the artefact."""
        with self.store.fs.open(f"{self.path}/{name}", "rb") as file:
            return json.loads(file.read())

    def local_folder(self) -> Path:
        """Return a local folder with the verified files: the artefact itself, or a copy of a remote one that is whole or not there."""
        if self.store.is_local:
            self.verify()
            return Path(self.path)
        return copies.local_copy(self)
