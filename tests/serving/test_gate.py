"""The gate before a real ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError

from mixray.serving.gate import ROUTES, Gate, answer_malformed, key_digest

KEY = "s3cret-Schlüssel"
GOOD = {"authorization": f"Bearer {KEY}".encode(), "content-type": "application/json"}


def gated(max_body_bytes: int = 1000) -> httpx.AsyncClient:
    app = FastAPI(openapi_url=None)
    app.add_exception_handler(RequestValidationError, answer_malformed)

    @app.post("/v1/chat/completions")
    async def chat(body: dict[str, Any]) -> dict[str, Any]:
        return {"heard": body}

    @app.get("/v1/models")
    async def models(request: Request) -> list[str]:
        return ["a"]

    @app.post("/tokenize")
    async def tokenize() -> str:
        return "open to anybody who gets here"

    app.add_middleware(Gate, digest=key_digest(KEY), max_body_bytes=max_body_bytes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gate")


async def statuses(headers: dict[str, Any], paths: list[str]) -> list[int]:
    async with gated() as client:
        return [(await client.get(path, headers=headers)).status_code for path in paths]


def run(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def test_only_health_is_open() -> None:
    paths = ["/health", "/v1/models", "/tokenize", "/docs", "/metrics", "/v1/../tokenize", "/"]
    assert run(statuses({}, paths)) == [200, 401, 401, 401, 401, 401, 401]


@pytest.mark.parametrize(
    "header", [KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer ", "Bearer", f"Basic {KEY}", f"Bearer {KEY} {KEY}", "bearer"]
)
def test_a_wrong_key_is_refused(header: str) -> None:
    assert run(statuses({"authorization": header.encode()}, ["/v1/models"])) == [401]


def test_the_key_opens_the_listed_routes_and_no_others() -> None:
    assert run(statuses(GOOD, ["/v1/models", "/health", "/tokenize", "/openapi.json", "/v1/models/a"])) == [200, 200, 404, 404, 404]
    assert "/tokenize" not in ROUTES


def test_a_body_passes_whole_and_one_too_large_does_not() -> None:
    async def ask() -> list[httpx.Response]:
        async def pieces(count: int) -> AsyncIterator[bytes]:
            yield b'{"text": "'
            for _ in range(count):
                yield b"x" * 100
            yield b'"}'

        async with gated() as client:
            return [await client.post("/v1/chat/completions", headers=GOOD, content=pieces(count)) for count in (5, 50)]

    small, large = run(ask())
    assert small.json() == {"heard": {"text": "x" * 500}}
    assert large.status_code == 413


def test_a_malformed_body_is_the_senders_fault_and_says_so() -> None:
    async def ask() -> httpx.Response:
        async with gated() as client:
            return await client.post("/v1/chat/completions", headers=GOOD, content=b"{")

    answer = run(ask())
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


def test_the_key_is_nowhere_in_the_gate_nor_in_its_answers() -> None:
    async def ask() -> str:
        async with gated() as client:
            return (await client.get("/v1/models", headers={"authorization": f"Basic {KEY}".encode()})).text

    assert KEY not in run(ask())
    assert KEY not in repr(vars(Gate(FastAPI(), key_digest(KEY))))
