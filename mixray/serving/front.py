"""The deployment that holds the gate, with a door of its own or behind Ray Serve's proxy.

In: the students' handles. Out: HTTP. With a `Door` the replica listens itself, which spares every request and every piece of a stream
one of two hops between processes; without one (`serve deploy`, KubeRay) Serve's proxy hands requests in.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from mixray.recipe import Serve
from mixray.serving.gate import Gate
from mixray.serving.handles import Handles
from mixray.serving.keys import Keys
from mixray.serving.records import AccessLog

KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048


@dataclass(frozen=True)
class Door:
    """Where a replica listens, and with which certificate."""

    host: str
    port: int
    tls_cert: str | None = None
    tls_key: str | None = None
    shared: bool = False
    """Whether several replicas listen on one port."""

    def listener(self) -> socket.socket:
        """Return the socket, bound."""
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((self.host, self.port))
        return listener

    def server(self, app: Any) -> uvicorn.Server:
        """Return a server of `app` that says nothing of its own."""
        return uvicorn.Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                ssl_certfile=self.tls_cert,
                ssl_keyfile=self.tls_key,
            )
        )


class Front:
    """A replica of the gate."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, students: Mapping[str, DeploymentHandle[Any]], serve: Serve, keys: Keys, door: Door | None
    ) -> None:
        log = AccessLog(_own(serve.access_log, serve.ingress_replicas)) if serve.access_log else None
        handles = Handles(students, may_sleep=serve.replicas[0] == 0, retry_after_seconds=serve.retry_after_seconds)
        self.gate = Gate(handles, keys, serve, log)
        self._listening: asyncio.Task[None] | None = None
        if door is not None:
            listener = door.listener()
            self._listening = asyncio.create_task(door.server(self.gate).serve(sockets=[listener]))

    def __serve_build_asgi_app__(self) -> Gate:
        """Give Serve the application it is to feed."""
        return self.gate

    def check_health(self) -> None:
        """Tell Serve to replace this replica when its door has shut."""
        if self._listening is not None and self._listening.done():
            raise RuntimeError("the gate listens no more")


def _own(path: str, num_replicas: int) -> Path:
    """Return a replica's own log file where there are several replicas."""
    if num_replicas == 1:
        return Path(path)
    whole = Path(path)
    return whole.with_name(f"{whole.stem}-{ray_serve.get_replica_context().replica_id.unique_id}{whole.suffix}")
