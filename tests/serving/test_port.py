"""The endpoint's port is its own from the moment it is chosen."""

from __future__ import annotations

import socket

import pytest

from mixray.errors import ServingError
from mixray.serving.port import claimed, gates


def test_gates_may_listen_on_a_claimed_port_and_nobody_else() -> None:
    with claimed("127.0.0.1", 0) as port:
        with gates("127.0.0.1", port) as first, gates("127.0.0.1", port) as second:
            first.listen()
            second.listen()
            socket.create_connection(("127.0.0.1", port), 5).close()
        with pytest.raises(OSError, match="in use"), socket.socket() as stranger:
            stranger.bind(("127.0.0.1", port))


def test_the_claim_itself_takes_no_connections() -> None:
    with claimed("127.0.0.1", 0) as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_a_port_that_another_endpoint_claimed_is_refused_though_it_would_share() -> None:
    with claimed("127.0.0.1", 0) as port, pytest.raises(ServingError, match=f"127.0.0.1:{port}"), claimed("127.0.0.1", port):
        pass


def test_after_the_claim_the_port_is_free_at_once_though_it_had_connections() -> None:
    with claimed("127.0.0.1", 0) as port, gates("127.0.0.1", port) as gate:
        gate.listen()
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            gate.accept()[0].close()
            assert client.recv(1) == b""
    with claimed("127.0.0.1", port), gates("127.0.0.1", port) as gate:
        gate.listen()
