"""The circuit breaker: an end to a pool that costs money and brings nothing.

In: the counts of each block as it comes. Out: a TeacherError with samples of what came back, once too large a share of the last answers
failed. It looks at the last answers, not at all of them, so an endpoint that breaks after a million good ones is noticed too.
"""

from __future__ import annotations

from collections import deque

from mixray.errors import TeacherError
from mixray.teachers.tally import Tally

WINDOW_TRACES = 200


class TooManyFailures(TeacherError):
    """The breaker has opened."""


class Breaker:
    """Opens when more than `max_failed_share` of the last `WINDOW_TRACES` answers failed."""

    def __init__(self, max_failed_share: float) -> None:
        self.max_failed_share = max_failed_share
        self.blocks: deque[Tally] = deque()
        self.last = Tally()

    def see(self, block: Tally) -> None:
        """Take in a block's counts.

        Raises:
            TooManyFailures: too many of the last answers failed.
        """
        self.blocks.append(block)
        while sum(tally.traces for tally in self.blocks) - self.blocks[0].traces >= WINDOW_TRACES:
            self.blocks.popleft()
        self.last = Tally()
        for tally in self.blocks:
            self.last.add(tally)
        if self.last.traces >= WINDOW_TRACES:
            self.check(self.last)

    def opens_at(self, tally: Tally) -> bool:
        """Whether more of what is counted failed than may."""
        return tally.failed > self.max_failed_share * tally.traces

    def check(self, tally: Tally) -> None:
        """Judge counts of any size, as at the end of a pool.

        Raises:
            TooManyFailures: too many failed.
        """
        if self.opens_at(tally):
            raise TooManyFailures(
                "Too many of a teacher's answers failed",
                seen=f"{tally.failed} of {tally.traces}, such as " + "; ".join(tally.samples),
                rule=f"at most {self.max_failed_share:.0%} truncated, looping, garbled, empty or with an error (max_failed_share)",
                do="mend the cause, or raise max_failed_share, then run again: blocks without failures are kept",
            )
