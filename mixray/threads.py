"""Work beside the main thread, which stays free to be interrupted.

Ctrl-C is raised on the main thread alone. So long calls run on daemon threads, and the main thread waits in short turns: an interrupt
leaves at once, and a thread that has not ended dies with the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

TURN_SECONDS = 0.5


def side_by_side(
    calls: Sequence[Callable[[], Any]], meanwhile: Callable[[], None] | None = None, most: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Run calls at once; yield (number of the call, what it returned) as they end, and raise the first error.

    Args:
        calls: what to run, each on its own thread.
        meanwhile: called on the main thread about every half second.
        most: how many run at a time, begun in their order; after an error none is begun. All at once where unset.
    """
    ended: queue.Queue[tuple[int, Any, BaseException | None]] = queue.Queue()
    waiting = iter(enumerate(calls))

    def begin() -> None:
        for number, call in waiting:
            threading.Thread(target=work, args=(number, call), daemon=True, name=f"mixray-side-{number}").start()
            return

    def work(number: int, call: Callable[[], Any]) -> None:
        try:
            ended.put((number, call(), None))
        except BaseException as error:  # raised again on the main thread
            ended.put((number, None, error))

    for _ in calls[:most]:
        begin()
    left = len(calls)
    while left:
        try:
            number, result, error = ended.get(timeout=TURN_SECONDS)
        except queue.Empty:
            if meanwhile is not None:
                meanwhile()
            continue
        if error is not None:
            raise error
        left -= 1
        begin()
        yield number, result
