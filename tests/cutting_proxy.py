"""A TCP proxy on loopback that cuts the first so many connections that ask for a web socket, each a moment after it spoke."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class CuttingProxy:
    """What it has cut so far, and where it listens."""

    def __init__(self, target: str, num_cuts: int, after_bytes: int) -> None:
        self.target, self.left, self.after_bytes = urlsplit(target), num_cuts, after_bytes
        self.num_cut = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection((self.target.hostname or "", self.target.port or 80))
                cut = threading.Event()
                threading.Thread(target=self._ask, args=(client, server, cut), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, cut), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if b"Upgrade: websocket" in data and self.left:
                    self.left -= 1
                    cut.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
                passed += len(data)
                if cut.is_set() and passed > self.after_bytes:
                    self.num_cut += 1
                    break
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def cutting(target: str, num_cuts: int, after_bytes: int = 300) -> Iterator[CuttingProxy]:
    """Stand before `target` for the block."""
    proxy = CuttingProxy(target, num_cuts, after_bytes)
    try:
        yield proxy
    finally:
        proxy.listener.close()
