"""The actor of a teacher's pool: blocks of requests in, blocks of traces out, every row with a status.

It keeps nothing: a block whose actor is killed is asked again elsewhere, under the same ids and seeds.
"""

from __future__ import annotations

import functools
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pyarrow as pa

from mixray.chat import ask, load_tokenizer, prompt_ids
from mixray.models import resolve
from mixray.recipe import Teacher
from mixray.rows import TRACE
from mixray.teachers.attempts import Attempts
from mixray.teachers.engine import Answer, BadRequest, Engine, Feed


class TeacherActor:
    """Asks one engine; calls may overlap, and should, so that the engine never waits for the end of a block."""

    def __init__(self, teacher: Teacher, engine: type[Engine], attempts: Attempts) -> None:
        note = attempts.begin()
        self.teacher = teacher
        try:
            self.tokenizer = load_tokenizer(resolve(teacher.model))
            self.feed = Feed(functools.partial(engine, teacher), functools.partial(attempts.died, note))
        except Exception as error:
            attempts.died(note, error)
            raise

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the traces that answer a block of REQUEST rows, in its order; their verdicts are still empty."""
        rows = batch.to_pylist()
        prompts = [self.prompt(row["question"]) for row in rows]
        asked = [self.feed.ask(prompt, row["seed"]) for prompt, row in zip(prompts, rows, strict=True)]
        answered = [
            row | outcome(future) | {"num_prompt_tokens": len(prompt)} for row, prompt, future in zip(rows, prompts, asked, strict=True)
        ]
        return pa.Table.from_pylist(answered, schema=TRACE)

    def __del__(self) -> None:
        """Ray Data drops the instance when the pool shrinks or ends."""
        if hasattr(self, "feed"):
            self.feed.close()

    def prompt(self, question: str) -> list[int]:
        """Return the tokens that put a question to this teacher."""
        return prompt_ids(self.tokenizer, ask(question, self.teacher.prompt_template, self.teacher.system_prompt))


def outcome(future: Future[Answer]) -> dict[str, Any]:
    """Wait for a request and return the columns of its trace; whatever happens, there is a row."""
    try:
        answer = future.result()
    except BadRequest as error:
        return _columns(Answer("", "", "error", 0), None, "error", str(error))
    if answer.finish_reason not in ("stop", "length"):
        return _columns(replace(answer, finish_reason="error"), answer.text, "error", f"the engine ended it: {answer.finish_reason}")
    status = "truncated" if answer.finish_reason == "length" else "ok" if answer.text.strip() else "empty"
    return _columns(answer, answer.text, status, None)


def _columns(answer: Answer, response: str | None, status: str, error: str | None) -> dict[str, Any]:
    return {
        "response": response,
        "finish_reason": answer.finish_reason,
        "num_response_tokens": answer.num_tokens,
        "seconds": answer.seconds,
        "status": status,
        "error": error,
    }
