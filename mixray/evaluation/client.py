"""Asking a student over HTTP: many questions in flight, each tried again while trying again can help.

In: questions, one by one. Out: one answer per question as it comes; a question that cannot be answered is an answer that says why.
Nothing is kept here: what survives a kill is the caller's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from mixray import recipe
from mixray.chat import Messages

# A server that is full, starting or gone for a moment: asking again can help. Anything else is an answer.
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_TRIES = 6
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0
REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Question:
    """One sample to ask for: `name` comes back with the answer."""

    name: tuple[str, str, int]
    messages: Messages
    seed: int


@dataclass(frozen=True)
class Answer:
    """What came back. `finish_reason` is stop, length or error; with error, `error` says why and there is no response."""

    name: tuple[str, str, int]
    response: str
    finish_reason: str
    num_response_tokens: int
    seconds: float
    error: str = ""


class Student:
    """One model behind an OpenAI-compatible endpoint, asked as the recipe's `evaluate` part says; no stop strings are ever sent."""

    def __init__(self, url: str, key: str, model_id: str, evaluate: recipe.Evaluate, concurrency: int) -> None:
        self.url, self.model_id, self.evaluate = f"{url.rstrip('/')}/chat/completions", model_id, evaluate
        self.concurrency = concurrency
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
        self.http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"},
            timeout=evaluate.timeout_seconds,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )

    async def ask_all(self, questions: Iterable[Question]) -> AsyncIterator[Answer]:
        """Yield the answers in the order they come, with at most `concurrency` questions in flight."""
        waiting = iter(questions)
        flying: set[asyncio.Task[Answer]] = set()
        try:
            while True:
                while len(flying) < self.concurrency and (question := next(waiting, None)) is not None:
                    flying.add(asyncio.create_task(self.ask(question)))
                if not flying:
                    return
                done, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in flying:
                task.cancel()
            await self.http.aclose()

    async def ask(self, question: Question) -> Answer:
        """Return the answer to one question, after as many tries as can help."""
        began = time.monotonic()
        reason = ""
        for attempt in range(MAX_TRIES):
            if attempt:
                await asyncio.sleep(_wait_seconds(attempt, question.seed))
            try:
                reply = await self.http.post(self.url, json=self._body(question))
                if reply.status_code == httpx.codes.OK:
                    return _answer(question, reply.json(), time.monotonic() - began)
            except (httpx.TransportError, ValueError, KeyError, IndexError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]  # no connection, or no answer we can read
                continue
            reason = f"HTTP {reply.status_code}: {reply.text}"[:REASON_CHARACTERS]
            if reply.status_code not in PASSING_STATUS:
                break
        return Answer(question.name, "", "error", 0, time.monotonic() - began, reason)

    def _body(self, question: Question) -> dict[str, Any]:
        # Everything that shapes sampling is said, since a model's generation_config would otherwise have its way.
        return {
            "model": self.model_id,
            "messages": question.messages,
            "seed": question.seed,
            "temperature": self.evaluate.temperature,
            "top_p": self.evaluate.top_p,
            "max_tokens": self.evaluate.max_tokens,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        }


def _wait_seconds(attempt: int, seed: int) -> float:
    """Return twice the last wait, spread by chance so that a crowd does not come back as one."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
    return longest * random.Random(seed * MAX_TRIES + attempt).uniform(0.5, 1.0)


def _answer(question: Question, reply: dict[str, Any], seconds: float) -> Answer:
    choice = reply["choices"][0]
    finish_reason = choice["finish_reason"]
    if finish_reason not in ("stop", "length"):
        raise ValueError(f"finish_reason {finish_reason!r}")
    return Answer(
        question.name, choice["message"]["content"] or "", finish_reason, int(reply["usage"]["completion_tokens"]), seconds
    )  # fmt: skip
