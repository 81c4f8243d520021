"""A teacher behind an OpenAI-compatible endpoint: many questions in flight on one thread, each reply kept as it comes.

In: messages and a seed each. Out: futures of answers. What survives a kill: the replies in the cache, where the recipe wants one.

The key is read on the driver and travels to the actor among its arguments. It does not go through Ray's `runtime_env`: the agent of
every node writes that to its log.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

import httpx

from mixray.chat import Messages
from mixray.completions import Client, KeyRefused, Refused, completions_url
from mixray.errors import TeacherError
from mixray.form import with_reasoning
from mixray.recipe import RemoteTeacher
from mixray.reply import Reply, read_reply
from mixray.rows import digest
from mixray.teachers.replies import Replies
from mixray.teachers.source import BadRequest, TeacherAnswer

_NOT_SAMPLING = ("model", "messages", "stream", "n")  # one question, one answer, in one piece


@dataclass(frozen=True, repr=False)
class Key:
    """A key and the environment variable it came from; shows the variable, never the key."""

    variable: str | None
    value: str | None

    def __repr__(self) -> str:
        return f"Key(from {self.variable})"


def read_key(teacher: RemoteTeacher) -> Key:
    """Return the key to send to a teacher, from this process's environment; call it on the driver, before anything starts.

    Raises:
        TeacherError: the variable is unset or holds what no header can; or the endpoint's URL or the sampling settings cannot be sent.
    """
    _refuse_unsendable(teacher)
    variable = teacher.key_env
    if variable is None:
        return Key(None, None)
    value = os.environ.get(variable, "").strip()  # files that keys are read from end in a newline
    if not value:
        raise TeacherError(
            f"The environment variable {variable} is not set",
            rule=f"it holds the key to {_host(teacher)}",
            do=f"set {variable} and run again",
        )
    if not all("!" <= letter <= "~" for letter in value):
        raise TeacherError(
            f"The environment variable {variable} does not hold a key",
            rule="keys are printable ASCII without spaces",
            do=f"set {variable} and run again",
        )
    return Key(variable, value)


def _refuse_unsendable(teacher: RemoteTeacher) -> None:
    try:
        httpx.URL(teacher.endpoint)
    except httpx.InvalidURL as error:
        raise TeacherError("An endpoint's URL cannot be read", rule=str(error), do="check `endpoint` in the recipe") from None
    wrong = [name for name in _NOT_SAMPLING if name in teacher.sampling]
    if wrong:
        raise TeacherError(
            "A teacher's sampling holds what is no sampling parameter", seen=wrong, do="remove it; `num_samples` asks several times"
        )
    try:
        json.dumps(teacher.sampling, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise TeacherError("A teacher's sampling cannot be sent", seen=teacher.sampling, rule=str(error)) from None


class EndpointSource:
    """Asks one endpoint, with at most `concurrency` questions in flight; a key that is refused ends every question."""

    opens_thinking = False  # answers are given their opening tag here

    def __init__(self, teacher: RemoteTeacher, key: Key, replies: Replies | None) -> None:
        """Start the thread that asks; without `replies` nothing is kept."""
        self.teacher, self.replies, self._key = teacher, replies, key
        self.url = completions_url(teacher.endpoint)
        self.name = f"openai-compatible {_host(teacher)}"
        self.template = digest([teacher.model, teacher.system_prompt, teacher.prompt_template], 8)
        self._lock, self._closed, self._key_trouble = threading.Lock(), False, ""
        self._asked: set[Future[TeacherAnswer]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True, name="mixray-endpoint")
        self._thread.start()
        started.result()

    def ask(self, messages: Messages, seed: int) -> Future[TeacherAnswer]:
        """Queue a question; the future ends in an answer, in BadRequest, in TeacherError where the key is refused, or by `close`."""
        future: Future[TeacherAnswer] = Future()
        future.set_running_or_notify_cancel()  # from here on only this source ends it
        with self._lock:
            if not self._closed:
                self._asked.add(future)
                self._loop.call_soon_threadsafe(self._begin, messages, seed, future, time.monotonic())
                return future
        future.set_exception(CancelledError("the source is closed"))
        return future

    def close(self) -> None:
        """Give up what is still asked, and end the thread and its connections; futures that had no answer end in CancelledError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        for future in tuple(self._asked):
            self._asked.discard(future)
            future.set_exception(CancelledError("the source was closed"))

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._live(started))
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)  # told to whoever waits for the start

    async def _live(self, started: Future[None]) -> None:
        teacher = self.teacher
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        self._places = asyncio.Semaphore(teacher.concurrency)
        self._client = Client(teacher.endpoint, self._key.value, teacher.timeout_seconds, teacher.max_tries, teacher.concurrency)
        started.set_result(None)
        try:
            await self._closing.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            await self._client.close()

    def _begin(self, messages: Messages, seed: int, future: Future[TeacherAnswer], asked_at: float) -> None:
        task = self._loop.create_task(self._end(messages, seed, future, asked_at))
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)

    async def _end(self, messages: Messages, seed: int, future: Future[TeacherAnswer], asked_at: float) -> None:
        try:
            answer = await self._answer(messages, seed, asked_at)
        except Exception as error:  # raised again where the answer is waited for
            self._asked.discard(future)
            future.set_exception(error)
        else:
            self._asked.discard(future)
            future.set_result(answer)

    async def _answer(self, messages: Messages, seed: int, asked_at: float) -> TeacherAnswer:
        body = request_body(self.teacher, messages, seed)
        name = self.replies.name(self.url, body, seed) if self.replies else ""
        if self.replies and (kept := await asyncio.to_thread(self.replies.get, name)):
            return answer(kept[0], self.teacher.think_tags, kept[1])
        async with self._places:
            reply = await self._reply(body, seed)
        seconds = time.monotonic() - asked_at
        if self.replies:
            await asyncio.to_thread(self.replies.put, name, reply, seconds)
        return answer(reply, self.teacher.think_tags, seconds)

    async def _reply(self, body: dict[str, Any], seed: int) -> Reply:
        """Ask the endpoint, unless it has refused the key: that holds for every question to come."""
        if not self._key_trouble:
            try:
                return await self._client.ask(body, seed, read_reply)
            except KeyRefused as error:
                self._key_trouble = str(error)
            except Refused as error:
                raise BadRequest(str(error)) from None
        raise _key_error(self.teacher, self._key_trouble)


def request_body(teacher: RemoteTeacher, messages: Messages, seed: int) -> dict[str, Any]:
    """Return what is posted: what the recipe states and no more, since some endpoints refuse fields they do not know.

    `sampling` goes over the rest; what is null there is not sent, and `max_completion_tokens` stands in for `max_tokens`. No stop strings.
    """
    body: dict[str, Any] = {
        "model": teacher.model,
        "messages": messages,
        "seed": seed,
        "temperature": teacher.temperature,
        "top_p": teacher.top_p,
        "max_tokens": teacher.max_tokens,
    } | teacher.sampling
    if body.get("max_completion_tokens") is not None and "max_tokens" not in teacher.sampling:
        del body["max_tokens"]
    return {name: value for name, value in body.items() if value is not None}


def answer(reply: Reply, think_tags: tuple[str, str], seconds: float) -> TeacherAnswer:
    """Return a reply as the model would have written it (`form.with_reasoning`). An endpoint that does not count tokens counts 0."""
    text = with_reasoning(reply.text, reply.reasoning, reply.finish_reason, think_tags)
    return TeacherAnswer(text, reply.finish_reason, reply.num_prompt_tokens or 0, reply.num_response_tokens or 0, seconds)


def _key_error(teacher: RemoteTeacher, seen: str) -> TeacherError:
    variable = teacher.key_env
    return TeacherError(
        "An endpoint refuses the key" if variable else "An endpoint wants a key",
        seen=f"{_host(teacher)}: {seen}",
        rule=f"the key in {variable} opens it" if variable else "`key_env` in the recipe names the environment variable that holds it",
        do=f"set {variable or 'it'} to a valid key, then run again: finished blocks are kept",
    )


def _host(teacher: RemoteTeacher) -> str:
    """Return the endpoint's host alone: its URL may hold a name and a password."""
    return httpx.URL(teacher.endpoint).host
