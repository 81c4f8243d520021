"""One maker at a time for one artefact, across processes and machines.

Local stores use a file lock that the system releases when its holder dies, however it dies. Remote stores use a lease object that its
holder renews; a lease not renewed for `STALE_SECONDS` belongs to a dead run and is taken over. Locks only save work:
correctness rests on commits (see `mixray.store`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from mixray.errors import StoreError

STALE_SECONDS = 60.0
POLL_SECONDS = 0.5


@contextlib.contextmanager
def exclusive(fs: fsspec.AbstractFileSystem, path: str, is_local: bool, seconds: float | None = None) -> Iterator[None]:
    """Hold `path` for the block; wait for the present holder, at most `seconds` (for ever where None).

    Raises:
        StoreError: the wait was longer than `seconds`.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    with _file_lock(path, deadline) if is_local else _lease(fs, f"{path}.json", deadline):
        yield


def _wait(path: str, deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise StoreError("Another run is making the same artefact", seen=path, do="wait for it, or end it")
    time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _file_lock(path: str, deadline: float | None) -> Iterator[None]:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC (Python's default) keeps children from holding the lock of a killed parent.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _wait(path, deadline)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _lease(fs: fsspec.AbstractFileSystem, path: str, deadline: float | None) -> Iterator[None]:
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
    while not _take(fs, path, owner):
        _wait(path, deadline)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(STALE_SECONDS / 4):
            _write(fs, path, owner)

    renewer = threading.Thread(target=renew, daemon=True, name="mixray-lease")
    renewer.start()
    try:
        yield
    finally:
        ended.set()
        renewer.join()
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(path)


def _take(fs: fsspec.AbstractFileSystem, path: str, owner: str) -> bool:
    fs.invalidate_cache()
    holder = _read(fs, path)
    if holder and holder["owner"] != owner and time.time() - holder["renewed_at"] < STALE_SECONDS:
        return False
    _write(fs, path, owner)
    time.sleep(POLL_SECONDS)  # the last of several writers at once keeps it
    holder = _read(fs, path)
    return holder is not None and holder["owner"] == owner


def _read(fs: fsspec.AbstractFileSystem, path: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(fs.cat_file(path)))
    except (FileNotFoundError, ValueError):
        return None


def _write(fs: fsspec.AbstractFileSystem, path: str, owner: str) -> None:
    fs.pipe_file(path, json.dumps({"owner": owner, "renewed_at": time.time()}).encode())
