"""Asking a student over HTTP: many questions in flight, each tried again while trying again can help.

In: questions, one by one. Out: one answer per question as it comes; a question that cannot be answered is an answer that says why.
Nothing is kept here: what survives a kill is the caller's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from mixray import recipe
from mixray.chat import Messages
from mixray.completions import Client, Refused, Reply, read_reply

MAX_TRIES = 6


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
    num_prompt_tokens: int | None = None


class Student:
    """One model behind an OpenAI-compatible endpoint, asked as the recipe's `evaluate` part says; no stop strings are ever sent."""

    def __init__(self, url: str, key: str, model_id: str, evaluate: recipe.Evaluate, concurrency: int) -> None:
        self.model_id, self.evaluate, self.concurrency = model_id, evaluate, concurrency
        self.client = Client(url, key, evaluate.timeout_seconds, MAX_TRIES, concurrency)

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
            await self.client.close()

    async def ask(self, question: Question) -> Answer:
        """Return the answer to one question, after as many tries as can help."""
        began = time.monotonic()
        try:
            reply = await self.client.ask(self._body(question), question.seed, _read)
        except Refused as error:
            return Answer(question.name, "", "error", 0, time.monotonic() - began, str(error))
        seconds = time.monotonic() - began
        return Answer(
            question.name,
            reply.text,
            reply.finish_reason,
            reply.num_response_tokens or 0,
            seconds,
            num_prompt_tokens=reply.num_prompt_tokens,
        )

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


def _read(reply: Any) -> Reply:
    """Return a student's reply; one that did not end by itself or at the limit, or does not say its tokens, is asked for again."""
    read = read_reply(reply)
    if read.finish_reason not in ("stop", "length"):
        raise ValueError(f"finish_reason {read.finish_reason!r}")
    if read.num_response_tokens is None:
        raise ValueError("no usage.completion_tokens")
    return read
