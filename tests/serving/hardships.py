"""What an endpoint has to bear: requests nobody should send, and the loss of a replica while many ask. For the tests and `make bench`."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import httpx
import psutil
from malformed import Request, malformed
from processes import processes
from ray import serve

from mixray.serving.adapters import Group
from mixray.serving.vigil import Vigil

NUM_CONNECTIONS, BATCH = 8, 50
NO_ANSWER = 599
MOST_SECONDS = 500


@dataclass
class Storm:
    """How malformed requests were answered: `bad` are those with a 5xx, or with a success where none may be."""

    counts: Counter[int] = field(default_factory=Counter)
    bad: list[tuple[int, Request, bytes]] = field(default_factory=list)
    seconds: float = 0.0


def storm(root: str, key: str, model: str, num_requests: int) -> Storm:
    """Send malformed requests over a few kept connections, as fast as they are answered."""
    host, port = root.removeprefix("http://").split(":")
    told = Storm()
    requests, lock = malformed(model, num_requests), threading.Lock()

    def ask_many(_: int) -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        while True:
            with lock:
                batch = list(islice(requests, BATCH))
            if not batch:
                return
            for request in batch:
                status, answer = answered(connection, key, request)
                told.counts[status] += 1
                if status >= 500 or (status < 400 and not request.may_pass):
                    told.bad.append((status, request, answer))

    began = time.perf_counter()
    with ThreadPoolExecutor(NUM_CONNECTIONS) as threads:
        list(threads.map(ask_many, range(NUM_CONNECTIONS)))
    told.seconds = time.perf_counter() - began
    return told


def answered(connection: http.client.HTTPConnection, key: str, request: Request) -> tuple[int, bytes]:
    """Send a request as it is; a server may end the connection after it has answered."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **request.headers}
    for _ in range(2):
        try:
            connection.request(request.method, request.path, request.content, headers)
            answer = connection.getresponse()
            told = answer.read()
        except (ConnectionError, http.client.RemoteDisconnected):
            connection.close()  # it was idle, or the answer before said so
            continue
        if answer.will_close:
            connection.close()
        return answer.status, told
    return NO_ANSWER, b"no answer at all"


@dataclass
class Killed:
    """What clients saw of a replica's loss: `wrong` answers, `strange` ones (no 200, no 503), the seconds until answers came again."""

    counts: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    at: float = 0.0
    seconds: float = 0.0


def killed_under_load(url: str, key: str, arm: str, num_clients: int) -> Killed:
    """Kill a student's replica while clients ask it greedily; return when it answers again and all have asked ten times."""
    return asyncio.run(asyncio.wait_for(_live(f"{url}/chat/completions", key, arm, num_clients), MOST_SECONDS))


async def _live(url: str, key: str, arm: str, num_clients: int) -> Killed:
    told = Killed()
    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=400, limits=limits) as client:
        calm = [_text(await client.post(url, json=_body(arm, number))) for number in range(num_clients)]

        async def ask(number: int) -> None:
            while not told.seconds or told.counts[200] < 10 * num_clients:
                answer = await client.post(url, json=_body(arm, number))
                told.counts[answer.status_code] += 1
                if answer.status_code != 200:
                    if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                        told.strange.append(f"{answer.status_code} {answer.text}")
                    await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
                    continue
                if _text(answer) != calm[number]:
                    told.wrong.append(_text(answer))
                if told.at and time.monotonic() - told.at > 1 and not told.seconds:
                    told.seconds = time.monotonic() - told.at

        async def kill() -> None:
            while told.counts[200] < 2 * num_clients:
                await asyncio.sleep(0.05)
            replica_of(arm).kill()
            told.at = time.monotonic()

        async def stand_by() -> None:
            vigil = Vigil([Group(arm, "")], may_sleep=False)
            while len(told.news) < 2:
                told.news.extend(vigil.news(await asyncio.to_thread(serve.status)))
                await asyncio.sleep(0.5)

        await asyncio.gather(stand_by(), kill(), *(ask(number) for number in range(num_clients)))
    return told


def _body(arm: str, number: int) -> dict[str, Any]:
    question = [{"role": "user", "content": f"How much is {number}?"}]
    return {"model": arm, "messages": question, "max_tokens": 20, "temperature": 0, "ignore_eos": True}


def _text(answer: httpx.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def replica_of(arm: str) -> psutil.Process:
    """Return the process that holds a student, among our own."""
    found = processes(f"StudentServer:{arm.replace('.', '_')}")
    assert found, f"no process holds {arm}"
    return found[0]
