"""An OpenAI-compatible endpoint that misbehaves on cue: the first word of a question says how. It stands for faults, never for a model.

    endpoint = MisbehavingEndpoint()
    with serving(endpoint.app()) as url:
        ...RemoteTeacher(endpoint=f"{url}/v1", ...)

Lasting: well, garbage, empty, loop, cut (length), filter, refuse (400), missing (404), overloaded (503), shapeless (a reply that is none),
error-inside (an error sent as a success), slow (`slow_seconds`), think (reasoning apart), uncounted (no usage).
Once for each question and seed, then well: 429 (with `retry_after`), 500-once, torn-once (half a JSON), dropped-once (the connection ends
inside the body).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

FINE = r"it is \boxed{4}"
NUM_PROMPT_TOKENS, NUM_RESPONSE_TOKENS = 11, 7
ENDINGS = {
    "garbage": ("\x00\ufffd]]{{ \\boxed{" * 3, "stop"),
    "empty": (" ", "stop"),
    "loop": (FINE * 60, "length"),
    "cut": ("it is \\box", "length"),
    "filter": ("it", "content_filter"),
}
STATUSES = {"refuse": (400, "refused on cue"), "missing": (404, "no such model"), "overloaded": (503, "full")}


@dataclass
class MisbehavingEndpoint:
    """What was asked, by whom and how often, and the settings of the misbehaviour; may be changed while it serves."""

    key: str | None = None
    """Any other key gets 401, with the sent key in its message; None takes all."""
    retry_after: str = "0"
    slow_seconds: float = 1.0
    work_seconds: float = 0.0
    """What every answer takes."""
    hold_until: int = 0
    """No answer is given before so many questions were in flight at once, or half a minute has passed."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    asked_at: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """How often each question was asked, over all its seeds and tries."""
    in_flight: int = 0
    most_in_flight: int = 0
    _tries: Counter[tuple[str, int]] = field(default_factory=Counter)

    def app(self) -> FastAPI:
        """Return the application to serve."""
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            body = await request.json()
            self._note(request.headers.get("authorization"), body)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                last = time.monotonic() + 30
                while self.most_in_flight < self.hold_until and time.monotonic() < last:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(self.work_seconds)
                return await self._answer(request, body)
            finally:
                self.in_flight -= 1

        return app

    def _note(self, key: str | None, body: dict[str, Any]) -> None:
        self.asked_at.append(time.monotonic())
        self.bodies.append(body)
        self.keys.add(key)
        self.counts[body["messages"][-1]["content"]] += 1

    async def _answer(self, request: Request, body: dict[str, Any]) -> Response:
        key = request.headers.get("authorization")
        if self.key is not None and key != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": f"Incorrect API key provided: {key}"}}, 401)
        question = body["messages"][-1]["content"]
        word = question.split()[0]
        self._tries[question, body.get("seed", 0)] += 1
        if self._tries[question, body.get("seed", 0)] == 1 and (trouble := self._once(word)):
            return trouble
        slow_until = time.monotonic() + (self.slow_seconds if word == "slow" else 0)
        while time.monotonic() < slow_until and not await request.is_disconnected():
            await asyncio.sleep(0.05)
        return self._lasting(word)

    def _once(self, word: str) -> Response | None:
        whole = reply(FINE, "stop").body
        match word:
            case "429":
                return PlainTextResponse("slow down", 429, {"Retry-After": self.retry_after})
            case "500-once":
                return PlainTextResponse("oops", 500)
            case "torn-once":
                return Response(bytes(whole)[:-20], media_type="application/json")
            case "dropped-once":
                return StreamingResponse(_half(bytes(whole)), headers={"Content-Length": str(len(whole))}, media_type="application/json")
        return None

    def _lasting(self, word: str) -> Response:
        if word in STATUSES:
            status, message = STATUSES[word]
            return PlainTextResponse(message, status)
        match word:
            case "shapeless":
                return JSONResponse({"id": "nothing"})
            case "error-inside":
                return JSONResponse({"error": {"code": 502, "message": "upstream is gone"}})
            case "think":
                return reply(FINE, "stop", reasoning_content="two and two")
            case "uncounted":
                return reply(FINE, "stop", usage=None)
        return reply(*ENDINGS.get(word, (FINE, "stop")))


async def _half(whole: bytes) -> AsyncIterator[bytes]:
    """Send the first half; the server then sees that the rest is missing, and ends the connection."""
    yield whole[: len(whole) // 2]


USAGE = {"prompt_tokens": NUM_PROMPT_TOKENS, "completion_tokens": NUM_RESPONSE_TOKENS}


def reply(text: str | None, finish_reason: str, usage: dict[str, int] | None = USAGE, **message: Any) -> Response:
    """Return a chat completion; `message` adds fields to the message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": finish_reason}
    content = {"object": "chat.completion", "choices": [choice]} | ({} if usage is None else {"usage": usage})
    return Response(json.dumps(content), media_type="application/json")
