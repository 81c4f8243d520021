"""The students as the gate asks them: deployments of Ray Serve, each with as many replicas as it has, reached by a wire each.

In: a handle of Serve for each student. Out: answers. Serve tells where replicas listen, and starts one where there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from mixray.serving.wire import Address, GateEnd, WireCutError

READY_SECONDS = 2.0
READY_HOLDS_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often replicas that came up since are looked for, where there may be several."""
# A replica that is gone or going: the next try may meet another one.
PASSING = (
    RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError, RequestCancelledError, OSError, TimeoutError,
)  # fmt: skip


class Replicas:
    """The replicas of one deployment, as many as there are."""

    def __init__(self, handle: DeploymentHandle[Any], may_grow: bool) -> None:
        """Args: `may_grow` says that there may be more than one."""
        self._handle, self._may_grow = handle, may_grow
        self._ends: dict[Address, GateEnd] = {}
        self._dialling = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    async def least_asked(self) -> GateEnd:
        """Return the replica with the fewest requests; wait for one where there is none.

        Raises:
            One of PASSING: the replica that should have been there is not.
        """
        if self._may_grow and self._looking is None:
            self._looking = asyncio.create_task(self._look_again())
        async with self._dialling:  # of many that find nobody there, one has Serve wake a replica
            if not self._taking():
                await self._dial(await self._handle.listening.remote())
        if not (ends := self._taking()):
            raise WireCutError("the replica is going")
        return min(ends, key=lambda end: end.num_ongoing)

    def _taking(self) -> list[GateEnd]:
        return [end for end in self._ends.values() if end.takes_more]

    async def _dial(self, address: Address) -> None:
        self._ends = {there: end for there, end in self._ends.items() if end.is_live}
        if address not in self._ends:
            self._ends[address] = await GateEnd.dial(address)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(*PASSING, RayError, RayServeException):
                asked = self._handle.broadcast("listening")
                for address in await asked.results_async(timeout_s=READY_SECONDS, return_exceptions=True):
                    if isinstance(address, Address):
                        await self._dial(address)


class Handles:
    """Students by name; several names may lead to one deployment, which then tells adapters apart itself."""

    def __init__(self, handles: Mapping[str, DeploymentHandle[Any]], may_sleep: bool, may_grow: bool, retry_after_seconds: int) -> None:
        """Args: `may_sleep` says that a student without a replica is well, since the first request wakes it; `may_grow`, see Replicas."""
        self.names = tuple(handles)
        self.may_sleep, self.retry_after_seconds = may_sleep, retry_after_seconds
        deployments = {handle.deployment_name: Replicas(handle, may_grow) for handle in handles.values()}
        self._replicas = {name: deployments[handle.deployment_name] for name, handle in handles.items()}
        self._checking = {name: handle.options(method_name="check_health") for name, handle in handles.items()}
        self._checked_at, self._num_answering, self._lock = -READY_HOLDS_SECONDS, 0, asyncio.Lock()

    async def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield what the student answers.

        Raises:
            Refusal: 503 where no replica is there to answer to the end.
        """
        try:
            replica = await self._replicas[body["model"]].least_asked()
            async with contextlib.aclosing(replica.ask(kind, body)) as pieces:
                async for piece in pieces:
                    yield piece
        except PASSING:
            raise Refusal(
                UNAVAILABLE, "student_unavailable", f"{body['model']} does not answer now; ask again later", "model",
                self.retry_after_seconds,
            ) from None  # fmt: skip

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
