"""How much processor time a run takes, with all that it starts: what does not change when something else is at work on the machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

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
