"""Who may go on, who waits and who is turned away, decided at once and without the engine.

In: the number of requests that may be in flight and may wait, and for how long. Out: a place for each request, given in the order of
asking. Nobody is turned away while there is room. Where there is none, the keys that have requests here share the places: one with less
than its share gets the place in the queue of the one that holds the most.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from dataclasses import dataclass, field

from mixray.serving.refusals import TOO_MANY, UNAVAILABLE, Refusal


@dataclass(eq=False)
class _Turn:
    """A request that waits."""

    who: str
    place: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Places:
    """The places of one gate; used from one event loop."""

    def __init__(self, max_ongoing: int, max_queued: int, queue_seconds: float, retry_after_seconds: int) -> None:
        """Args are the places in flight and waiting, how long one may wait, and what those turned away are told."""
        self.max_ongoing, self.max_queued = max_ongoing, max_queued
        self.queue_seconds, self.retry_after_seconds = queue_seconds, retry_after_seconds
        self.num_ongoing = 0
        self._held: Counter[str] = Counter()
        self._waiting: deque[_Turn] = deque()

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    async def take(self, who: str) -> None:
        """Return when the request may go on; `give_back` must follow.

        Raises:
            Refusal: 429 where no place is left and this key holds its share of them beside others, 503 where no place is left otherwise,
                or where none became free in time.
        """
        if self.num_ongoing < self.max_ongoing and not self._waiting:
            self.num_ongoing += 1
            self._held[who] += 1
            return
        if len(self._waiting) >= self.max_queued:
            self._make_room(who)
        turn = _Turn(who)
        self._waiting.append(turn)
        self._held[who] += 1
        try:
            async with asyncio.timeout(self.queue_seconds):
                await turn.place
        except TimeoutError:
            self._leave(turn)
            message = f"No place became free within {self.queue_seconds:g} seconds; ask again later"
            raise Refusal(UNAVAILABLE, "queue_timeout", message, retry_after_seconds=self.retry_after_seconds) from None
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def give_back(self, who: str) -> None:
        """Free a place; the one who waits longest gets it."""
        self._forget(who)
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.place.done():
                turn.place.set_result(None)
                return
        self.num_ongoing -= 1

    def _make_room(self, who: str) -> None:
        """Have the latest of the key that holds the most give way to a key with less than its share; refuse where `who` has none."""
        keys = self._held.keys() | {who}
        share = math.ceil((self.max_ongoing + self.max_queued) / len(keys))
        if len(keys) > 1 and self._held[who] >= share:
            raise self._over_share(share)
        later = [turn for turn in reversed(self._waiting) if not turn.place.done()] if len(keys) > 1 else []
        latest = max(later, key=lambda turn: self._held[turn.who], default=None)
        if latest is None or self._held[latest.who] <= self._held[who] + 1:
            raise Refusal(
                UNAVAILABLE, "overloaded",
                f"{self.num_ongoing} requests are in flight and {len(self._waiting)} wait, which is all there is room for; ask again later",
                retry_after_seconds=self.retry_after_seconds,
            )  # fmt: skip
        self._waiting.remove(latest)
        self._forget(latest.who)
        latest.place.set_exception(self._over_share(share))

    def _over_share(self, share: int) -> Refusal:
        message = f"This key holds its share, {share} places, of those there are for the keys that ask now; ask again later"
        return Refusal(TOO_MANY, "key_limit", message, retry_after_seconds=self.retry_after_seconds)

    def _leave(self, turn: _Turn) -> None:
        """Undo a wait that is over without a place."""
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._forget(turn.who)
        elif turn.place.done() and not turn.place.cancelled() and turn.place.exception() is None:
            self.give_back(turn.who)  # the place came just when the client left
        elif turn.place.cancelled():
            self._forget(turn.who)  # passed over by `give_back`

    def _forget(self, who: str) -> None:
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
