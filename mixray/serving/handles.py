"""The students as the gate asks them: deployments of Ray Serve, each with as many replicas as it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from mixray.serving.answers import Answer
from mixray.serving.refusals import UNAVAILABLE, Refusal

READY_SECONDS = 2.0
READY_HOLDS_SECONDS = 1.0
# A replica that is gone, going or full: the next try may meet another one.
PASSING = (RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError, RequestCancelledError)


class Handles:
    """Students by name; several names may lead to one deployment, which then tells adapters apart itself."""

    def __init__(self, handles: Mapping[str, DeploymentHandle[Any]], may_sleep: bool, retry_after_seconds: int) -> None:
        """Args: `may_sleep` says that a student without a replica is well, since the first request wakes it."""
        self.names = tuple(handles)
        self.may_sleep, self.retry_after_seconds = may_sleep, retry_after_seconds
        self._asking = {name: handle.options(stream=True, method_name="answer") for name, handle in handles.items()}
        self._checking = {name: handle.options(method_name="check_health") for name, handle in handles.items()}
        self._checked_at, self._num_answering, self._lock = -READY_HOLDS_SECONDS, 0, asyncio.Lock()

    async def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield what the student answers.

        Raises:
            Refusal: 503 where no replica is there to answer to the end.
        """
        pieces = self._asking[body["model"]].remote(kind, body)
        ended = False
        try:
            async for piece in pieces:
                # A whole answer is all there is: what becomes of the replica after it is nobody's trouble here.
                ended = isinstance(piece, Answer) and not piece.streams
                yield piece
                if ended:
                    return
            ended = True
        except PASSING:
            raise Refusal(
                UNAVAILABLE, "student_unavailable", f"{body['model']} does not answer now; ask again later", "model",
                self.retry_after_seconds,
            ) from None  # fmt: skip
        finally:
            if not ended:  # nobody waits for it any more: the engine must stop
                pieces.cancel()

    async def num_answering(self) -> int:
        """Return how many students answer, as it was within the last second."""
        async with self._lock:
            if time.monotonic() - self._checked_at > READY_HOLDS_SECONDS:
                self._num_answering = len(self.names) if self.may_sleep else sum(await asyncio.gather(*map(self._is_well, self.names)))
                self._checked_at = time.monotonic()
            return self._num_answering

    async def _is_well(self, name: str) -> bool:
        try:
            await asyncio.wait_for(self._checking[name].remote(), READY_SECONDS)
        except (RayError, RayServeException, TimeoutError):
            return False
        return True
