"""The way between the gate's process and a student's: one connection for each pair, all requests on it side by side.

A call of Ray Serve took 6 ms of CPU in the gate, and each piece of a stream 0.7 ms more; a frame here takes a few hundredths. Serve
still says which replicas there are, brings them up, and counts what they do (see `handles.py`, `scaling.py`).

What travels are frames (`frames.py`). A student's end listens where its node is reached by the cluster, on loopback in a private one, and
hangs up on whoever does not send the secret that Serve alone tells the gate.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import json
import logging
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mixray.serving.answers import Answer
from mixray.serving.frames import Kind, frame, packed, read_frame, unpacked

SECRET_BYTES = 32
HANDSHAKE_SECONDS = 10.0
PROBE_SECONDS, SILENT_PROBES = 5, 3
# Long enough for what was sent before the gates heard of it.
GOING_SECONDS = 0.2
# Of one answer, not yet taken by its client: what a slow reader may make the gate hold.
MOST_UNREAD_BYTES = 16 * 2**20
# A replica that Serve has not named so often is on a node that is lost, or on its way out.
MOST_MISSED = 2
log = logging.getLogger("mixray.serving")


@dataclass(frozen=True)
class Address:
    """Where a student's end listens, and what it wants to hear first."""

    host: str
    port: int
    secret: bytes = field(repr=False)


class WireCutError(ConnectionError):
    """The student's process, or its engine, is gone: another replica may do better."""


class AnswerFailedError(Exception):
    """The student failed on this one request, or nobody took its answer: no other replica would do better."""


def _say(writer: asyncio.StreamWriter, said: bytes) -> None:
    """Write a frame. ConnectionResetError: the connection is closed, which asyncio would not tell and uvloop tells by a RuntimeError."""
    if writer.is_closing():
        raise ConnectionResetError("the connection is closed")
    writer.write(said)


def _forget(asked: dict[int, asyncio.Task[None]], number: int, _: asyncio.Task[None]) -> None:
    asked.pop(number, None)


def _notice_silence(writer: asyncio.StreamWriter) -> None:
    """Have the system end a connection whose other machine went without a word, within some 20 s."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
        connection.setsockopt(socket.IPPROTO_TCP, option, PROBE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, SILENT_PROBES)
    # Probes are not sent while something waits for its receipt, and that alone is tried again for a quarter of an hour.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * PROBE_SECONDS * (SILENT_PROBES + 1))


class StudentEnd:
    """A student's end: hears requests, and sends what `answer` yields."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], AsyncGenerator[Answer | bytes]]) -> None:
        self._answer, self._secret = answer, secrets.token_bytes(SECRET_BYTES)
        self._answering: set[asyncio.Task[None]] = set()
        self._gates: set[asyncio.StreamWriter] = set()
        self._is_going = False

    @property
    def num_ongoing(self) -> int:
        """How many requests are being answered."""
        return len(self._answering)

    async def listen(self, host: str) -> Address:
        """Begin to listen; return where."""
        self._server = await asyncio.start_server(self._hear, host, 0)
        self.address = Address(host, self._server.sockets[0].getsockname()[1], self._secret)
        return self.address

    def hang_up(self) -> None:
        """Hear nobody any more, and end what was begun."""
        self._server.close()
        for gate in self._gates:
            gate.close()

    def say_going(self) -> None:
        """Ask the gates for no more requests."""
        self._is_going = True
        for gate in self._gates:
            with contextlib.suppress(OSError):
                _say(gate, frame(Kind.GOING, 0))

    async def drain(self) -> None:
        """Ask the gates for no more requests, and answer those that are there."""
        self.say_going()
        await asyncio.sleep(GOING_SECONDS)
        while self._answering:
            await asyncio.wait(self._answering)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: dict[int, asyncio.Task[None]] = {}
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                given = await reader.readexactly(SECRET_BYTES)
            if not hmac.compare_digest(given, self._secret):
                return
            _notice_silence(writer)
            self._gates.add(writer)
            if self._is_going:
                _say(writer, frame(Kind.GOING, 0))
            while True:
                kind, number, payload = await read_frame(reader)
                if kind is Kind.ASK:
                    asked[number] = asyncio.create_task(self._reply(writer, number, payload))
                    self._answering.add(asked[number])
                    asked[number].add_done_callback(self._answering.discard)
                    asked[number].add_done_callback(partial(_forget, asked, number))
                elif kind is Kind.CANCEL and number in asked:
                    asked[number].cancel()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the gate is gone, or never was one
        finally:
            self._gates.discard(writer)
            for task in list(asked.values()):  # nobody waits for them any more
                task.cancel()
            writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, number: int, payload: bytes) -> None:
        asked = json.loads(payload)
        try:
            async with contextlib.aclosing(self._answer(asked["kind"], asked["body"])) as pieces:
                async for piece in pieces:
                    kind, content = packed(piece)
                    _say(writer, frame(kind, number, content))
                    await writer.drain()
            last = Kind.END
        except WireCutError:
            last = Kind.GONE
        except OSError:
            return  # the gate is gone
        except Exception:
            log.exception("an answer failed")
            last = Kind.FAILED
        with contextlib.suppress(OSError):
            _say(writer, frame(last, number))


class Heard:
    """What a student said to one request, and nobody took yet."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[tuple[Kind, bytes]] = asyncio.Queue()
        self.num_bytes = 0

    def put(self, kind: Kind, payload: bytes = b"") -> None:
        """Keep a frame."""
        self.num_bytes += len(payload)
        self._said.put_nowait((kind, payload))

    async def get(self) -> tuple[Kind, bytes]:
        """Return the next frame."""
        kind, payload = await self._said.get()
        self.num_bytes -= len(payload)
        return kind, payload


class GateEnd:
    """The gate's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, self._numbers = writer, itertools.count()
        self._asked: dict[int, Heard] = {}
        self._is_going = False
        self.num_missed = 0
        """How often in a row Serve has not named this replica."""
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def dial(cls, address: Address) -> GateEnd:
        """Return a connection to a student's process. OSError, TimeoutError: it is not there."""
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port)
        _notice_silence(writer)
        writer.write(address.secret)
        return cls(reader, writer)

    @property
    def num_ongoing(self) -> int:
        """How many requests wait for their answers' ends."""
        return len(self._asked)

    @property
    def is_live(self) -> bool:
        """Whether the student's process is there. A connection is closed a moment before whoever reads from it hears so."""
        return not self._reading.done() and not self._writer.is_closing()

    @property
    def takes_more(self) -> bool:
        """Whether to ask it."""
        return self.is_live and not self._is_going and self.num_missed < MOST_MISSED

    async def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield what the student answers. Ending early ends its work.

        Raises:
            WireCutError: its process or its engine went before the end.
            AnswerFailedError: it failed on this request, or what it says is not taken.
        """
        if not self.is_live:
            raise WireCutError("the student's process is gone")
        number = next(self._numbers) % 2**32
        self._asked[number] = heard = Heard()
        ended = False
        try:
            self._writer.write(frame(Kind.ASK, number, json.dumps({"kind": kind, "body": body}).encode()))
            while True:
                said, payload = await heard.get()
                ended = said in (Kind.END, Kind.FAILED, Kind.GONE)
                if said is Kind.END:
                    return
                if said is Kind.GONE:
                    raise WireCutError("the student's process or engine is gone")
                if said is Kind.FAILED:
                    raise AnswerFailedError("the student failed on this request, or its answer was not taken")
                yield unpacked(said, payload)
        finally:
            self._asked.pop(number, None)
            if not ended and self.is_live:
                self._writer.write(frame(Kind.CANCEL, number))

    def close(self) -> None:
        """Hang up."""
        self._reading.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                kind, number, payload = await read_frame(reader)
                if kind is Kind.GOING:
                    self._is_going = True
                elif heard := self._asked.get(number):
                    self._keep(heard, kind, number, payload)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for heard in self._asked.values():
                heard.put(Kind.GONE)
            self._writer.close()

    def _keep(self, heard: Heard, kind: Kind, number: int, payload: bytes) -> None:
        """Keep what is said until it is taken, unless that is too much: slowing the student down would slow down everybody on the wire."""
        heard.put(kind, payload)
        if heard.num_bytes > MOST_UNREAD_BYTES:
            del self._asked[number]
            if self.is_live:
                self._writer.write(frame(Kind.CANCEL, number))
            heard.put(Kind.FAILED)
