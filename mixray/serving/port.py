"""The endpoint's port, from the moment it is chosen: nobody else gets it while students are still coming up.

Between the choice and the gate's listening lie many seconds, in which Ray opens dozens of ports of its own choice.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from mixray.errors import ServingError


def bound(host: str, port: int, *options: int) -> socket.socket:
    """Return a socket that holds a port, with these options of a socket set.

    Raises:
        OSError: the port cannot be had.
    """
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        for option in options:
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind((host, port))
    except OSError:
        holder.close()
        raise
    return holder


def gates(host: str, port: int) -> socket.socket:
    """Return a socket for a gate to listen on, beside the claim and other gates.

    Raises:
        OSError: the port cannot be had.
    """
    # With SO_REUSEADDR what is left of its connections does not keep the port from the next endpoint for a minute.
    return bound(host, port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)


@contextlib.contextmanager
def claimed(host: str, port: int) -> Iterator[int]:
    """Hold a port for the block, for gates that share it; 0 becomes a free one.

    Raises:
        ServingError: somebody else has it.
    """
    try:
        with bound(host, port, socket.SO_REUSEADDR) as probe:  # another endpoint shares, and must not be joined
            port = int(probe.getsockname()[1])
        # Without SO_REUSEADDR: a port held with it, on which nobody listens yet, could be had by whoever sets it too.
        holder = bound(host, port, socket.SO_REUSEPORT)
    except OSError as error:
        raise ServingError(
            "The endpoint's port cannot be used",
            seen=f"{host}:{port} ({error.strerror})",
            rule="it must be free",
            do="pass --port 0 for any free one, or `--set serve.port=...`",
        ) from error
    with holder:
        yield port
