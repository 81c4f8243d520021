"""Load for an HTTP endpoint, made by few instructions: raw sockets, requests written beforehand, replies read and not parsed further.

A client library would take as much of a small machine as the server that is measured.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

READ_BYTES = 2**16
FIRST_TOKEN_EVENT = 2


@dataclass(frozen=True)
class Reply:
    """What came back: `first_seconds` until the first token, `seconds` until the last byte; status 0 where the connection broke.

    A stream's first event tells the role alone: its first token is in the second.
    """

    status: int
    began: float
    first_seconds: float
    seconds: float
    body: bytes
    retry_after: bytes = b""

    @property
    def whole(self) -> bool:
        """Whether an answer came that was not cut off."""
        return self.status == 200 and (b'"finish_reason"' in self.body) and (not self.body.startswith(b"data:") or b"[DONE]" in self.body)


class Connection:
    """One keep-alive connection; opened anew where the server closed it."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.path = parts.hostname or "127.0.0.1", parts.port or 80, parts.path
        self.head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, route: str, body: dict[str, Any]) -> Reply:
        """Post a body; return what came back, a broken connection included."""
        content = json.dumps(body).encode()
        request = f"POST {self.path}{route} HTTP/1.1\r\n{self.head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        began = time.perf_counter()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self.host, self.port, limit=READ_BYTES)
            reader, writer = self._streams
            writer.write(request)
            return await self._read(reader, began)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            await self.close()
            spent = time.perf_counter() - began
            return Reply(0, began, spent, spent, b"")

    async def _read(self, reader: asyncio.StreamReader, began: float) -> Reply:
        head = await reader.readuntil(b"\r\n\r\n")
        status, headers = int(head[9:12]), head.lower()
        retry_after = _header(headers, b"retry-after")
        parts: list[bytes] = []
        first, num_events = 0.0, 0
        if b"transfer-encoding: chunked" in headers:
            while size := int(await reader.readline(), 16):
                parts.append((await reader.readexactly(size + 2))[:-2])
                num_events += parts[-1].count(b"data: ")
                if num_events >= FIRST_TOKEN_EVENT and not first:
                    first = time.perf_counter() - began
            await reader.readline()
        else:
            parts.append(await reader.readexactly(int(_header(headers, b"content-length") or 0)))
        spent = time.perf_counter() - began
        if b"connection: close" in headers:
            await self.close()
        return Reply(status, began, first or spent, spent, b"".join(parts), retry_after)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _header(headers: bytes, name: bytes) -> bytes:
    return headers.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


async def closed_loop(url: str, key: str, route: str, bodies: Sequence[dict[str, Any]], num_clients: int) -> list[Reply]:
    """Ask every body once, with so many clients that each wait for their answer before they ask again."""
    waiting = iter(bodies)

    async def client() -> list[Reply]:
        connection = Connection(url, key)
        replies = [await connection.ask(route, body) for body in waiting]
        await connection.close()
        return replies

    return [reply for replies in await asyncio.gather(*(client() for _ in range(num_clients))) for reply in replies]


async def open_loop(
    url: str, key: str, route: str, body: Callable[[int], dict[str, Any]], per_second: float, seconds: float
) -> list[Reply]:
    """Ask at a fixed rate whatever comes back, as a crowd does; connections are used again where one is free."""
    free: list[Connection] = []
    flying: list[Awaitable[Reply]] = []

    async def one(number: int) -> Reply:
        connection = free.pop() if free else Connection(url, key)
        reply = await connection.ask(route, body(number))
        free.append(connection)
        return reply

    began = time.perf_counter()
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, began + number / per_second - time.perf_counter()))
        flying.append(asyncio.create_task(one(number)))
    replies = list(await asyncio.gather(*flying))
    for connection in free:
        await connection.close()
    return replies


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
