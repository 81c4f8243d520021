"""Artefacts: folders named by what made them, whole or invisible.

`<storage>/<kind>/<name>-<hash>/` holds one stage's result; the hash covers the stage's settings, the hashes of what it read
and a format version, so the same recipe finds its results again. Files are staged and committed with `manifest.json` written last; a
folder without one is never read. Unfinished work that can be resumed lies in `<storage>/.work/<kind>/<name>-<hash>/` and is removed by
the commit. What else starts with a dot is the storage's own: `.locks` (`mixray.locks`), `.staging` and `.commits` (`mixray.commits`).

What survives a kill: every committed artefact, and every resumable stage's work folder. Two runs that want the same artefact take turns and
the second finds it done; one that was stopped and thought dead is fenced out when it goes on; whatever fails them, of two commits one wins
and the other is thrown away. What is promised on which storage: STORAGE.md beside this file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import posixpath
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs as pafs

from mixray import commits
from mixray.commits import MANIFEST
from mixray.committed import ArtefactFolder
from mixray.disk import create_whole, disk_errors_explained, is_shared, write_whole
from mixray.locks import POLL_SECONDS, Fence, FencedOut, exclusive, held
from mixray.passing import is_there_already
from mixray.rows import digest
from mixray.staging import Staging
from mixray.steady import filesystem, is_local
from mixray.versions import made_with

FORMAT = 1
log = logging.getLogger("mixray.store")


@dataclass(frozen=True)
class Store:
    """A folder of artefacts on any filesystem fsspec can reach (`./runs`, `s3://bucket/prefix`, ...)."""

    url: str

    @cached_property
    def _resolved(self) -> tuple[fsspec.AbstractFileSystem, str]:
        fs, root = filesystem(str(self.url))
        return fs, root.rstrip("/")

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The fsspec filesystem behind the store, which keeps at it (see `mixray.steady`)."""
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
        return is_local(self.fs)

    @cached_property
    def needs_leases(self) -> bool:
        """Whether other machines may write here, so that no lock of this one's system will do."""
        return not self.is_local or is_shared(self.root)

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

    def create(self, path: str, data: bytes) -> bool:
        """Write one file whole unless there is one; return whether this call's is there. `data` is like no other caller's.

        Of several at once one succeeds, where the storage can say so: any folder, S3 and what is like it, GCS. Where it cannot, the last
        one keeps it, after a pause.
        """
        if self.is_local:
            with disk_errors_explained(self.url):
                return create_whole(Path(path), data)
        if self._refuses_a_second:
            try:
                self.fs.pipe_file(path, data, mode="create")
                return True
            except Exception as error:
                if not is_there_already(error):
                    raise
        elif not self.fs.exists(path):
            self.put(path, data)
            time.sleep(POLL_SECONDS)
        try:
            return bool(self.fs.cat_file(path) == data)  # ours, where the answer to an earlier try was lost
        except FileNotFoundError:  # another's, who has removed it since
            return False

    @cached_property
    def _refuses_a_second(self) -> bool:
        """Whether the storage itself refuses to make a file that is there: tried, since some that speak S3 do not."""
        probe = f"{self.root}/.locks/made-once"
        for _ in range(2):
            try:
                self.fs.pipe_file(probe, b"", mode="create")
            except TypeError:  # an older filesystem knows no such mode
                return False
            except Exception as error:
                if not is_there_already(error):
                    raise
                return True
        return False

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

    @property
    def _lock_path(self) -> str:
        return f"{self.store.root}/.locks/{self.kind}-{self.folder}"

    @contextlib.contextmanager
    def lock(self, seconds: float | None = None) -> Iterator[None]:
        """Hold the artefact for making it; waits while another run holds it (see `mixray.locks`). A commit that was killed is finished.

        Raises:
            StoreError: the wait was longer than `seconds`.
            FencedOut: another attempt took over during the block, and has not made the artefact yet; where it has, the block just ends.
        """
        with exclusive(self.store, self._lock_path, seconds):
            commits.place(self.store, self.kind, self.folder).finish()
            was_done = self.fence is not None and self.is_done()
            try:
                yield
            except FencedOut:
                if was_done or not self._is_lost() or not self.is_done():
                    raise
                log.warning("%s was made by another attempt, which took over from this one", self.label)

    def _is_lost(self) -> bool:
        """Whether the attempt that failed is the one at this artefact: a block may hold several."""
        try:
            self.fence.check() if self.fence is not None else None
        except FencedOut:
            return True
        return False

    @property
    def fence(self) -> Fence | None:
        """This process's number at the artefact, for whoever writes on its behalf; None where its lock cannot be taken away."""
        return held(self._lock_path)

    @contextlib.contextmanager
    def staging(self, replace: bool = False) -> Iterator[Staging]:
        """Give a local folder to fill; leaving the block without error commits it, an error throws it away.

        With `replace`, a committed artefact gives way to the new one; otherwise the first commit wins. After a kill
        while it gives way, whoever locks it next has it back.

        Raises:
            FencedOut: another attempt has taken over meanwhile, and has not committed yet.
        """
        parent = f"{self.store.root}/.staging" if self.store.is_local else tempfile.gettempdir()
        folder = Path(parent) / f"{self.kind}-{self.folder}.{uuid.uuid4().hex}"
        try:
            with disk_errors_explained(self.store.url):
                folder.mkdir(parents=True)
                staging = Staging(folder)
                yield staging
                self._commit(staging, replace)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.clear_work()

    def clear_work(self) -> None:
        """Remove the unfinished work, if any."""
        if self.store.fs.exists(self.work_path):
            self.store.fs.rm(self.work_path, recursive=True)

    def _commit(self, staging: Staging, replace: bool) -> None:
        told = {"files": staging.files(), "versions": made_with(self.kind), "outcome": staging.outcome}
        manifest = {**self.made_by, "name": self.name, "hash": self.hash, **told}
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        place = commits.place(self.store, self.kind, self.folder)
        if self.fence is not None:
            self.fence.check()
        replaced = place.give_way() if replace else None
        place.commit(staging.folder, text.encode())
        if replaced is not None:
            self.store.fs.rm(replaced, recursive=True)
