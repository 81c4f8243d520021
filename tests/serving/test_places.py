"""Who goes on, who waits, who is turned away: places are neither lost nor given twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import httpx
from gated import CHAT, GOOD, Cued, client, gate, question, run
from hypothesis import given
from hypothesis import strategies as st

from mixray.serving.places import Places


def test_beyond_the_places_a_request_is_turned_away_at_once_and_told_when_to_come_back() -> None:
    students = Cued()

    async def ask() -> tuple[list[httpx.Response], float, list[httpx.Response]]:
        app = gate(students, max_ongoing=2, max_queued=3, retry_after_seconds=7)
        async with client(app) as asking:
            accepted = [asyncio.create_task(asking.post(CHAT, headers=GOOD, json=question("slow"))) for _ in range(5)]
            while (app.shared.places.num_ongoing, app.shared.places.num_waiting) != (2, 3):
                await asyncio.sleep(0.01)
            start = time.perf_counter()
            turned_away = [await asking.post(CHAT, headers=GOOD, json=question("slow")) for _ in range(10)]
            seconds = (time.perf_counter() - start) / 10
            assert len(students.asked) == 2
            students.go_on.set()
            return turned_away, seconds, await asyncio.gather(*accepted)

    turned_away, seconds, accepted = run(ask())
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in turned_away} == {(503, "7")}
    assert [answer.status_code for answer in accepted] == [200] * 5
    assert seconds < 2, "who waits for a place waits 300"


def taken(order: str, **settings: Any) -> tuple[list[Any], int]:
    """Have keys, a letter each, ask for places in an order; return the status each was refused with, None for the others."""

    async def ask() -> tuple[list[Any], int]:
        places = Places(**{"max_ongoing": 1, "max_queued": 3, "queue_seconds": 60, "retry_after_seconds": 1, **settings})
        tasks = []
        for who in order:
            tasks.append(asyncio.create_task(places.take(who)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        errors = [task.exception() if task.done() else None for task in tasks]
        waiting = places.num_waiting
        for task in tasks:
            task.cancel()
        return [getattr(error, "status", error) for error in errors], waiting

    return run(ask())


def test_keys_share_the_places_with_those_that_ask_and_with_no_others() -> None:
    assert taken("gggg") == ([None] * 4, 3), "a key that asks alone has all the places"
    assert taken("ggggg") == ([None] * 4 + [503], 3)
    assert taken("mggg") == ([None] * 4, 3), "nobody is turned away while there is room"
    assert taken("ggggm") == ([None, None, None, 429, None], 3), "the latest of the one that holds most makes room"
    assert taken("ggggmmm") == ([None, None, 429, 429, None, None, 429], 3), "and no more than to the same share"
    assert taken("ggggmg")[0][-1] == 429
    assert taken("gm", max_queued=0)[0] == [None, 503]


def test_who_waits_too_long_for_a_place_is_told_to_come_back() -> None:
    students = Cued()

    async def ask() -> httpx.Response:
        async with client(gate(students, max_ongoing=1, limits={"queue_seconds": 0.05}, retry_after_seconds=7)) as asking:
            first = asyncio.create_task(asking.post(CHAT, headers=GOOD, json=question("slow")))
            await asyncio.sleep(0.01)
            second = await asking.post(CHAT, headers=GOOD, json=question("slow"))
            students.go_on.set()
            assert (await first).status_code == 200
            assert (await asking.post(CHAT, headers=GOOD, json=question("slow"))).status_code == 200
            return second

    answer = run(ask())
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["error"]["code"]) == (503, "7", "queue_timeout")
    assert len(students.asked) == 2


@given(st.integers(1, 4), st.integers(0, 4), st.lists(st.tuples(st.sampled_from("ttgc"), st.integers(0, 9)), max_size=60))
def test_places_are_neither_lost_nor_given_twice(ongoing: int, queued: int, steps: list[tuple[str, int]]) -> None:
    async def live() -> None:
        places = Places(ongoing, queued, queue_seconds=60, retry_after_seconds=1)
        tasks: list[tuple[str, asyncio.Task[Any]]] = []
        holders: list[str] = []
        for what, which in steps:
            if what == "t":
                who = "abc"[which % 3]
                tasks.append((who, asyncio.create_task(places.take(who))))
            elif what == "g" and holders:
                places.give_back(holders.pop(which % len(holders)))
            elif what == "c" and tasks:
                tasks[which % len(tasks)][1].cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            holders += [who for who, task in tasks if task.done() and not task.cancelled() and task.exception() is None]
            tasks = [(who, task) for who, task in tasks if not task.done()]
            assert len(holders) == places.num_ongoing <= ongoing
            assert len(tasks) == places.num_waiting <= queued
            assert places._held == Counter([*holders, *(who for who, _ in tasks)])
            assert not tasks or places.num_ongoing == ongoing
        for _, task in tasks:
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
