"""How often a stream speaks: the first token at once, what follows in pieces that the way to the client can carry.

Between a student's replica and the gate each piece has a cost of its own, whether it holds one token or twenty. Ray's own batching has
every stream wait 50 ms before its first word, and speaks as often with two hundred streams as with one. Here nothing waits for the first
piece, and the pieces of all streams together are held to a number that the machine's cores can pass on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from typing import Any

# On two cores, one of them the engine's, a hundred pieces a second are a few hundredths of what the engine needs.
PIECES_PER_SECOND_AND_CORE = 50
SHORTEST_SECONDS = 0.02
# A chat begins with its role; the first token may be half a character, which is told with the next.
AT_ONCE = 3
LONGEST_SECONDS = 0.5


def pause_seconds(num_streams: int, num_cores: int) -> float:
    """Return how long one of so many streams gathers before its next piece."""
    fair = num_streams / (PIECES_PER_SECOND_AND_CORE * num_cores)
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, fair))


class Pace:
    """The streams of one replica."""

    def __init__(self, num_cores: int | None = None) -> None:
        self.num_cores, self.num_streams = num_cores or os.cpu_count() or 1, 0

    async def pieces(self, words: AsyncGenerator[Any, None]) -> AsyncGenerator[list[Any], None]:
        """Yield lists of what `words` yields, in order, nothing left out; errors as they come. Ending early ends `words`."""
        self.num_streams += 1
        gathered: list[Any] = []
        news, ended, num_spoken = asyncio.Event(), False, 0

        async def gather() -> None:
            nonlocal ended
            try:
                async for word in words:
                    gathered.append(word)
                    news.set()
            finally:
                ended = True
                news.set()

        reader = asyncio.create_task(gather())
        try:
            while not ended or gathered:
                await news.wait()
                news.clear()
                if gathered:
                    spoken = list(gathered)
                    gathered.clear()
                    num_spoken += len(spoken)
                    yield spoken
                if not ended and num_spoken >= AT_ONCE:
                    await self._pause(reader)
                elif gathered:
                    news.set()
            await reader
        finally:
            self.num_streams -= 1
            reader.cancel()

    async def _pause(self, reader: asyncio.Task[None]) -> None:
        """Wait until the next piece is due, or the stream has ended."""
        due = time.monotonic() + pause_seconds(self.num_streams, self.num_cores)
        await asyncio.wait([reader], timeout=due - time.monotonic())
