"""Asking a student over HTTP: many questions in flight, each tried again while trying again can help.

In: questions, one by one. Out: one answer per question as it comes; a question that cannot be answered is an answer that says why.
Nothing is kept here: what survives a kill is the caller's business.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mixray import form, recipe
from mixray.completions import COMPLETIONS, Client, KeyRefused, Refused
from mixray.errors import EvaluationError
from mixray.evaluation.exam import Name, Question
from mixray.reply import Reply, read_completion, read_reply

MAX_TRIES = 6
# vLLM's own sampling parameters. A model's generation_config would have its way with those that are not said; other servers know none of
# them, and some refuse what they do not know.
VLLM_SAMPLING: Mapping[str, Any] = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass(frozen=True)
class StudentAnswer:
    """What came back. `finish_reason` is stop, length or error; with error, `error` says why and there is no response."""

    name: Name
    response: str
    finish_reason: str
    num_response_tokens: int
    seconds: float
    error: str = ""
    num_prompt_tokens: int | None = None


class Asker(Protocol):
    """Whoever puts questions to one student."""

    def ask_all(self, questions: Iterable[Question]) -> AsyncIterator[StudentAnswer]:
        """Yield one answer per question, in the order they come."""

    def close(self) -> None:
        """Leave no process behind; asking again starts what is needed."""


class Student:
    """One model behind an OpenAI-compatible endpoint, asked as the recipe's `evaluate` part says; no stop strings are ever sent."""

    def __init__(
        self,
        url: str,
        key: str | None,
        model_id: str,
        evaluate: recipe.Evaluate,
        concurrency: int,
        further: Mapping[str, Any] = VLLM_SAMPLING,
        tls_cert: str | None = None,
    ) -> None:
        """Hold one model.

        Args:
            url: of its endpoint, up to /v1.
            key: to send, if any.
            model_id: whom to ask there.
            evaluate: how.
            concurrency: questions in flight at once.
            further: keys of each request; None drops one.
            tls_cert: PEM file of the one certificate to trust; what the machine trusts where None.
        """
        self.model_id, self.evaluate, self.concurrency, self.further = model_id, evaluate, concurrency, further
        self.url, self._key, self._tls_cert = url, key, tls_cert

    def close(self) -> None:
        """Nothing is up between two askings."""

    async def ask_all(self, questions: Iterable[Question]) -> AsyncIterator[StudentAnswer]:
        """Yield the answers in the order they come, with at most `concurrency` questions in flight."""
        waiting = iter(questions)
        flying: set[asyncio.Task[StudentAnswer]] = set()
        done: set[asyncio.Task[StudentAnswer]] = set()
        client = Client(self.url, self._key, self.evaluate.timeout_seconds, MAX_TRIES, self.concurrency, self._tls_cert)
        try:
            while True:
                while len(flying) < self.concurrency and (question := next(waiting, None)) is not None:
                    flying.add(asyncio.create_task(self.ask(client, question)))
                if not flying:
                    return
                done, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: task.exception() is not None):  # what was answered is kept before anything raises
                    yield task.result()
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, *done, return_exceptions=True)  # what several raised at once is told once
            await client.close()

    async def ask(self, client: Client, question: Question) -> StudentAnswer:
        """Return the answer to one question, after as many tries as can help.

        Raises:
            EvaluationError: the endpoint refuses the key; no other question would fare better.
        """
        began = time.monotonic()
        try:
            if question.prompt_ids is None:
                reply = await client.ask(self._body(question), question.seed, _read)
            else:
                reply = await client.ask(self._body(question), question.seed, _read_end, COMPLETIONS)
        except KeyRefused as error:
            raise EvaluationError(
                "An endpoint refuses the key", seen=str(error), do="set a valid key and run again; the answers received are kept"
            ) from None
        except Refused as error:
            return StudentAnswer(question.name, "", "error", 0, time.monotonic() - began, str(error))
        seconds = time.monotonic() - began
        told = form.with_reasoning(reply.text, reply.reasoning, reply.finish_reason)
        return StudentAnswer(
            question.name,
            told if question.prompt_ids is None else reply.text,
            reply.finish_reason,
            reply.num_response_tokens or 0,
            seconds,
            num_prompt_tokens=reply.num_prompt_tokens,
        )

    def _body(self, question: Question) -> dict[str, Any]:
        asked = {"messages": question.messages} if question.prompt_ids is None else {"prompt": question.prompt_ids}
        body = {
            "model": self.model_id,
            **asked,
            "seed": question.seed,
            "temperature": self.evaluate.temperature,
            "top_p": self.evaluate.top_p,
            "max_tokens": question.max_tokens or self.evaluate.max_tokens,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            **self.further,
        }
        return {key: value for key, value in body.items() if value is not None}


def _read(reply: Any) -> Reply:
    """Return a student's reply; one that did not end by itself or at the limit, or does not say its tokens, is asked for again."""
    return _checked(read_reply(reply))


def _read_end(reply: Any) -> Reply:
    return _checked(read_completion(reply))


def _checked(reply: Reply) -> Reply:
    if reply.finish_reason not in ("stop", "length"):
        raise ValueError(f"finish_reason {reply.finish_reason!r}")
    if reply.num_response_tokens is None:
        raise ValueError("no usage.completion_tokens")
    return reply


def behind_endpoint(student: recipe.Student, evaluate: recipe.Evaluate) -> Student:
    """Return what asks a model behind an endpoint of its own.

    Raises:
        EvaluationError: its key is not in the environment.
    """
    key = os.environ.get(student.key_env, "").strip() if student.key_env else None
    if student.key_env and not key:
        raise EvaluationError("An endpoint's key is missing", seen=student.key_env, rule="`key_env` names a set variable", do="set it")
    return Student(student.endpoint or "", key, student.model, evaluate, evaluate.concurrency, student.request)
