"""The students as the gate asks them: deployments of Ray Serve, each with as many replicas as it has, reached by a wire each.

In: a handle of Serve for each student. Out: answers. Serve tells where replicas listen, and starts one where there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from mixray.serving.answers import Answer
from mixray.serving.refusals import UNAVAILABLE, Refusal
from mixray.serving.wire import Address, GateEnd, WireCutError
from mixray.terminal import harmless

log = logging.getLogger("mixray.serving")

READY_SECONDS = 2.0
READY_HOLDS_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often replicas that came up since are looked for, where there may be several."""
MAX_TRIES = 3
# A replica that is gone or going: the client's next try may meet another one.
PASSING = (RayError, RayServeException, OSError, TimeoutError)


class Replicas:
    """The replicas of one deployment, as many as there are."""

    def __init__(self, handle: DeploymentHandle[Any], may_grow: bool, wake_seconds: float) -> None:
        """Args: `may_grow` says that there may be more than one; `wake_seconds`, how long to wait for a first one."""
        self._handle, self._may_grow, self._wake_seconds = handle, may_grow, wake_seconds
        self._ends: dict[Address, GateEnd] = {}
        self._dialling = asyncio.Lock()
        self._waking: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def least_asked(self) -> GateEnd:
        """Return the replica with the fewest requests; wait for one where there is none.

        Raises:
            One of PASSING: there is none, and none came.
        """
        if self._may_grow and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_again())
        deadline = time.monotonic() + self._wake_seconds
        while not (ends := self._taking()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no replica in {self._wake_seconds:g} s")
            if self._waking is None or self._waking.done():  # of many that find nobody there, one has Serve wake a replica
                self._waking = asyncio.create_task(self._wake())
            woken, _ = await asyncio.wait([self._waking], timeout=LOOK_SECONDS)
            for each in woken:
                if each.cancelled():  # by Serve: its replica is gone
                    raise WireCutError("the replica is gone")
                each.result()
                if not self._taking():
                    raise WireCutError("the replica is going")
        return min(ends, key=lambda end: end.num_ongoing)

    def _taking(self) -> list[GateEnd]:
        return [end for end in self._ends.values() if end.takes_more]

    async def _wake(self) -> None:
        await self._dial(await self._handle.listening.remote())

    async def _dial(self, address: Address) -> None:
        async with self._dialling:
            self._ends = {there: end for there, end in self._ends.items() if end.is_live}
            if address not in self._ends:
                self._ends[address] = await GateEnd.dial(address)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except PASSING:
                continue  # Serve has no time for it now

    async def _look(self) -> None:
        """Dial the replicas that came up since, and ask those no more that Serve knows no more."""
        asked = self._handle.broadcast("listening")
        told = await asked.results_async(timeout_s=READY_SECONDS, return_exceptions=True)
        named = [address for address in told if isinstance(address, Address)]
        for address in named:
            with contextlib.suppress(OSError, TimeoutError):
                await self._dial(address)
        for address, end in self._ends.items():
            end.num_missed = 0 if address in named else end.num_missed + 1


class Handles:
    """Students by name; several names may lead to one deployment, which then tells adapters apart itself."""

    def __init__(
        self, handles: Mapping[str, DeploymentHandle[Any]], may_sleep: bool, may_grow: bool, wake_seconds: float, retry_after_seconds: int
    ) -> None:
        """Args: `may_sleep` says that a student without a replica is well, since the first request wakes it; the next two are Replicas'."""
        self.names = tuple(handles)
        self.may_sleep, self.retry_after_seconds = may_sleep, retry_after_seconds
        deployments = {handle.deployment_name: Replicas(handle, may_grow, wake_seconds) for handle in handles.values()}
        self._replicas = {name: deployments[handle.deployment_name] for name, handle in handles.items()}
        self._checking = {name: handle.options(method_name="check_health") for name, handle in handles.items()}
        self._checked_at, self._num_answering, self._lock = -READY_HOLDS_SECONDS, 0, asyncio.Lock()

    async def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield what the student answers; where a replica goes before it has said a word, another one is asked.

        Raises:
            Refusal: 503 where no replica is there to answer to the end.
        """
        for tries_left in reversed(range(MAX_TRIES)):
            has_begun = False
            try:
                replica = await self._replicas[body["model"]].least_asked()
                async with contextlib.aclosing(replica.ask(kind, body)) as pieces:
                    async for piece in pieces:
                        has_begun = True
                        yield piece
                return
            except WireCutError:
                if has_begun or not tries_left:
                    raise self._unavailable(body["model"]) from None
            except PASSING as error:
                log.warning("%s: %s: %s", body["model"], type(error).__name__, harmless(str(error))[:300])
                raise self._unavailable(body["model"]) from None

    def _unavailable(self, name: str) -> Refusal:
        told = f"{name} does not answer now; ask again later"
        return Refusal(UNAVAILABLE, "student_unavailable", told, "model", self.retry_after_seconds)

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
