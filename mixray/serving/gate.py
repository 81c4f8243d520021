"""The gate before the students: an ASGI application of its own, which tells a stranger nothing and an engine only what it can take.

In: HTTP, and students to ask. Out: what they answer, as it comes, or a refusal in the words of OpenAI's API. `/health` and `/ready`
alone are open; of keys only digests are kept.
"""

from __future__ import annotations

import time

from starlette.types import Receive, Scope, Send

from mixray.recipe import Serve
from mixray.serving.answers import Students
from mixray.serving.exchange import Exchange, Shared
from mixray.serving.keys import Keys
from mixray.serving.places import Places
from mixray.serving.records import AccessLog, Metrics

POLICY_VIOLATED = 1008


class Gate:
    """The ASGI application."""

    def __init__(self, students: Students, keys: Keys, serve: Serve, access_log: AccessLog | None = None, tells_ids: bool = True) -> None:
        """Args are who answers, who may ask, the limits, where each request is told of, and whether answers carry its id."""
        # Each process of several has its part of the places.
        ongoing, queued = (-(-number // serve.ingress_replicas) for number in (serve.max_ongoing, serve.max_queued))
        self.shared = Shared(
            students, keys, serve.limits, Places(ongoing, queued, serve.limits.queue_seconds, serve.retry_after_seconds),
            access_log, Metrics(), int(time.time()), tells_ids,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATED})
        else:
            await Exchange(self.shared, scope, receive, send).run()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
