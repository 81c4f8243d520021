"""One request on its way through the gate: key, route, size, fields, a place; only then a student hears of it.

In: one HTTP request and what all of them share. Out: its answer as it comes, or a refusal, and one `Record`, however it ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from mixray.recipe import Limits
from mixray.serving.answers import Answer, Students
from mixray.serving.bodies import JSON, ClientGone, read_body
from mixray.serving.keys import Keys
from mixray.serving.places import Places
from mixray.serving.records import AccessLog, Metrics, Record
from mixray.serving.refusals import (
    BAD_REQUEST,
    FAILED,
    GONE,
    HEADERS_TOO_LARGE,
    NO_SUCH_METHOD,
    NOT_FOUND,
    TIMED_OUT,
    UNAVAILABLE,
    UNKNOWN_KEY,
    Refusal,
)
from mixray.serving.requests import CHAT, COMPLETIONS, checked, parse
from mixray.terminal import harmless

HEALTH, READY, METRICS, MODELS = "/health", "/ready", "/metrics", "/v1/models"
ASKED = {"/v1/chat/completions": CHAT, "/v1/completions": COMPLETIONS}
ROUTES = frozenset({HEALTH, READY, METRICS, MODELS, *ASKED})
OTHER, ONE_MODEL = "other", f"{MODELS}/{{id}}"
SANE_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
EVENTS, TEXT = b"text/event-stream; charset=utf-8", b"text/plain; version=0.0.4; charset=utf-8"
log = logging.getLogger("mixray.serving")


@dataclass(frozen=True)
class Shared:
    """What the requests of one gate have in common."""

    students: Students
    keys: Keys
    limits: Limits
    places: Places
    access_log: AccessLog | None
    metrics: Metrics
    created: int
    tells_ids: bool


class Exchange:
    """One request and its answer, from whatever they share with the others."""

    def __init__(self, gate: Shared, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate, self.scope, self.receive, self._send = gate, scope, receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        path = scope["path"]
        route = path if path in ROUTES else ONE_MODEL if path.startswith(f"{MODELS}/") else OTHER
        self.path, self.record = path, Record(_request_id(self.headers), scope["method"], route)
        self.started = self.ended = self.is_gone = False

    async def run(self) -> None:
        """Answer, and leave a record."""
        record = self.record
        try:
            await self._answer()
        except Refusal as refusal:
            await self._refuse(refusal)
        except ClientGone:
            record.status, record.refused = GONE, "client_gone"
        except asyncio.CancelledError:  # by our own watch, or by Serve's
            record.status, record.refused = GONE, "client_gone"
            task = asyncio.current_task()
            if not self.is_gone or task is None:
                raise
            task.uncancel()
        except Exception as error:
            # The traceback may quote what the client sent.
            log.error("request %s failed: %s\n%s", record.request_id, type(error).__name__, harmless(traceback.format_exc()))
            await self._refuse(Refusal(FAILED, "internal_error", f"Something failed here (request {record.request_id})"))
        finally:
            record.seconds = time.perf_counter() - record.started
            self.gate.metrics.count(record)
            try:
                if self.gate.access_log is not None:
                    self.gate.access_log.write(record)
            except OSError:  # a full disk must not take answers with it
                self.gate.metrics.lost_lines.inc()

    async def _answer(self) -> None:
        reads = self.scope["method"] in ("GET", "HEAD")
        if self.path == HEALTH and reads:
            await self._respond(200, b'{"status": "ok"}')
        elif self.path == READY and reads:
            await self._tell_readiness()
        else:
            self._let_in()
            if kind := ASKED.get(self.path):
                await self._ask(kind)
            elif self.path == METRICS:
                await self._tell_metrics()
            else:
                await self._tell_models()

    def _let_in(self) -> None:
        """Refuse whoever has no key, and with one what is no known request."""
        record, method, limits = self.record, self.scope["method"], self.gate.limits
        record.key = self.gate.keys.who(self.headers.get(b"authorization", b""))
        if record.key is None:
            raise Refusal(UNKNOWN_KEY, "invalid_api_key", "Send the key as `Authorization: Bearer KEY`")
        if record.route == OTHER:
            raise Refusal(NOT_FOUND, "not_found", f"The routes are {sorted(ROUTES)}")
        if sum(len(name) + len(value) for name, value in self.scope["headers"]) > limits.header_bytes:
            raise Refusal(HEADERS_TOO_LARGE, "too_large", f"The headers may have {limits.header_bytes} bytes in all")
        methods = ("POST",) if self.path in ASKED else ("GET", "HEAD")
        if method not in methods:
            raise Refusal(NO_SUCH_METHOD, "method_not_allowed", f"{record.route} takes {' and '.join(methods)}", allow=methods)

    async def _tell_metrics(self) -> None:
        metrics, places = self.gate.metrics, self.gate.places
        metrics.ongoing.set(places.num_ongoing)
        metrics.waiting.set(places.num_waiting)
        await self._respond(200, metrics.text(), TEXT)

    async def _ask(self, kind: str) -> None:
        gate, record = self.gate, self.record
        body = await read_body(self.receive, self.headers, gate.limits)
        record.request_bytes = len(body)
        asked = checked(kind, parse(body, gate.limits), gate.students.names, gate.limits)
        record.model, record.stream = asked["model"], asked.get("stream", False)
        watch = asyncio.create_task(self._watch(asyncio.current_task()))
        try:
            await gate.places.take(record.key or "")
            try:
                async with asyncio.timeout(gate.limits.request_seconds):
                    await self._relay(gate.students.ask(kind, asked))
            except TimeoutError:
                limit = f"{gate.limits.request_seconds:g} seconds"
                raise Refusal(TIMED_OUT, "timeout", f"The answer took more than {limit}") from None
            finally:
                gate.places.give_back(record.key or "")
        finally:
            watch.cancel()

    async def _relay(self, pieces: AsyncGenerator[Answer | bytes]) -> None:
        """Send what comes as it comes."""
        record = self.record
        try:
            async for piece in pieces:
                if isinstance(piece, bytes):
                    await self._send_body(piece, more=True)
                    continue
                if piece.num_prompt_tokens is not None:
                    record.num_prompt_tokens, record.num_response_tokens = piece.num_prompt_tokens, piece.num_response_tokens
                if not piece.streams:
                    record.refused = "by_student" if piece.status >= BAD_REQUEST else None
                    await self._respond(piece.status, piece.content)
                elif self.started:
                    await self._send_body(piece.content, more=True)
                else:
                    await self._start(200, EVENTS, [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")])
                    await self._send_body(piece.content, more=True)
        finally:
            await pieces.aclose()
        if not self.ended:
            await self._send_body(b"", more=False)

    async def _watch(self, asking: asyncio.Task[Any] | None) -> None:
        """Cancel the request when its client leaves: the engine must not work for nobody."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if asking is not None and not self.ended:
            self.is_gone = True
            asking.cancel()

    async def _tell_readiness(self) -> None:
        answering, of = await self.gate.students.num_answering(), len(self.gate.students.names)
        ready = answering == of
        content = json.dumps({"status": "ready" if ready else "not ready", "students": of, "answering": answering})
        await self._respond(200 if ready else UNAVAILABLE, content.encode())

    async def _tell_models(self) -> None:
        card = {"object": "model", "created": self.gate.created, "owned_by": "mixray"}
        cards = {name: {"id": name, **card} for name in self.gate.students.names}
        told: object = {"object": "list", "data": list(cards.values())}
        if self.path != MODELS:
            told = cards.get(self.path.removeprefix(f"{MODELS}/"))
        if told is None:
            raise Refusal(NOT_FOUND, "model_not_found", f"The models are {list(cards)}", "model")
        await self._respond(200, json.dumps(told).encode())

    async def _refuse(self, refusal: Refusal) -> None:
        self.record.refused = refusal.code
        if self.ended:
            return
        if self.started:  # a stream that breaks says so, and is not ended as a whole one is
            await self._send_body(b"data: " + refusal.body() + b"\n\n", more=False)
            return
        await self._respond(refusal.status, refusal.body(), headers=refusal.headers())

    async def _respond(self, status: int, content: bytes, kind: bytes = JSON, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        await self._start(status, kind, [(b"content-length", str(len(content)).encode()), *(headers or [])])
        await self._send_body(b"" if self.scope["method"] == "HEAD" else content, more=False)

    async def _start(self, status: int, kind: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.started, self.record.status = True, status
        self.record.first_byte_seconds = time.perf_counter() - self.record.started
        headers.append((b"content-type", kind))
        if self.gate.tells_ids:
            headers.append((b"x-request-id", self.record.request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_body(self, content: bytes, more: bool) -> None:
        self.record.response_bytes += len(content)
        self.ended = not more
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


def _request_id(headers: dict[bytes, bytes]) -> str:
    """Return the client's id of a request where it is sane, and a new one otherwise."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if SANE_ID.fullmatch(given) else uuid.uuid4().hex
