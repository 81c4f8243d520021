"""Streams that speak at once, and then no more often than the machine can carry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.serving.pace import AT_ONCE, LONGEST_SECONDS, PIECES_PER_SECOND_AND_CORE, SHORTEST_SECONDS, Pace, Turn, at_once, pause_seconds


async def words(pauses: list[float | None], fails: bool = False) -> AsyncGenerator[int, None]:
    for number, pause in enumerate(pauses):
        if pause is not None:
            await asyncio.sleep(pause)
        yield number
    if fails:
        raise ValueError("the engine died")


def waited(turn: Turn) -> float:
    """Return how long a stream that has just been given a turn waits for it."""

    async def wait() -> float:
        began = time.monotonic()
        await turn.come()
        return time.monotonic() - began

    return asyncio.run(wait())


def test_first_words_do_not_wait_however_many_speak() -> None:
    pace = Pace(1)
    pace.num_streams = 1000
    turn = Turn(pace)
    for _ in range(AT_ONCE):
        assert turn.has_come()
        turn.spoken()
    assert not turn.has_come()


def test_later_words_wait_for_their_turn() -> None:
    turn = Turn(Pace(1))
    for _ in range(AT_ONCE):
        turn.spoken()
    assert waited(turn) >= 0.9 * SHORTEST_SECONDS
    assert turn.has_come()


def test_the_last_word_does_not_wait() -> None:
    pace = Pace(1)
    pace.num_streams = 1000
    turn = Turn(pace)
    for _ in range(AT_ONCE):
        turn.spoken()
    turn.hurry()
    assert turn.has_come()
    assert waited(turn) < LONGEST_SECONDS / 2


def test_a_stream_that_is_over_is_counted_no_more_however_often_it_says_so() -> None:
    pace = Pace(1)
    turn = Turn(pace)
    assert pace.num_streams == 1
    turn.over()
    turn.over()
    assert pace.num_streams == 0


@given(st.integers(1, 10_000), st.integers(1, 512))
def test_all_streams_together_speak_as_often_as_the_cores_can_carry(num_streams: int, num_cores: int) -> None:
    pause = pause_seconds(num_streams, num_cores)
    assert SHORTEST_SECONDS <= pause <= LONGEST_SECONDS
    if SHORTEST_SECONDS < pause < LONGEST_SECONDS:
        assert num_streams / pause == pytest.approx(PIECES_PER_SECOND_AND_CORE * num_cores)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([None, 0.0, 0.001, 0.01]), max_size=12))
def test_every_word_comes_once_and_in_order(pauses: list[float | None]) -> None:
    async def heard() -> list[int]:
        return [word async for together in at_once(words(pauses)) for word in together]

    assert asyncio.run(heard()) == list(range(len(pauses)))


def test_words_without_a_wait_between_come_together() -> None:
    async def heard() -> list[list[int]]:
        return [together async for together in at_once(words([None, None, 0.05, None, 0.05]))]

    assert asyncio.run(heard()) == [[0, 1], [2, 3], [4]]


def test_an_error_comes_after_what_was_said_before_it() -> None:
    said: list[int] = []

    async def hear() -> None:
        async for together in at_once(words([None, None], fails=True)):
            said.extend(together)

    with pytest.raises(ValueError, match="the engine died"):
        asyncio.run(hear())
    assert said == [0, 1]


def test_who_stops_listening_ends_the_words() -> None:
    async def left_over() -> bool:
        ended = asyncio.Event()

        async def endless() -> AsyncGenerator[int, None]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

        said = endless()
        stream = at_once(said)
        await anext(stream)
        await stream.aclose()
        await said.aclose()
        return ended.is_set()

    assert asyncio.run(left_over())
