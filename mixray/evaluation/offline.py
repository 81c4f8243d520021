"""Asking a student without a server: vLLM in a Ray actor, given the same prompts, seeds and sampling as an endpoint would be.

In: questions. Out: one answer per question as it comes. The actor keeps nothing; where it dies, what it had not answered is asked again in
another one.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

from mixray import chat, form, recipe
from mixray.engine import STUDENT_CPU_SHARE, BadRequest, Completion, EngineSettings, Sampling, Vllm, student_arguments
from mixray.errors import EvaluationError, MixrayError
from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Question
from mixray.models import for_workers
from mixray.placement import remote_options
from mixray.ray_data import own_error

MAX_DEATHS = 2
"""Of an actor: a node may go, but an engine that keeps dying is not well."""


class EngineStudent:
    """One model in an engine of its own, which is up from the first question until `close`."""

    def __init__(self, model: str, serve: recipe.Serve, evaluate: recipe.Evaluate, students_at_once: int = 1) -> None:
        """Args: the model, the engine's settings, how to ask, and how many engines share the cores where `serve.threads` is unset."""
        threads = serve.threads or max(1, (os.cpu_count() or 1) // students_at_once)
        self.settings = EngineSettings(for_workers(model), serve.num_gpus, threads, student_arguments(serve), detokenize=True)
        self.sampling = Sampling(evaluate.temperature, evaluate.top_p, evaluate.max_tokens)
        self.placement = remote_options(serve)
        self._actor: Any = None

    def close(self) -> None:
        """End the engine."""
        import ray

        actor, self._actor = self._actor, None
        if actor is not None:
            ray.kill(actor)

    async def ask_all(self, questions: Iterable[Question]) -> AsyncIterator[StudentAnswer]:
        """Yield the answers as they come.

        Raises:
            EvaluationError: the engine does not start, or does not keep running.
        """
        from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

        waiting = {question.name: question for question in questions}
        for deaths in range(MAX_DEATHS + 1):
            try:
                for answer in self._answers(list(waiting.values())):
                    del waiting[answer.name]
                    yield answer
                return
            except (ActorDiedError, ActorUnavailableError) as error:
                self.close()
                if deaths == MAX_DEATHS or _raised_at_start(error):
                    raise _failed(self.settings.model, error) from error
            except RayError as error:
                raise _failed(self.settings.model, error) from error

    def _answers(self, questions: list[Question]) -> Iterator[StudentAnswer]:
        import ray

        if self._actor is None:
            resources = {"num_cpus": STUDENT_CPU_SHARE, "num_gpus": self.settings.num_gpus, **self.placement}
            self._actor = ray.remote(**resources)(EngineActor).remote(self.settings, self.sampling)  # type: ignore[call-overload]
        for reference in self._actor.answers.options(num_returns="streaming").remote(questions):
            yield ray.get(reference)


class EngineActor:
    """An engine and its tokenizer; one thread makes and drives it."""

    def __init__(self, settings: EngineSettings, sampling: Sampling) -> None:
        self.engine = Vllm(settings, sampling)
        self.tokenizer = chat.load_tokenizer(settings.model)
        self.at_once = int(settings.arguments["max_num_seqs"])

    def answers(self, questions: list[Question]) -> Iterator[StudentAnswer]:
        """Yield an answer per question as they end; the engine is given a question when it has room, and its seconds count from there."""
        waiting = iter(enumerate(questions))
        asked: dict[str, _Asked] = {}
        while True:
            while len(asked) < self.at_once and (numbered := next(waiting, None)) is not None:
                number, question = numbered
                try:
                    asked[str(number)] = self._add(str(number), question)
                except (BadRequest, MixrayError) as error:
                    yield StudentAnswer(question.name, "", "error", 0, 0.0, str(error))
            if not self.engine.has_unfinished():
                return
            for done in self.engine.step():
                yield _answer(done, asked.pop(done.request_id))

    def _add(self, request_id: str, question: Question) -> _Asked:
        prompt = question.prompt_ids or chat.prompt_ids(self.tokenizer, question.messages)
        self.engine.add(request_id, prompt, question.seed, question.max_tokens)
        return _Asked(question, len(prompt), time.monotonic())


class _Asked(NamedTuple):
    """A question the engine is at, and since when."""

    question: Question
    num_prompt_tokens: int
    began: float


def _answer(done: Completion, asked: _Asked) -> StudentAnswer:
    question, seconds = asked.question, time.monotonic() - asked.began
    if done.finish_reason not in ("stop", "length"):
        return StudentAnswer(question.name, "", "error", 0, seconds, f"finish_reason {done.finish_reason!r}")
    text = form.with_reasoning(done.text, "", done.finish_reason) if question.prompt_ids is None else done.text
    return StudentAnswer(question.name, text, done.finish_reason, done.num_tokens, seconds, num_prompt_tokens=asked.num_prompt_tokens)


def _raised_at_start(error: Exception) -> bool:
    """Whether the actor's constructor raised: another start would find the same."""
    return "creation task" in str(error) or own_error(error) is not None


def _failed(model: str, error: Exception) -> MixrayError:
    own = own_error(error)
    if own is not None:
        return own
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return EvaluationError(
        "A student's engine failed", seen=f"{model}: {lines[-1][:300] if lines else type(error).__name__}",
        do="check the model folder, memory, GPUs and serve.engine; the answers received are kept",
    )  # fmt: skip
