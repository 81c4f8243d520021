"""Who goes on, who waits, who is turned away: places are neither lost nor given twice."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from gated import CHAT, GOOD, Cued, client, gate, question, run
from hypothesis import given
from hypothesis import strategies as st

from mixray.serving.places import Places
from mixray.serving.refusals import Refusal


def test_beyond_the_places_a_request_is_turned_away_at_once_and_told_when_to_come_back() -> None:
    students = Cued()

    async def ask() -> tuple[list[httpx.Response], float, list[httpx.Response]]:
        async with client(gate(students, max_ongoing=2, max_queued=3, retry_after_seconds=7)) as asking:
            accepted = [asyncio.create_task(asking.post(CHAT, headers=GOOD, json=question("slow"))) for _ in range(5)]
            await asyncio.sleep(0.05)
            start = time.perf_counter()
            turned_away = [await asking.post(CHAT, headers=GOOD, json=question("slow")) for _ in range(10)]
            seconds = (time.perf_counter() - start) / 10
            assert len(students.asked) == 2
            students.go_on.set()
            return turned_away, seconds, await asyncio.gather(*accepted)

    turned_away, seconds, accepted = run(ask())
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in turned_away} == {(503, "7")}
    assert [answer.status_code for answer in accepted] == [200] * 5
    assert seconds < 0.05


def test_one_key_cannot_take_the_places_of_all() -> None:
    async def ask() -> tuple[list[int], int]:
        places = Places(max_ongoing=1, max_queued=3, num_keys=2, retry_after_seconds=1)
        greedy = [asyncio.create_task(places.take("greedy")) for _ in range(4)]
        await asyncio.sleep(0)
        modest = asyncio.create_task(places.take("modest"))
        await asyncio.sleep(0)
        refused = [task.exception() for task in greedy if task.done()]
        waiting = places.num_waiting
        for task in (*greedy, modest):
            task.cancel()
        return [error.status for error in refused if isinstance(error, Refusal)], waiting

    statuses, waiting = run(ask())
    assert statuses == [429, 429]
    assert waiting == 2


@given(st.integers(1, 4), st.integers(0, 4), st.lists(st.tuples(st.sampled_from("tgc"), st.integers(0, 9)), max_size=60))
def test_places_are_neither_lost_nor_given_twice(ongoing: int, queued: int, steps: list[tuple[str, int]]) -> None:
    async def live() -> None:
        places = Places(ongoing, queued, num_keys=1, retry_after_seconds=1)
        tasks: list[asyncio.Task[Any]] = []
        holders = 0
        for what, which in steps:
            if what == "t":
                tasks.append(asyncio.create_task(places.take("me")))
            elif what == "g" and holders:
                places.give_back("me")
                holders -= 1
            elif what == "c" and tasks:
                tasks[which % len(tasks)].cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            holders += sum(1 for task in tasks if task.done() and not task.cancelled() and task.exception() is None)
            tasks = [task for task in tasks if not task.done()]
            assert holders == places.num_ongoing <= ongoing
            assert len(tasks) == places.num_waiting <= queued
            assert not tasks or places.num_ongoing == ongoing
        for task in tasks:
            task.cancel()

    run(live())


def test_a_limit_on_time_ends_a_request() -> None:
    async def ask() -> httpx.Response:
        async with client(gate(limits={"request_seconds": 0.05})) as asking:
            return await asking.post(CHAT, headers=GOOD, json=question("slow"))

    answer = run(ask())
    assert answer.status_code == 504
    assert "0.05 seconds" in answer.json()["error"]["message"]


def test_what_the_gate_costs_is_below_a_millisecond_of_cpu() -> None:
    async def ask() -> float:
        app, body = gate(), b'{"model": "echo", "messages": [{"role": "user", "content": "How much?"}], "max_tokens": 10}'
        headers = [(b"authorization", GOOD["authorization"]), (b"content-type", b"application/json")]

        async def send(message: Any) -> None:
            pass

        start = time.process_time()
        for _ in range(2000):
            messages = [{"type": "http.request", "body": body}]

            async def receive(messages: list[Any] = messages) -> Any:
                return messages.pop() if messages else await asyncio.sleep(60)

            await app({"type": "http", "method": "POST", "path": CHAT, "headers": headers}, receive, send)
        return (time.process_time() - start) / 2000

    seconds = run(ask())
    print(f"{seconds * 1e6:.0f} us a request")
    assert seconds < 0.001
