"""The gate before students that answer on cue, on a real HTTP server or without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx

from mixray.recipe import Serve
from mixray.serving.answers import Answer
from mixray.serving.gate import Gate
from mixray.serving.keys import Keys
from mixray.serving.records import AccessLog
from mixray.serving.refusals import UNAVAILABLE, Refusal

KEY = "s3cret-Schlüssel"
GOOD = {"authorization": f"Bearer {KEY}".encode(), "content-type": "application/json"}
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


class Cued:
    """Students who say what they were asked; `model` tells how."""

    names = ("echo", "slow", "gone", "breaks", "fails", "dies", "endless")

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.ended: list[str] = []
        self.go_on = asyncio.Event()
        self.answering = len(self.names)

    async def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        self.asked.append(body)
        model = body["model"]
        try:
            if model == "slow":
                await self.go_on.wait()
            if model == "gone":
                raise Refusal(UNAVAILABLE, "student_unavailable", "gone", "model", 1)
            if model == "fails":
                raise ZeroDivisionError("with a secret inside")
            if not body.get("stream"):
                yield Answer(200, json.dumps({"heard": body}).encode(), False, 7, 3)
                if model == "dies":
                    raise Refusal(UNAVAILABLE, "student_unavailable", "gone", "model", 1)
                return
            yield Answer(200, b"data: 1\n\n", streams=True)
            if model == "breaks":
                raise Refusal(UNAVAILABLE, "student_unavailable", "gone", "model", 1)
            while model == "endless":
                yield b"data: " + b"x" * 2**16 + b"\n\n"
            yield b"data: 2\n\n"
            yield Answer(200, b"data: [DONE]\n\n", True, 7, 3)
        finally:
            self.ended.append(model)

    async def num_answering(self) -> int:
        return self.answering


def gate(students: Cued | None = None, log: Path | None = None, keys: Keys | None = None, **settings: Any) -> Gate:
    """Return a gate with one key, unless others are given."""
    serve = Serve.model_validate(settings)
    return Gate(students or Cued(), keys or Keys.of([("me", KEY)]), serve, AccessLog(log) if log else None)


def client(app: Gate) -> httpx.AsyncClient:
    """Return a client of the gate that needs no network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://gate")


def question(model: str = "echo", **more: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "How much?"}], **more}


def run(coroutine: Any) -> Any:
    """Run what a test wants done."""
    return asyncio.run(coroutine)
