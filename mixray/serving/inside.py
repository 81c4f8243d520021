"""Keeps Ray Serve's own side door shut.

Every replica of Ray Serve opens a gRPC port for calls between deployments, on all interfaces, without a key, and unpickles what it is
sent: whoever reaches it runs code. Calls between our deployments go by Ray's actors, so the port need not be reachable at all.
"""

from __future__ import annotations

import os
from typing import Any

from ray.serve._private import replica

ANYWHERE, LOOPBACK = "[::]:", "127.0.0.1:"
_bound_by_ray = replica.add_port_to_grpc_server


def keep_inside() -> None:
    """Have this replica's port listen on loopback; called before Serve opens it. A cluster with TLS of its own is left as it is."""
    if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
        replica.add_port_to_grpc_server = _bound_inside


def _bound_inside(server: Any, address: str) -> int:
    port: int = _bound_by_ray(server, address.replace(ANYWHERE, LOOPBACK))
    return port
