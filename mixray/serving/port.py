"""The endpoint's port, from the moment it is chosen: nobody else gets it while students are still coming up.

Between the choice and the gate's listening lie many seconds, in which Ray opens dozens of ports of its own choice.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from mixray.errors import ServingError


def bound(host: str, port: int, shares: bool = True) -> socket.socket:
    """Return a socket that holds a port; with `shares`, others of the same user that ask to share may hold it too.

    Raises:
        OSError: the port cannot be had.
    """
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Never both: a port held with SO_REUSEADDR that nobody listens on yet could be had by whoever sets it too.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shares else socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
    except OSError:
        holder.close()
        raise
    return holder


@contextlib.contextmanager
def claimed(host: str, port: int) -> Iterator[int]:
    """Hold a port for the block, for gates that share it; 0 becomes a free one.

    Raises:
        ServingError: somebody else has it.
    """
    try:
        with bound(host, port, shares=False) as probe:  # another endpoint shares, and must not be joined
            port = int(probe.getsockname()[1])
        holder = bound(host, port)
    except OSError as error:
        raise ServingError(
            "The endpoint's port cannot be used",
            seen=f"{host}:{port} ({error.strerror})",
            rule="it must be free",
            do="pass --port 0 for any free one, or `--set serve.port=...`",
        ) from error
    with holder:
        yield port
