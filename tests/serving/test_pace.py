"""Streams that speak at once, and then no more often than the way to the client can carry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.serving.pace import LONGEST_SECONDS, PIECES_PER_SECOND_AND_CORE, SHORTEST_SECONDS, Pace, pause_seconds


async def words(pauses: list[float], fails: bool = False) -> AsyncGenerator[int, None]:
    for number, pause in enumerate(pauses):
        await asyncio.sleep(pause)
        yield number
    if fails:
        raise ValueError("the engine died")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.001, 0.03]), max_size=12))
def test_every_word_is_spoken_once_and_in_order(pauses: list[float]) -> None:
    async def spoken() -> list[int]:
        return [word async for piece in Pace(2).pieces(words(pauses)) for word in piece]

    assert asyncio.run(spoken()) == list(range(len(pauses)))


def test_the_first_word_does_not_wait() -> None:
    async def first() -> float:
        pace = Pace(1)
        pace.num_streams = 1000
        began = time.monotonic()
        async for _ in pace.pieces(words([0.0, 10.0])):
            return time.monotonic() - began
        raise AssertionError("nothing was said")

    assert asyncio.run(first()) < LONGEST_SECONDS / 2


def test_many_streams_say_more_at_a_time() -> None:
    async def num_pieces(num_streams: int) -> int:
        pace = Pace(1)
        pace.num_streams = num_streams
        return len([piece async for piece in pace.pieces(words([0.005] * 60))])

    assert asyncio.run(num_pieces(50)) < asyncio.run(num_pieces(0)) <= 60


def test_an_error_comes_after_what_was_said_before_it() -> None:
    async def spoken() -> list[int]:
        heard: list[int] = []

        async def listen() -> None:
            async for piece in Pace(2).pieces(words([0.0, 0.0], fails=True)):
                heard.extend(piece)

        with pytest.raises(ValueError, match="the engine died"):
            await listen()
        return heard

    assert asyncio.run(spoken()) == [0, 1]


def test_who_stops_listening_ends_the_words() -> None:
    async def left_over() -> tuple[bool, int]:
        ended = asyncio.Event()

        async def endless() -> AsyncGenerator[int, None]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(0)
            finally:
                ended.set()

        pace = Pace(2)
        stream = pace.pieces(endless())
        await anext(stream)
        await stream.aclose()
        await asyncio.wait_for(ended.wait(), 5)
        return ended.is_set(), pace.num_streams

    assert asyncio.run(left_over()) == (True, 0)


@given(st.integers(1, 10_000), st.integers(1, 512))
def test_all_streams_together_speak_as_often_as_the_cores_can_carry(num_streams: int, num_cores: int) -> None:
    pause = pause_seconds(num_streams, num_cores)
    assert SHORTEST_SECONDS <= pause <= LONGEST_SECONDS
    if SHORTEST_SECONDS < pause < LONGEST_SECONDS:
        assert num_streams / pause == pytest.approx(PIECES_PER_SECOND_AND_CORE * num_cores)
