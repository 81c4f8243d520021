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
import pyarrow.fs as pafs

from mixray.committed import MANIFEST, ArtefactFolder
from mixray.disk import disk_errors_explained, write_whole
from mixray.errors import StoreError
from mixray.locks import exclusive
from mixray.rows import digest
from mixray.staging import Staging
from mixray.versions import made_with

FORMAT = 1


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
class Artefact(ArtefactFolder):
    """One stage's result: a place that is either empty to every reader or complete and checked."""

    made_by: dict[str, Any] = field(compare=False, hash=False)

    def is_done(self) -> bool:
        """Whether the artefact is committed."""
        self.store.fs.invalidate_cache()
        return bool(self.store.fs.exists(f"{self.path}/{MANIFEST}"))

    def lock(self, seconds: float | None = None) -> contextlib.AbstractContextManager[None]:
        """Hold the artefact for making it; waits while another run holds it (see `mixray.locks`)."""
        return exclusive(self.store.fs, f"{self.store.root}/.locks/{self.kind}-{self.folder}", self.store.is_local, seconds)

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
