"""Who may go on, who waits and who is turned away, decided at once and without the engine.

In: the number of requests that may be in flight and may wait. Out: a place for each request, given in the order of asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter, deque

from mixray.serving.refusals import TOO_MANY, UNAVAILABLE, Refusal


class Places:
    """The places of one gate; used from one event loop."""

    def __init__(self, max_ongoing: int, max_queued: int, num_keys: int, retry_after_seconds: int) -> None:
        """Args are the places in flight and waiting, among how many keys they are shared, and what those turned away are told."""
        self.max_ongoing, self.max_queued, self.retry_after_seconds = max_ongoing, max_queued, retry_after_seconds
        self.share = math.ceil((max_ongoing + max_queued) / num_keys) if num_keys > 1 else math.inf
        self.num_ongoing = 0
        self._held: Counter[str] = Counter()
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    async def take(self, who: str) -> None:
        """Return when the request may go on; `give_back` must follow.

        Raises:
            Refusal: 429 where this key holds its share of all places while others wait, 503 where no place is left at all.
        """
        if self.num_ongoing < self.max_ongoing and not self._waiting:
            self.num_ongoing += 1
            self._held[who] += 1
            return
        if self._held[who] >= self.share:
            raise Refusal(
                TOO_MANY, "key_limit", f"This key holds its share of {self.share} places; ask again later",
                retry_after_seconds=self.retry_after_seconds,
            )  # fmt: skip
        if len(self._waiting) >= self.max_queued:
            raise Refusal(
                UNAVAILABLE, "overloaded",
                f"{self.num_ongoing} requests are in flight and {len(self._waiting)} wait, which is all there is room for; ask again later",
                retry_after_seconds=self.retry_after_seconds,
            )  # fmt: skip
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._held[who] += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place came just when the client left
                self.give_back(who)
            else:
                with contextlib.suppress(ValueError):  # it may have been passed over already
                    self._waiting.remove(turn)
                self._forget(who)
            raise

    def give_back(self, who: str) -> None:
        """Free a place; the one who waits longest gets it."""
        self._forget(who)
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.num_ongoing -= 1

    def _forget(self, who: str) -> None:
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
