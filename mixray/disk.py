"""What a disk does to a file: it holds it whole or not at all, and when it is full it says so in words a user can act on.

In: a path and bytes, or a block of work on a storage. Out: the file, or a StoreError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mixray.errors import StoreError

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def write_whole(path: Path, data: bytes, synced: bool = False) -> None:
    """Write a file beside its place and rename it, so that no reader and no kill ever finds half of it; `synced` outlives a power cut."""
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with staged.open("wb") as file:
            file.write(data)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors_explained(url: str) -> Iterator[None]:
    """Turn the error of a full or read-only disk, however deeply Ray has wrapped it, into one that says what to do.

    Raises:
        StoreError: in place of such an error; all others pass as they are.
    """
    try:
        yield
    except Exception as error:
        reason = _disk_reason(error)
        if reason is None or isinstance(error, StoreError):
            raise
        raise _disk_error(reason, url) from error


def _disk_reason(error: BaseException | None) -> str | None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return os.strerror(error.errno)
        told = [number for number in DISK_ERRORS if os.strerror(number) in str(error)]  # what a worker raised arrives as text
        if told:
            return os.strerror(told[0])
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
    return None


def _disk_error(reason: str, url: str) -> StoreError:
    free = ""
    with contextlib.suppress(OSError):
        free = f", {shutil.disk_usage(url).free // 2**20} MiB free"
    return StoreError(
        "The storage cannot be written", seen=f"{url}: {reason}{free}", do="make room or pass another --storage, then run again"
    )
