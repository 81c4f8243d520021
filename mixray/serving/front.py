"""The deployment that holds the gate, with a door of its own or behind Ray Serve's proxy.

In: the students' handles. Out: HTTP. With a `Door` the replica listens itself, which spares every request and every piece of a stream
one of two hops between processes; without one (`serve deploy`, KubeRay) Serve's proxy hands requests in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve.handle import DeploymentHandle

from mixray.recipe import Serve
from mixray.serving.door import Door, own_log
from mixray.serving.gate import Gate
from mixray.serving.handles import Handles
from mixray.serving.inside import keep_inside
from mixray.serving.keys import Keys


class Front:
    """A replica of the gate."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, students: Mapping[str, DeploymentHandle[Any]], serve: Serve, keys: Keys, door: Door | None
    ) -> None:
        keep_inside()
        fewest, most = serve.replicas
        handles = Handles(students, fewest == 0, most > 1, serve.limits.queue_seconds, serve.retry_after_seconds)
        # Serve's proxy puts the id on answers itself.
        self.gate = Gate(handles, keys, serve, own_log(serve), tells_ids=door is not None)
        self._listening = door.open(self.gate) if door else None

    def __serve_build_asgi_app__(self) -> Gate:
        """Give Serve the application it is to feed."""
        return self.gate

    def check_health(self) -> None:
        """Tell Serve to replace this replica when its door has shut."""
        if self._listening is not None and self._listening.done():
            raise RuntimeError("the gate listens no more")
