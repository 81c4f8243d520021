"""An S3 server that has bad days: a proxy on loopback before a real one, which fails every nth request in turn in each of five ways."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAILURES = ("busy", "reset", "answer lost", "slow", "answer cut")
SLOW_SECONDS = 1.0


class FlakyS3(ThreadingHTTPServer):
    """Forwards requests; one of `every` fails (0: none), `always` answers each with one status instead, and the answer to the first PUT of
    a path that holds `lose` is lost."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forwards)
        self.behind = urlsplit(behind).netloc
        self.every, self.always, self.lose = 0, 0, ""
        self.requests, self.failures = 0, Counter[str]()
        self._turns = itertools.cycle(FAILURES)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_failure(self) -> str | None:
        with self._lock:
            self.requests += 1
            if not self.every or self.requests % self.every:
                return None
            failure = next(self._turns)
            self.failures[failure] += 1
            return failure

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hung up knows why."""


@contextlib.contextmanager
def flaky_s3(behind: str) -> Iterator[FlakyS3]:
    with FlakyS3(behind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class _Forwards(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlakyS3

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        failure = self.server.next_failure()
        if self.server.always:
            self._answer(self.server.always, [], b"")
        elif failure == "busy":
            self._answer(503, [], b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
        elif failure == "reset":
            self._hang_up()
        else:
            self._pass_on(body, failure)

    def _pass_on(self, body: bytes, failure: str | None) -> None:
        if failure == "slow":
            time.sleep(SLOW_SECONDS)
        connection = http.client.HTTPConnection(self.server.behind, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        lost = self.server.lose and self.command == "PUT" and self.server.lose in self.path
        if lost or failure == "answer lost":
            self.server.lose = ""
            self._hang_up()
            return
        self._answer(answer.status, answer.getheaders(), content, cut=failure == "answer cut")

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = next((value for name, value in headers if name.lower() == "content-length"), len(content))
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        """Reset the connection, without a word."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

    def log_message(self, *_: object) -> None:
        """Say nothing."""
