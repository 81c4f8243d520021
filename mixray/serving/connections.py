"""Connections that would cost more than they may: heads of requests that are too long or never end, and answers that nobody reads.

uvicorn hands a request over when its head is whole, and sets the head neither a size nor a time: a stranger's header of 50 MB kept its
parser, and with it everybody, busy for seconds. Nor does it ever give up on a client that is there and takes nothing.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mixray.recipe import Limits

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's HTTP, with a limit on what comes before a body and on the wait for a reader."""

    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:
        """Args are uvicorn's, and how long a head may be and take, and how long an answer may lie unread."""
        super().__init__(*arguments, **named)
        self._limits = limits
        self._num_bytes, self._is_head = 0, True
        self._patience: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request no longer than for any."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait_no_longer()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, unless they are a head's beyond the limit."""
        if self._is_head:
            if not self._num_bytes:
                self._wait()
            self._num_bytes += len(data)
        super().data_received(data)
        if self._is_head and self._num_bytes > self._limits.header_bytes:
            self._turn_away(TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Let the gate have the request."""
        self._wait_no_longer()
        self._is_head, self._num_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Begin to count anew: the next bytes are another request's."""
        self._is_head, self._num_bytes = True, 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Begin to watch whether the client reads: more lies here than the way to it takes."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._is_read()
        super().resume_writing()

    def _wait(self) -> None:
        self._wait_no_longer()
        self._patience = self.loop.call_later(self._limits.body_seconds, partial(self._turn_away, TOO_SLOW))

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _turn_away(self, answer: bytes) -> None:
        self._wait_no_longer()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _watch_reader(self) -> None:
        self._is_read()
        num_unread = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self._limits.unread_seconds, partial(self._cut_off, num_unread))

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _cut_off(self, num_unread: int) -> None:
        """End the connection where nothing was read since the last look; a slow reader is looked at again."""
        if self.transport.get_write_buffer_size() < num_unread:
            self._watch_reader()
        else:
            self.transport.abort()  # close() would wait for the reader; the gate hears of it as of a client that left
