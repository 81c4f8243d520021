"""How much processor time a run takes, with all that it starts: what does not change when something else is at work on the machine."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import psutil

from mixray.store import Store

SECONDS = 2.0
"""Between two looks; a process that ends keeps what it was last seen with, so each costs the count half of this at most."""


class Meter:
    """Processor seconds, of user and system, of this process and its descendants since the meter was started."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], float] = {}
        self.look()
        self._before = sum(self._seen.values())

    @property
    def seconds(self) -> float:
        """What was seen so far."""
        return sum(self._seen.values()) - self._before

    def look(self) -> None:
        """Look at every process there is."""
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has just ended
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = times.user + times.system


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    """Have a meter that runs for the block."""
    meter, ended = Meter(), threading.Event()

    def watch() -> None:
        while not ended.wait(SECONDS):
            meter.look()

    watching = threading.Thread(target=watch, daemon=True, name="mixray-meter")
    watching.start()
    try:
        yield meter
    finally:
        ended.set()
        watching.join()
        meter.look()


@contextlib.contextmanager
def kept(store: Store, recipe: str) -> Iterator[None]:
    """Add what the block takes, ended or broken off, to what the recipe took so far in this storage; gone with the storage."""
    try:
        with metered() as meter:
            yield
    finally:
        store.put(_path(store, recipe), json.dumps({"processor_seconds": spent(store, recipe) + meter.seconds}).encode())


def spent(store: Store, recipe: str) -> float:
    """Return the processor seconds that the recipe took in this storage; 0.0 where nobody kept them."""
    path = _path(store, recipe)
    return float(json.loads(store.fs.cat_file(path))["processor_seconds"]) if store.fs.exists(path) else 0.0


def _path(store: Store, recipe: str) -> str:
    return f"{store.root}/.laboratory/{recipe.replace('/', '-')}.json"
