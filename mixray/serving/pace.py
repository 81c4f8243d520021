"""How often a stream speaks: the first token at once, what follows in pieces that the way to the client can carry.

Each piece of a stream has a cost of its own, whether it holds one token or twenty: the student's process writes it as JSON beside the
engine, and passes it to the gate's. Ray's own batching has every stream wait 50 ms before its first word, and speaks as often with two
hundred streams as with one. Here nothing waits for the first piece or for the last, and the pieces of all streams together are held to a
number that the machine's cores can carry.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")

# On two cores, one of them the engine's, a hundred pieces a second are a few hundredths of what the engine needs.
PIECES_PER_SECOND_AND_CORE = 50
SHORTEST_SECONDS = 0.02
# The first token may be half a character, which is told with the next.
AT_ONCE = 2
LONGEST_SECONDS = 0.5


def pause_seconds(num_streams: int, num_cores: int) -> float:
    """Return how long one of so many streams gathers before its next piece."""
    fair = num_streams / (PIECES_PER_SECOND_AND_CORE * num_cores)
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, fair))


class Pace:
    """The streams of one process."""

    def __init__(self, num_cores: int | None = None) -> None:
        self.num_cores, self.num_streams = num_cores or os.cpu_count() or 1, 0


class Turn:
    """When one stream may speak. Used in one event loop."""

    def __init__(self, pace: Pace) -> None:
        self._pace, self._num_spoken, self._due = pace, 0, 0.0
        self._last_word, self._over = asyncio.Event(), False
        pace.num_streams += 1

    def hurry(self) -> None:
        """What is to be said now is the last, or an error: it does not wait."""
        self._last_word.set()

    def has_come(self) -> bool:
        """Whether the stream may speak now."""
        return self._num_spoken < AT_ONCE or self._last_word.is_set() or time.monotonic() >= self._due

    async def come(self) -> None:
        """Wait until it may speak."""
        if not self.has_come():
            try:
                async with asyncio.timeout(self._due - time.monotonic()):
                    await self._last_word.wait()
            except TimeoutError:
                return

    def spoken(self) -> None:
        """It has spoken: the next piece is due after a pause."""
        self._num_spoken += 1
        self._due = time.monotonic() + pause_seconds(self._pace.num_streams, self._pace.num_cores)

    def over(self) -> None:
        """The stream has ended, however it did; may be told more than once."""
        self._pace.num_streams -= not self._over
        self._over = True


async def at_once(words: AsyncGenerator[T]) -> AsyncGenerator[list[T]]:
    """Yield lists of what comes without a wait between, in order; an error comes after what was before it. Ending early ends `words`."""
    gathered: list[T] = []
    while True:
        word: asyncio.Future[T] = asyncio.ensure_future(anext(words))
        try:
            await asyncio.sleep(0)  # enough for a word that waits for nobody
            if gathered and not word.done():
                yield gathered
                gathered = []
            gathered.append(await word)
        except StopAsyncIteration:
            break
        except Exception:
            if gathered:
                yield gathered
            raise
        finally:
            if not word.done():
                word.cancel()
                await asyncio.wait([word])
    if gathered:
        yield gathered
