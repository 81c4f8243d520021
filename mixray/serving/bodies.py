"""Reading the body of a request: no larger, no slower and of no other kind than it may be."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from mixray.recipe import Limits
from mixray.serving.refusals import NO_JSON, TOO_LARGE, TOO_SLOW, Refusal

JSON = b"application/json"


class ClientGone(Exception):
    """The client left before it had said all."""


async def read_body(receive: Receive, headers: dict[bytes, bytes], limits: Limits) -> bytes:
    """Return the whole body.

    Raises:
        Refusal: 415 for another kind than JSON or a compressed one, 413 as soon as it is too large, 408 where it comes too slowly.
        ClientGone: it ended in the middle.
    """
    kind = headers.get(b"content-type", JSON).partition(b";")[0].strip().lower()
    if kind != JSON or headers.get(b"content-encoding", b"identity") != b"identity":
        raise Refusal(NO_JSON, "unsupported_media_type", "Send `Content-Type: application/json`, not compressed")
    told = headers.get(b"content-length", b"")
    if told.isdigit() and int(told[:20]) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _read(receive, limits)
    except TimeoutError:
        raise Refusal(TOO_SLOW, "too_slow", f"The body must arrive within {limits.body_seconds:g} seconds") from None


async def _read(receive: Receive, limits: Limits) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body_bytes:
            raise _too_large(limits)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(TOO_LARGE, "too_large", f"A request may have {limits.body_bytes} bytes")
