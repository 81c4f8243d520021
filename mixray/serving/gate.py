"""The gate before the students: a key, an allow-list of routes and a limit on request bodies.

In: any ASGI application. Out: the same application, answering 401 without the key, 404 off the list and 413 for bodies that are too
large; `/health` alone is open. Only the key's sha256 is kept here, so neither Serve's state nor a log can give the key away.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEALTH = "/health"
ROUTES = frozenset({HEALTH, "/v1/models", "/v1/chat/completions", "/v1/completions"})
MAX_BODY_BYTES = 4 * 2**20


def key_digest(key: str) -> bytes:
    """Return what the gate keeps of a key."""
    return hashlib.sha256(key.encode()).digest()


class Gate:
    """ASGI middleware that lets through requests which carry the key, ask for a known route and are small enough."""

    def __init__(self, app: ASGIApp, digest: bytes, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.app, self.digest, self.max_body_bytes = app, digest, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket has no route here; not answering it closes it
            return
        path = scope["path"]
        if path == HEALTH and scope["method"] in ("GET", "HEAD"):
            await _answer(send, 200, {"status": "ok"})
        elif not self._knows(scope):
            await _refuse(send, 401, "invalid_api_key", "Send the key as `Authorization: Bearer KEY`")
        elif path not in ROUTES:
            await _refuse(send, 404, "not_found", f"The routes are {sorted(ROUTES)}")
        else:
            body = await _read(receive, self.max_body_bytes)
            if body is None:
                await _refuse(send, 413, "too_large", f"A request may have {self.max_body_bytes} bytes")
            else:
                await self.app(scope, _replay(body, receive), send)

    def _knows(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        matches = hmac.compare_digest(hashlib.sha256(key.strip()).digest(), self.digest)
        return matches and scheme.lower() == b"bearer"


async def answer_malformed(request: Request, error: Exception) -> JSONResponse:
    """Answer 400 to a body that is no request, in the words of OpenAI's API (Ray's own handler fails on bodies that are no JSON)."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) and error.errors() else {}
    place = ".".join(str(part) for part in first.get("loc", ()))
    return JSONResponse(_error("invalid_request", f"{first.get('msg', 'not a request')} at {place}"), 400)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Return the whole body, or None as soon as it is over `limit`."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _refuse(send: Send, status: int, code: str, message: str) -> None:
    await _answer(send, status, _error(code, message))


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


async def _answer(send: Send, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
