"""A door of one's own: a replica that listens itself, in place of Ray Serve's proxy."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from ray import serve as ray_serve

from mixray.recipe import Limits, Serve
from mixray.serving.connections import BoundedConnection
from mixray.serving.port import gates
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
    limits: Limits = field(default_factory=Limits)

    def server(self, app: Any) -> uvicorn.Server:
        """Return a server of `app` that says nothing of its own."""
        return uvicorn.Server(
            uvicorn.Config(
                app,
                http=partial(BoundedConnection, limits=self.limits),  # type: ignore[arg-type]
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

    def open(self, app: Any) -> asyncio.Task[None]:
        """Begin to listen, in this event loop, on the port that the endpoint holds for its gates; the task ends when it does."""
        return asyncio.create_task(self.server(app).serve(sockets=[gates(self.host, self.port)]))


def own_log(serve: Serve) -> AccessLog | None:
    """Return the access log of this replica: a file of its own where there are several replicas, none where none is asked for."""
    if serve.access_log is None:
        return None
    path = Path(serve.access_log)
    if serve.ingress_replicas > 1:
        path = path.with_name(f"{path.stem}-{ray_serve.get_replica_context().replica_id.unique_id}{path.suffix}")
    return AccessLog(path)
