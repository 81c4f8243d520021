"""Artefacts: folders named by what made them, whole or invisible.

`<storage>/<kind>/<name>-<hash>/` holds one stage's result; the hash covers the stage's settings, the hashes of what it read
and a format version, so the same recipe finds its results again. Files are staged beside the final place and committed with
`manifest.json` written last; a folder without one is never read. Unfinished work that can be resumed lies in
`<storage>/.work/<kind>/<name>-<hash>/` and is removed by the commit.

What survives a kill: every committed artefact, and every resumable stage's work folder. Two runs that want the same artefact
take turns on a lock (released by the system when its holder dies) and the second finds it done; should the lock fail them,
the first commit wins and the other is thrown away.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from mixray.disk import disk_errors_explained, write_whole
from mixray.errors import StoreError
from mixray.locks import exclusive
from mixray.rows import digest
from mixray.staging import Staging, measure
from mixray.versions import made_with

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Store:
    """A folder of artefacts on any filesystem fsspec can reach (`./runs`, `s3://bucket/prefix`, ...)."""

    url: str

    @cached_property
    def _resolved(self) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            fs, root = fsspec.url_to_fs(str(self.url))
        except (ImportError, ValueError) as error:
            raise StoreError("The storage cannot be reached", seen=self.url, rule=str(error), do="check --storage") from error
        return fs, root.rstrip("/")

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The fsspec filesystem behind the store."""
        return self._resolved[0]

    @property
    def root(self) -> str:
        """The store's path on `fs`."""
        return self._resolved[1]

    @property
    def absolute_url(self) -> str:
        """The address by which a process in another folder finds the same store."""
        return self.root if self.is_local else self.url

    @property
    def is_local(self) -> bool:
        """Whether the store is a plain folder of this machine."""
        return "file" in self.fs.protocol or self.fs.protocol == "file"

    @property
    def arrow_fs(self) -> pafs.FileSystem:
        """The same filesystem for pyarrow, Ray Data and Ray Train."""
        return pafs.LocalFileSystem() if self.is_local else pafs.PyFileSystem(pafs.FSSpecHandler(self.fs))

    def artefact(self, kind: str, name: str, settings: Mapping[str, Any], inputs: Mapping[str, Artefact] | None = None) -> Artefact:
        """Return the handle of the artefact made by `settings` from `inputs`, done or not."""
        used = {key: value.hash for key, value in (inputs or {}).items()}
        made_by = {"format": FORMAT, "kind": kind, "settings": dict(settings), "inputs": used}
        return Artefact(self, kind, name, digest(made_by, 12), made_by)

    def folders(self, kind: str) -> list[str]:
        """Return the folder names of the committed artefacts of one kind."""
        folder = f"{self.root}/{kind}"
        if not self.fs.exists(folder):
            return []
        self.fs.invalidate_cache()
        names = [posixpath.basename(path.rstrip("/")) for path in self.fs.ls(folder, detail=False)]
        return sorted(name for name in names if self.fs.exists(f"{folder}/{name}/{MANIFEST}"))

    def put(self, path: str, data: bytes, synced: bool = False) -> None:
        """Write one file whole: beside its place and renamed, or put as one object; `synced` outlives a power cut.

        Raises:
            StoreError: the disk is full or read-only.
        """
        with disk_errors_explained(self.url):
            if self.is_local:
                write_whole(Path(path), data, synced)
            else:
                self.fs.pipe_file(path, data)

    def readers(self, artefact: Artefact) -> list[str]:
        """Return the labels of the committed artefacts that were made directly from `artefact`."""
        found = []
        for path in sorted(self.fs.ls(self.root, detail=False)):
            kind = posixpath.basename(path.rstrip("/"))
            if kind.startswith(".") or not self.fs.isdir(path):
                continue
            for folder in self.folders(kind):
                other = self.open(kind, folder)
                if artefact.hash in other.made_by["inputs"].values():
                    found.append(other.label)
        return found

    def open(self, kind: str, folder: str) -> Artefact:
        """Return the committed artefact in `<kind>/<folder>`, known by its manifest.

        Raises:
            StoreError: there is none.
        """
        name, _, hash_ = folder.rpartition("-")
        manifest = Artefact(self, kind, name, hash_, {}).manifest()
        return Artefact(self, kind, name, hash_, {key: manifest[key] for key in ("format", "kind", "settings", "inputs")})


@dataclass(frozen=True)
class Artefact:
    """One stage's result: a place that is either empty to every reader or complete and checked."""

    store: Store
    kind: str
    name: str
    hash: str
    made_by: dict[str, Any] = field(compare=False, hash=False)

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
    def work_path(self) -> str:
        """A folder for unfinished work that a later run resumes; removed by the commit."""
        return f"{self.store.root}/.work/{self.label}"

    def is_done(self) -> bool:
        """Whether the artefact is committed."""
        self.store.fs.invalidate_cache()
        return bool(self.store.fs.exists(f"{self.path}/{MANIFEST}"))

    def lock(self, seconds: float | None = None) -> contextlib.AbstractContextManager[None]:
        """Hold the artefact for making it; waits while another run holds it (see `mixray.locks`)."""
        return exclusive(self.store.fs, f"{self.store.root}/.locks/{self.kind}-{self.folder}", self.store.is_local, seconds)

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
            path = f"{self.path}/{entry['path']}"
            try:
                size, checksum = measure(self.store.fs, path)
            except FileNotFoundError:
                size, checksum = -1, "missing"
            if (size, checksum) != (entry["bytes"], entry["sha256"]):
                raise StoreError(
                    "A file is not what its manifest says",
                    seen=f"{path}: {size} bytes, sha256 {checksum[:12]}",
                    rule=f"{entry['bytes']} bytes, sha256 {entry['sha256'][:12]}",
                    do=f"remove {self.path} and run again",
                )

    def read_table(self, columns: list[str] | None = None) -> pa.Table:
        """Verify the artefact and return its parquet rows, in file order."""
        self.verify()
        paths = [f"{self.path}/{entry['path']}" for entry in self.manifest()["files"] if entry["path"].endswith(".parquet")]
        if not paths:
            raise StoreError("An artefact holds no rows", seen=self.label)
        return pa.concat_tables([pq.read_table(path, columns=columns, filesystem=self.store.arrow_fs) for path in sorted(paths)])

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
        """Return a local folder with the verified files: the artefact itself, or a cached copy of a remote one."""
        self.verify()
        if self.store.is_local:
            return Path(self.path)
        folder = Path(tempfile.gettempdir()) / f"mixray-{os.getuid()}" / f"{self.kind}-{self.folder}"
        if not (folder / MANIFEST).exists():
            staging = Path(f"{folder}.{uuid.uuid4().hex}")
            staging.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.store.fs.get(self.path, str(staging), recursive=True)
            with contextlib.suppress(OSError):  # another process has just cached the same files
                staging.rename(folder)
            shutil.rmtree(staging, ignore_errors=True)
        return folder

    @contextlib.contextmanager
    def staging(self, replace: bool = False) -> Iterator[Staging]:
        """Give a local folder to fill; leaving the block without error commits it, an error throws it away.

        With `replace`, a committed artefact gives way to the new one; otherwise the first commit wins. A kill while it gives way
        leaves it whole in `<kind>/<name>-<hash>.replaced`.
        """
        parent = f"{self.store.root}/.staging" if self.store.is_local else tempfile.gettempdir()
        folder = Path(parent) / f"{self.kind}-{self.folder}.{uuid.uuid4().hex}"
        try:
            with disk_errors_explained(self.store.url):
                folder.mkdir(parents=True)
                staging = Staging(folder)
                yield staging
                replaced = self._give_way() if replace else None
                self._commit(staging)
                if replaced is not None:
                    self.store.fs.rm(replaced, recursive=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.clear_work()

    def clear_work(self) -> None:
        """Remove the unfinished work, if any."""
        if self.store.fs.exists(self.work_path):
            self.store.fs.rm(self.work_path, recursive=True)

    def _give_way(self) -> str | None:
        """Move the committed artefact aside; return where it lies now."""
        aside = f"{self.path}.replaced"
        if not self.is_done():
            return aside if self.store.fs.exists(aside) else None
        if self.store.fs.exists(aside):
            self.store.fs.rm(aside, recursive=True)
        self.store.fs.mv(self.path, aside, recursive=True)
        return aside

    def _commit(self, staging: Staging) -> None:
        files = staging.files()
        told = {"files": files, "versions": made_with(self.kind), "outcome": staging.outcome}
        manifest = {**self.made_by, "name": self.name, "hash": self.hash, **told}
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if self.store.is_local:
            self._commit_local(staging.folder, text.encode())
        elif not self.is_done():
            for entry in files:  # object stores have no rename: the manifest alone makes the files visible
                self.store.fs.put_file(str(staging.folder / entry["path"]), f"{self.path}/{entry['path']}")
            self.store.put(f"{self.path}/{MANIFEST}", text.encode())

    def _commit_local(self, folder: Path, manifest: bytes) -> None:
        write_whole(folder / MANIFEST, manifest, synced=True)
        target = Path(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not (target / MANIFEST).exists():
            shutil.rmtree(target)
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else: the other run committed first
                raise
