"""One maker at a time for one artefact, across processes and machines; and a maker that was thought dead learns of it.

A folder of one machine has a file lock. The system releases it when its holder dies, however it dies, and not before: a holder that is
stopped (SIGSTOP, a debugger) keeps it, and whoever else wants the artefact waits.

Everywhere else (object stores, and disks that several machines have) there are leases. Each attempt at an artefact is a small record with
the next number, made only where there is none (of several at once one succeeds), and the highest number has the artefact. Its holder renews
it; one that has not been renewed for `STALE_SECONDS`, as seen by whoever waits, is dead and the next number may be taken; at once where
whoever waits can see that the holder's process is gone. Its number is a `Fence`: whoever writes asks it first, and finds that a later
attempt has the artefact, also after hours of standing still. The last record stays, so that numbers never come twice.

Locks only save work, and fences only save surprises: what is right rests on commits (see `mixray.commits`).
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixray import steady
from mixray.errors import StoreError

if TYPE_CHECKING:
    from mixray.store import Store

STALE_SECONDS = 60.0
POLL_SECONDS = 0.5
# Clocks of two machines differ by less: a record that is older was left by a dead holder, and nobody need watch it first.
CLOCKS_DIFFER_SECONDS = 300.0
UNREADABLE = {"owner": "an unknown process", "renewed_at": float("inf"), "renewals": -1, "released": False, "process": None}


class FencedOut(StoreError):
    """Another attempt has taken this one's place."""


@dataclass(frozen=True)
class Fence:
    """One attempt's number at an artefact. Small and picklable: it travels to every worker that writes for the attempt."""

    store: Store
    folder: str
    number: int
    owner: str

    def check(self) -> None:
        """Go on only while no later attempt has begun.

        Raises:
            FencedOut: one has.
        """
        number, record = _newest(self.store, self.folder)
        is_anothers = record is not None and record["renewals"] != UNREADABLE["renewals"] and record["owner"] != self.owner
        if number > self.number or (number == self.number and is_anothers):  # our own record may be being replaced
            raise FencedOut(
                "Another attempt has taken over from this one",
                seen=f"attempt {number} of {(record or UNREADABLE)['owner']}",
                rule=f"this is attempt {self.number}, not heard of for {STALE_SECONDS:g} s: it was stopped, or cut off from the storage",
                do="leave it to the other attempt, or end that one and run again; nothing is lost",
            )


_held: dict[str, Fence] = {}
"""What this process holds, by place."""


def held(path: str) -> Fence | None:
    """Return this process's fence of a place; None where nobody can take it away, or nobody has it."""
    return _held.get(path)


@contextlib.contextmanager
def exclusive(store: Store, path: str, seconds: float | None = None) -> Iterator[None]:
    """Hold `path` for the block; wait for the present holder, at most `seconds` (for ever where None).

    Raises:
        StoreError: the wait was longer than `seconds`.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    with _lease(store, path, deadline) if store.needs_leases else _file_lock(path, deadline):
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
def _lease(store: Store, path: str, deadline: float | None) -> Iterator[None]:
    fence = _taken(store, path, deadline)
    ended = threading.Event()
    renewer = threading.Thread(target=_renew, args=(fence, ended), daemon=True, name="mixray-lease")
    renewer.start()
    _held[path] = fence
    try:
        yield
    finally:
        _held.pop(path, None)
        ended.set()
        renewer.join(steady.BRIEF_SECONDS)  # a storage that is away holds it
        with steady.briefly(), contextlib.suppress(Exception):  # a courtesy: a lease runs out, and what the block came to must be told
            fence.check()
            _write(fence, released=True)


def _taken(store: Store, path: str, deadline: float | None) -> Fence:
    """Wait until the artefact is free or its holder dead, and take the next number."""
    folder, owner = f"{path}.leases", f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    seen: tuple[int, dict[str, Any] | None] = (0, None)
    since = time.monotonic()
    while True:
        number, record = _newest(store, folder)
        if (number, record) != seen:
            seen, since = (number, record), time.monotonic()
        if record is None or _is_free(record) or time.monotonic() - since >= STALE_SECONDS:
            fence = Fence(store, folder, number + 1, owner)
            if store.create(_record(fence), _told(fence)):
                _forget_before(fence)
                return fence
        else:
            _wait(path, deadline)


def _is_free(record: dict[str, Any]) -> bool:
    old = time.time() - record["renewed_at"] > STALE_SECONDS + CLOCKS_DIFFER_SECONDS
    return bool(record["released"]) or old or _is_gone(record["process"])


def _surroundings() -> list[Any]:
    """Return what tells apart the process numbers of machines, their restarts, and containers."""
    try:
        return [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(), os.stat("/proc/self/ns/pid").st_ino]
    except OSError:
        return [uuid.uuid4().hex, 0]  # like nobody else's


def _is_gone(process: Any) -> bool:
    """Whether a process is known to have ended: one of these surroundings, with no such number or another beginning."""
    if not isinstance(process, list) or process[:2] != _surroundings():
        return False
    try:
        os.kill(process[2], 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return bool(_began(process[2]) != process[3])


def _began(process_id: int) -> str:
    """Return when a process began, in the system's own count, which no clock changes."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _renew(fence: Fence, ended: threading.Event) -> None:
    """Renew until the end. A storage that does not answer now may do so later; a holder that was taken over from is told by its fence."""
    renewals = 0
    while not ended.wait(STALE_SECONDS / 4):
        renewals += 1
        try:
            fence.check()
            _write(fence, renewals=renewals)
        except FencedOut:
            return
        except Exception:  # whatever it is, the next renewal may come in time
            continue


def _newest(store: Store, folder: str) -> tuple[int, dict[str, Any] | None]:
    """Return the highest number and what its holder wrote; (0, None) where nobody ever held it."""
    store.fs.invalidate_cache()
    try:
        names = [path.rstrip("/").rpartition("/")[2] for path in store.fs.ls(folder, detail=False)]
    except FileNotFoundError:
        return 0, None
    numbers = [int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal()]
    if not numbers:
        return 0, None
    try:
        record = json.loads(store.fs.cat_file(f"{folder}/{max(numbers):06d}.json"))
        return max(numbers), {"owner": str(record["owner"]), **{name: record[name] for name in UNREADABLE if name != "owner"}}
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # a later one was made meanwhile, or this one is being written
        return max(numbers), dict(UNREADABLE)


def _record(fence: Fence) -> str:
    return f"{fence.folder}/{fence.number:06d}.json"


def _told(fence: Fence, renewals: int = 0, released: bool = False) -> bytes:
    process = [*_surroundings(), os.getpid(), _began(os.getpid())]
    told = {"owner": fence.owner, "renewed_at": time.time(), "renewals": renewals, "released": released, "process": process}
    return json.dumps(told).encode()


def _write(fence: Fence, renewals: int = 0, released: bool = False) -> None:
    fence.store.put(_record(fence), _told(fence, renewals, released))


def _forget_before(fence: Fence) -> None:
    for path in fence.store.fs.ls(fence.folder, detail=False):
        name = path.rstrip("/").rpartition("/")[2].removesuffix(".json")
        if name.isdecimal() and int(name) < fence.number:
            with contextlib.suppress(FileNotFoundError):
                fence.store.fs.rm_file(path)
