"""How an artefact comes to be there: all of it at once, and of several attempts one.

In: a filled local folder and its manifest. Out: `<kind>/<name>-<hash>/` with the files and `manifest.json`, the last one written. Without
it nothing of the folder is ever read.

A folder on a disk is renamed to its place, which succeeds for one attempt and is refused to the next. All of it is synced before, and the
rename after: what it was made from is removed next, and a power cut must leave one or the other.

Object stores have no rename, and a request of a process that stood still for an hour may arrive now. So nothing is written to the place
itself that another attempt could have to undo:

1. the files and the manifest go to `.staging/<kind>-<name>-<hash>.<attempt>/`, where nobody else writes;
2. one object, `.commits/<kind>-<name>-<hash>.json`, which names the attempt, is made only where there is none: this decides. Who finds
   the manifest there already takes it back, and nothing more is done;
3. the named attempt's files are copied to their places, inside the store, then its manifest; whoever comes may do so, as often as they
   like, for all of them copy the same bytes. A kill here costs nothing: whoever wants the artefact next finishes it;
4. the object of step 2 is removed, and what was staged for the artefact, by whichever attempt. A copy asked for later finds nothing.

An artefact that gives way to a new one goes to `<kind>/<name>-<hash>.replaced` until that is there. Whoever locks the artefact next brings
it back where the kill came in between: an artefact that was paid for is never lost to one that was not made.

What it costs: each byte is copied once inside the store, and three requests more for each file. Where a storage cannot make an object "only
where there is none" (see `Store.create`), step 2 has a window of milliseconds between looking and writing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixray.disk import sync, sync_all, write_whole
from mixray.errors import StoreError

if TYPE_CHECKING:
    from mixray.store import Store

MANIFEST = "manifest.json"
ATTEMPTS = 5
"""Decisions that come to nothing, as when somebody removes what was staged, before it is an error."""


def place(store: Store, kind: str, folder: str) -> Folder | Objects:
    """Return where an artefact is to be, and how it gets there."""
    return (Folder if store.is_local else Objects)(store, kind, folder)


@dataclass(frozen=True)
class Folder:
    """A place on a disk."""

    store: Store
    kind: str
    folder: str

    @property
    def target(self) -> Path:
        """The artefact's folder."""
        return Path(f"{self.store.root}/{self.kind}/{self.folder}")

    @property
    def _aside(self) -> Path:
        return Path(f"{self.target}.replaced")

    def finish(self) -> None:
        """Bring back what was to be replaced by something that never came. A rename is never half done."""
        if not self._aside.exists():
            return
        if (self.target / MANIFEST).exists():
            shutil.rmtree(self._aside)
        else:
            shutil.rmtree(self.target, ignore_errors=True)
            self._aside.rename(self.target)

    def commit(self, staged: Path, manifest: bytes) -> None:
        """Rename a folder to its place, unless another one is there; whichever it is outlives a power cut."""
        write_whole(staged / MANIFEST, manifest)
        sync_all(staged)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.exists() and not (self.target / MANIFEST).exists():
            self._set_aside(Path(f"{staged}.torn"))
        try:
            staged.rename(self.target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else: the other run committed first
                raise
        for folder in (self.target.parent, self.target.parent.parent):  # the kind's folder may be new, too
            sync(folder)

    def _set_aside(self, aside: Path) -> None:
        """Remove a folder without manifest. Renamed first: since it was looked at, it may have become another attempt's artefact."""
        with contextlib.suppress(FileNotFoundError):
            self.target.rename(aside)
            if (aside / MANIFEST).exists():
                aside.rename(self.target)
        shutil.rmtree(aside, ignore_errors=True)

    def give_way(self) -> str | None:
        """Rename the committed artefact; return where it lies now."""
        self.finish()
        if not self.target.exists():
            return None
        self.target.rename(self._aside)
        return str(self._aside)


@dataclass(frozen=True)
class Objects:
    """A place in an object store, or on whatever else fsspec reaches."""

    store: Store
    kind: str
    folder: str

    @property
    def target(self) -> str:
        """The artefact's prefix."""
        return f"{self.store.root}/{self.kind}/{self.folder}"

    @property
    def _decision(self) -> str:
        return f"{self.store.root}/.commits/{self.kind}-{self.folder}.json"

    def _staged(self, attempt: str) -> str:
        return f"{self.store.root}/.staging/{self.kind}-{self.folder}.{attempt}"

    def _is_done(self) -> bool:
        self.store.fs.invalidate_cache()
        return bool(self.store.fs.exists(f"{self.target}/{MANIFEST}"))

    @property
    def _aside(self) -> str:
        return f"{self.target}.replaced"

    def finish(self) -> None:
        """Finish a commit that was decided and then killed, if there is one; bring back what was to be replaced and was not."""
        attempt = self._decided()
        if attempt is not None and not self._is_moot():
            self._carry_out(attempt)
        if not self.store.fs.exists(self._aside):
            return
        if not self._is_done() and self.store.fs.exists(f"{self._aside}/{MANIFEST}"):
            self._copy_all(self._aside, self.target)
        self.store.fs.rm(self._aside, recursive=True)

    def _copy_all(self, source: str, target: str) -> None:
        """Copy everything under a place, the manifest last."""
        for path in sorted(self.store.fs.find(source), key=lambda path: path.endswith(f"/{MANIFEST}")):
            self._copy(path, f"{target}{path.removeprefix(source)}")

    def commit(self, staged: Path, manifest: bytes) -> None:
        """Have this attempt's files be the artefact, or another's that was decided on before.

        Raises:
            StoreError: what was decided could not be carried out.
        """
        if self._is_done():
            return
        attempt = uuid.uuid4().hex
        for path in sorted(item for item in staged.rglob("*") if item.is_file()):
            self.store.fs.put_file(str(path), f"{self._staged(attempt)}/{path.relative_to(staged).as_posix()}")
        self.store.put(f"{self._staged(attempt)}/{MANIFEST}", manifest)
        for _ in range(ATTEMPTS):
            decided = attempt if self.store.create(self._decision, json.dumps({"attempt": attempt}).encode()) else self._decided()
            if self._is_moot() or (decided is not None and self._carry_out(decided)):
                return
        raise StoreError(
            "A commit does not come about", seen=self.target, rule=f"decided {ATTEMPTS} times, and what was staged is gone",
            do="leave `.staging` and `.commits` of the storage alone, and run again",
        )  # fmt: skip

    def _is_moot(self) -> bool:
        """Whether the artefact is there, so that whatever was decided is not to be done. To be asked after the decision was read: one
        that was made before the artefact was there is its own, and one made later finds it."""
        done = self._is_done()
        if done:
            self._tidy()
        return done

    def _decided(self) -> str | None:
        try:
            return str(json.loads(self.store.fs.cat_file(self._decision))["attempt"])
        except FileNotFoundError:
            return None

    def _carry_out(self, attempt: str) -> bool:
        """Copy an attempt's files to their places; return whether the artefact is there."""
        staged = self._staged(attempt)
        try:
            manifest = self.store.fs.cat_file(f"{staged}/{MANIFEST}")
            for entry in json.loads(manifest)["files"]:
                self._copy(f"{staged}/{entry['path']}", f"{self.target}/{entry['path']}")
        except FileNotFoundError:  # another one has finished and tidied up meanwhile, or somebody has removed it
            done = self._is_done()
            if not done and self._decided() == attempt:
                self.store.fs.rm_file(self._decision)
            return done
        self.store.create(f"{self.target}/{MANIFEST}", manifest)
        self._tidy()
        return True

    def _copy(self, source: str, target: str) -> None:
        try:
            self.store.fs.cp_file(source, target)
        except NotImplementedError:  # through this machine
            with self.store.fs.open(source, "rb") as read, self.store.fs.open(target, "wb") as write:
                shutil.copyfileobj(read, write, 1 << 20)

    def _tidy(self) -> None:
        """Remove the decision and all that was staged: the artefact is there."""
        fs = self.store.fs
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(self._decision)
        with contextlib.suppress(FileNotFoundError):
            for path in fs.ls(f"{self.store.root}/.staging", detail=False):
                if path.rstrip("/").rpartition("/")[2].startswith(f"{self.kind}-{self.folder}."):
                    with contextlib.suppress(FileNotFoundError):
                        fs.rm(path, recursive=True)

    def give_way(self) -> str | None:
        """Move the committed artefact aside; return where it lies now."""
        self.finish()
        if not self._is_done():
            return None
        self._tidy()
        self._copy_all(self.target, self._aside)
        self.store.fs.rm_file(f"{self.target}/{MANIFEST}")  # first: from here on nothing of it is read
        self.store.fs.rm(self.target, recursive=True)
        return self._aside
