"""Strangers whose heads never end and clients who never read, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import gated

from mixray.recipe import Limits
from mixray.serving.door import Door
from mixray.serving.gate import Gate
from mixray.serving.port import gates

LIMIT_BYTES = 1000
PATIENCE_SECONDS = 0.3


@contextlib.asynccontextmanager
async def connection(
    app: Gate | None = None, body_seconds: float = PATIENCE_SECONDS, unread_seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Have a gate behind a door with narrow limits, and one connection to it."""
    limits = Limits(header_bytes=LIMIT_BYTES, body_seconds=body_seconds, unread_seconds=unread_seconds)
    door = Door("127.0.0.1", 0, limits=limits)
    listener = gates("127.0.0.1", 0)
    server = door.server(app or gated.gate())
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await task


def test_a_header_without_end_is_turned_away_while_it_comes_in() -> None:
    async def told() -> bytes:
        async with connection(body_seconds=60) as (reader, writer):
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * LIMIT_BYTES)
            return await asyncio.wait_for(reader.read(), 30)

    assert gated.run(told()).startswith(b"HTTP/1.1 431 ")


def test_a_head_that_trickles_in_is_not_waited_for() -> None:
    async def told() -> bytes:
        async with connection() as (reader, writer):
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n")
            return await asyncio.wait_for(reader.read(), 60)

    assert gated.run(told()).startswith(b"HTTP/1.1 408 ")


def test_who_is_quiet_between_two_requests_is_not_disturbed() -> None:
    async def told() -> list[bytes]:
        async with connection() as (reader, writer):
            heard = []
            for _ in range(3):
                writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * (LIMIT_BYTES // 2) + b"\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                heard.append(head[:12])
                await asyncio.sleep(1.5 * PATIENCE_SECONDS)
            return heard

    assert gated.run(told()) == [b"HTTP/1.1 200"] * 3


def test_a_body_may_be_larger_than_a_head() -> None:
    async def told() -> bytes:
        async with connection() as (reader, writer):
            body = b" " * 5 * LIMIT_BYTES
            head = f"POST {gated.CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            return await reader.readuntil(b"\r\n")

    assert gated.run(told()).startswith(b"HTTP/1.1 401 ")


async def asked_for_much(slowly: bool) -> int:
    """Have a client ask for an endless stream, read it slowly or not at all, and return how many places are taken some time later."""
    students = gated.Cued()
    app = gated.gate(students)
    unread_seconds = 10 * PATIENCE_SECONDS if slowly else PATIENCE_SECONDS
    async with connection(app, unread_seconds=unread_seconds) as (reader, writer):
        body = json.dumps(gated.question("endless", stream=True)).encode()
        head = f"POST {gated.CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nauthorization: "
        writer.write(head.encode() + gated.GOOD["authorization"] + b"\r\n\r\n" + body)
        await reader.readuntil(b"\r\n\r\n")
        loop = asyncio.get_running_loop()
        end = loop.time() + (2 * unread_seconds if slowly else 60)
        while loop.time() < end and app.shared.places.num_ongoing:
            await asyncio.sleep(PATIENCE_SECONDS / 20)
            if slowly:
                await reader.read(2**22)
        return app.shared.places.num_ongoing


def test_a_client_that_does_not_read_its_answer_loses_its_place_and_a_slow_one_does_not() -> None:
    assert gated.run(asked_for_much(slowly=False)) == 0
    assert gated.run(asked_for_much(slowly=True)) == 1
