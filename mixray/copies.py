"""Copies of remote artefacts on this machine, for what reads folders alone: a copy is whole or not there.

In: an artefact of an object store, or its address. Out: a folder with its files, each held against the manifest. It lies in the machine's
temporary folder, under the artefact's label; one that was cut short since, or whose artefact was replaced, is brought again. Beside it lies
where it came from, so that a process that is sent to another node can bring the same there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

from mixray.commits import MANIFEST
from mixray.disk import write_whole
from mixray.rows import digest
from mixray.staging import measure

if TYPE_CHECKING:
    from mixray.committed import ArtefactFolder

ORIGIN = ".origin"
LOCAL = fsspec.filesystem("file")


def local_copy(artefact: ArtefactFolder) -> Path:
    """Return the folder of an artefact's copy, which is there before, or is brought now.

    Raises:
        StoreError: there is no such artefact, or it is damaged.
    """
    manifest = artefact.manifest()
    storage = digest([artefact.store.url.rstrip("/")], 8)
    folder = Path(tempfile.gettempdir()) / f"mixray-{os.getuid()}" / storage / f"{artefact.kind}-{artefact.folder}"
    if _holds(folder, manifest):
        write_whole(Path(f"{folder}{ORIGIN}"), artefact.address.encode())
        return folder
    fetched, aside = (Path(f"{folder}.{uuid.uuid4().hex}") for _ in range(2))
    try:
        _fetch(artefact, manifest, fetched)
        if not _holds(folder, manifest):  # another process may have brought it meanwhile
            with contextlib.suppress(FileNotFoundError):
                folder.rename(aside)
            with contextlib.suppress(OSError):  # as above
                fetched.rename(folder)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    write_whole(Path(f"{folder}{ORIGIN}"), artefact.address.encode())
    return folder


def bring(address: str) -> Path:
    """Return the folder of the copy of what lies at `<storage>/<kind>/<name>-<hash>`.

    Raises:
        StoreError: there is no such artefact, or it is damaged.
    """
    from mixray.store import Store  # which needs this module first

    root, kind, folder = address.rstrip("/").rsplit("/", 2)
    return local_copy(Store(root).open(kind, folder))


def origins(folders: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses of those folders that are copies."""
    found = (Path(f"{folder}{ORIGIN}") for folder in folders)
    return tuple(sorted({path.read_text(encoding="utf-8") for path in found if path.is_file()}))


def _fetch(artefact: ArtefactFolder, manifest: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    for entry in manifest["files"]:
        here = folder / entry["path"]
        here.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # told by the check
            artefact.store.fs.get_file(f"{artefact.path}/{entry['path']}", str(here))
        artefact.check_file(entry, LOCAL, str(here))
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _holds(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a copy is whole: systems tidy their temporary folders, a file at a time."""
    try:
        if json.loads((folder / MANIFEST).read_text(encoding="utf-8")) != manifest:
            return False
        return all(measure(LOCAL, str(folder / entry["path"])) == (entry["bytes"], entry["sha256"]) for entry in manifest["files"])
    except (OSError, ValueError):
        return False
