"""Asking a student without a server: vLLM in a Ray actor, given the same prompts, seeds and sampling as an endpoint would be.

In: questions. Out: one answer per question as it comes. The actor keeps nothing; where it dies, what it had not answered is asked again in
another one.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from mixray import chat, form, recipe
from mixray.engine import CPU_ARGUMENTS, FIXED_ARGUMENTS, BadRequest, EngineSettings, Sampling, Vllm
from mixray.errors import EvaluationError, MixrayError
from mixray.evaluation.client import Answer
from mixray.evaluation.exam import Question
from mixray.models import for_workers
from mixray.ray_data import own_error

MAX_DEATHS = 2
"""Of an actor: a node may go, but an engine that keeps dying is not well."""
# As the endpoint has them (serving/app.py): a batch of another size rounds otherwise.
MAX_SEQUENCES = 64
CPU_SHARE = 0.5
GPU_MEMORY_SHARE = 0.9


class EngineStudent:
    """One model in an engine of its own, which is up from the first question until `close`."""

    def __init__(self, model: str, serve: recipe.Serve, evaluate: recipe.Evaluate, students_at_once: int = 1) -> None:
        """Args are the model's folder or id, the engine's settings, how to ask, and how many engines share the machine's cores."""
        threads = max(1, (os.cpu_count() or 1) // students_at_once)
        self.settings = EngineSettings(for_workers(model), serve.num_gpus, threads, engine_arguments(serve), detokenize=True)
        self.sampling = Sampling(evaluate.temperature, evaluate.top_p, evaluate.max_tokens)
        self._actor: Any = None

    def close(self) -> None:
        """End the engine."""
        import ray

        actor, self._actor = self._actor, None
        if actor is not None:
            ray.kill(actor)

    async def ask_all(self, questions: Iterable[Question]) -> AsyncIterator[Answer]:
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

    def _answers(self, questions: list[Question]) -> Iterator[Answer]:
        import ray

        if self._actor is None:
            resources = {"num_cpus": CPU_SHARE, "num_gpus": self.settings.num_gpus}
            self._actor = ray.remote(**resources)(EngineActor).remote(self.settings, self.sampling)  # type: ignore[call-overload]
        for reference in self._actor.answers.options(num_returns="streaming").remote(questions):
            yield ray.get(reference)


def engine_arguments(serve: recipe.Serve) -> dict[str, Any]:
    """Return vLLM's arguments: those the endpoint would give it."""
    arguments: dict[str, Any] = {"max_num_seqs": MAX_SEQUENCES}
    if serve.num_gpus == 0:
        arguments |= CPU_ARGUMENTS
    else:
        arguments |= {
            "tensor_parallel_size": max(1, int(serve.num_gpus)),
            "gpu_memory_utilization": GPU_MEMORY_SHARE * min(1.0, serve.num_gpus),
        }
    if serve.max_model_len is not None:
        arguments["max_model_len"] = serve.max_model_len
    if serve.kv_cache_bytes is not None:
        arguments["kv_cache_memory_bytes"] = serve.kv_cache_bytes
    return arguments | serve.engine | FIXED_ARGUMENTS


class EngineActor:
    """An engine and its tokenizer; one thread makes and drives it."""

    def __init__(self, settings: EngineSettings, sampling: Sampling) -> None:
        self.engine = Vllm(settings, sampling)
        self.tokenizer = chat.load_tokenizer(settings.model)

    def answers(self, questions: list[Question]) -> Iterator[Answer]:
        """Yield an answer per question as they end."""
        asked: dict[str, tuple[Question, int]] = {}
        began = time.monotonic()
        for number, question in enumerate(questions):
            try:
                prompt = question.prompt_ids or chat.prompt_ids(self.tokenizer, question.messages)
                self.engine.add(str(number), prompt, question.seed, question.max_tokens)
                asked[str(number)] = question, len(prompt)
            except (BadRequest, MixrayError) as error:
                yield Answer(question.name, "", "error", 0, 0.0, str(error))
        while self.engine.has_unfinished():
            for done in self.engine.step():
                question, num_prompt = asked.pop(done.request_id)
                seconds = time.monotonic() - began
                if done.finish_reason not in ("stop", "length"):
                    yield Answer(question.name, "", "error", 0, seconds, f"finish_reason {done.finish_reason!r}")
                    continue
                text = form.with_reasoning(done.text, "", done.finish_reason) if question.prompt_ids is None else done.text
                yield Answer(question.name, text, done.finish_reason, done.num_tokens, seconds, num_prompt_tokens=num_prompt)


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
