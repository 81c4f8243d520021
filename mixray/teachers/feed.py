"""An engine fed one request at a time: each gets its place in the running batch as soon as there is one.

In: prompts as token ids, a seed each, from any thread. Out: futures of answers. An engine that fails takes its process with it, because a
retry on a dead engine would fail for ever, while Ray replaces a dead actor and repeats what it had not finished.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from mixray.teachers.engine import Engine
from mixray.teachers.source import BadRequest, TeacherAnswer

WATCH_SECONDS = 1.0
CLOSE_SECONDS = 60.0


class EngineDied(Exception):
    """A process the engine leans on is gone."""


@dataclass
class _Request:
    prompt: list[int]
    seed: int
    future: Future[TeacherAnswer] = field(default_factory=Future)
    asked_at: float = field(default_factory=time.monotonic)


class Feed:
    """An engine and the one thread that makes it and drives it; `ask` may be called from any thread.

    One thread for both, because OpenMP keeps its number of threads for each thread that calls it, and vLLM checks that they agree.
    """

    def __init__(self, make: Callable[[], Engine], on_death: Callable[[BaseException], None]) -> None:
        """Start the engine that `make` returns, and wait for it; `on_death` hears of its end before this process goes with it."""
        self._make, self._on_death = make, on_death
        self._asked: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._running: dict[str, _Request] = {}
        self._count = 0
        self._closing, self._closed = False, threading.Event()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True, name="mixray-engine")
        self._thread.start()
        self._started.result()
        threading.Thread(target=self._watch, daemon=True, name="mixray-engine-watch").start()

    def ask(self, prompt: list[int], seed: int) -> Future[TeacherAnswer]:
        """Queue a request; the future ends in its answer, or in BadRequest."""
        request = _Request(prompt, seed)
        self._asked.put(request)
        return request.future

    def close(self) -> None:
        """End the thread and the engine; requests still running are given up, and so is an engine that does not end."""
        self._closing = True
        self._closed.set()
        self._asked.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            engine = self._make()
        except Exception as error:  # told to whoever waits for the start
            self._started.set_exception(error)
            return
        self._engine = engine
        self._started.set_result(None)
        try:
            self._drive(engine)
        except BaseException as error:
            self._end(error)

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_SECONDS):
            death = self._engine.death()
            if death:
                self._end(EngineDied(death))

    def _end(self, error: BaseException) -> None:
        if self._closing:
            return  # what dies now was told to
        traceback.print_exception(error)
        sys.stderr.flush()
        try:
            self._on_death(error)
        finally:
            os._exit(1)

    def _drive(self, engine: Engine) -> None:
        while not self._closing:
            self._take_in(engine)
            if engine.has_unfinished():
                for done in engine.step():
                    request = self._running.pop(done.request_id)
                    seconds = time.monotonic() - request.asked_at
                    request.future.set_result(TeacherAnswer(done.text, done.finish_reason, len(request.prompt), done.num_tokens, seconds))
        engine.close()

    def _take_in(self, engine: Engine) -> None:
        """Hand over what has been asked; with nothing to step, wait for it."""
        while not self._closing:
            try:
                request = self._asked.get(block=not engine.has_unfinished())
            except queue.Empty:
                return
            if request is None:
                self._closing = True
                return
            self._count += 1
            try:
                engine.add(str(self._count), request.prompt, request.seed)
                self._running[str(self._count)] = request
            except BadRequest as error:
                request.future.set_exception(error)
