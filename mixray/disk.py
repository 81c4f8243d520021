"""What a disk does to a file: it holds it whole or not at all, and when it is full it says so in words a user can act on.

In: a path and bytes, or a block of work on a storage. Out: the file, or a StoreError. Also: whether other machines have the same disk.
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
# Kinds of mounts that several machines may have; also what a process serves (`fuse.*`), but for what containers are made of.
SHARED_KINDS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "afs", "ocfs2", "gfs2", "orangefs", "wekafs",
    "fuse",
}  # fmt: skip
NEVER_SHARED = {"fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.snapfuse", "fuse.squashfuse"}
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
# What disks answer that sync no folders, or nothing that is open to be read, as some that stand for a bucket or another system's share.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES)


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
        if synced:
            sync(path.parent)
    finally:
        staged.unlink(missing_ok=True)


def sync_all(folder: Path) -> None:
    """Have a folder and all that is in it outlive a power cut, wherever the folder is renamed to.

    Raises:
        OSError: the disk failed.
    """
    for path in folder.rglob("*"):
        if path.is_file() or path.is_dir():
            sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Have a file, or a folder's list of what was made in it or renamed into it, outlive a power cut, where the disk can do that.

    Raises:
        OSError: the disk failed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def create_whole(path: Path, data: bytes) -> bool:
    """Write a file unless there is one, whole; return whether it was written. Of several writers at once, on any machines, one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        staged.write_bytes(data)
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_in_place(path, data)
    finally:
        staged.unlink(missing_ok=True)
    return True


def _create_in_place(path: Path, data: bytes) -> bool:
    """Do so where there are no links, as on most disks that stand for a bucket: a reader may find the file empty for a moment."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def is_shared(path: str) -> bool:
    """Whether a folder lies on a disk that other machines may have too; of what cannot be told, no."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    place, kinds = os.path.realpath(path), {}
    for line in mounts:
        before, _, after = line.partition(" - ")
        kinds[before.split()[4].replace("\\040", " ")] = after.split()[0]  # what is mounted later lies above
    while place not in kinds and place != "/":
        place = os.path.dirname(place)
    kind = kinds.get(place, "")
    return kind not in NEVER_SHARED and kind.partition(".")[0] in SHARED_KINDS


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
