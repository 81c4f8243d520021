"""Calls side by side: how many at a time, in which order, and what an error does to the rest."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from mixray.threads import side_by_side


def test_no_more_run_than_may_and_all_are_run_in_their_order() -> None:
    running, most_seen, begun, lock = set[int](), list[int](), list[int](), threading.Lock()

    def work(number: int) -> int:
        with lock:
            running.add(number)
            begun.append(number)
            most_seen.append(len(running))
        time.sleep(0.02)
        with lock:
            running.discard(number)
        return number * number

    told = dict(side_by_side([partial(work, number) for number in range(7)], most=2))
    assert told == {number: number * number for number in range(7)}
    assert all(abs(number - place) <= 1 for place, number in enumerate(begun)), "two at once may swap"
    assert max(most_seen) == 2


def test_all_run_at_once_where_nothing_else_is_said() -> None:
    meeting = threading.Barrier(5)
    assert len(dict(side_by_side([partial(meeting.wait, 60)] * 5))) == 5


def test_the_first_error_is_raised_and_nothing_more_is_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        time.sleep(1)

    with pytest.raises(ValueError, match="one"):
        for _ in side_by_side([partial(work, number) for number in range(20)], most=2):
            pass
    assert len(begun) < 5


def test_nothing_to_do_is_done_at_once() -> None:
    assert list(side_by_side([])) == []
