"""vLLM, one step at a time: the same engine for teachers and for students who are asked without a server.

In: prompts as token ids, a seed each. Out: completions with their finish reason, as they end. Keeps nothing. What a student's engine is
told stands here too, since one that is served and one that is asked without a server must round alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mixray.models import resolve
from mixray.recipe import Serve

# One value for CPU and GPU: on two CPU cores it was 0.96 to 1.42 times as fast as 64 with the tiny teachers (teachers/README.md).
DEFAULT_ARGUMENTS: dict[str, Any] = {"max_num_seqs": 256}
# Fastest of what was tried on CPU: bfloat16 is emulated there, and compiling costs more than a small model ever gains. Prompts are not
# taken in by parts, because vLLM then rewinds a request's random generator, which a CPU generator cannot.
CPU_ARGUMENTS: dict[str, Any] = {"dtype": "float32", "enforce_eager": True, "enable_chunked_prefill": False}
# Of a student. A batch of another size rounds otherwise.
STUDENT_SEQUENCES = 64
# A reservation, not a limit: four students and the rest of a run must fit a machine of two cores declared as four.
STUDENT_CPU_SHARE = 0.5
STUDENT_GPU_MEMORY_SHARE = 0.9
# Not the recipe's to change.
FIXED_ARGUMENTS: dict[str, Any] = {"trust_remote_code": False, "disable_log_stats": True}


def student_arguments(serve: Serve, further: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return vLLM's arguments for a student, behind an endpoint or without one.

    Args:
        serve: the recipe's part; its `engine` goes before everything that is not fixed.
        further: what this one student needs besides.
    """
    arguments: dict[str, Any] = {"max_num_seqs": STUDENT_SEQUENCES}
    if serve.num_gpus == 0:
        arguments |= CPU_ARGUMENTS
    else:
        arguments["tensor_parallel_size"] = max(1, int(serve.num_gpus))
        arguments["gpu_memory_utilization"] = STUDENT_GPU_MEMORY_SHARE * min(1.0, serve.num_gpus)
    if serve.max_model_len is not None:
        arguments["max_model_len"] = serve.max_model_len
    if serve.kv_cache_bytes is not None:
        arguments["kv_cache_memory_bytes"] = serve.kv_cache_bytes
    return arguments | dict(further or {}) | serve.engine | FIXED_ARGUMENTS


class BadRequest(Exception):
    """This one question is refused, or was tried often enough; whoever answers is well otherwise, and asking again would not help."""


@dataclass(frozen=True)
class Completion:
    """What came of one request, as the engine tells it."""

    request_id: str
    text: str
    finish_reason: str
    num_tokens: int


@dataclass(frozen=True)
class EngineSettings:
    """One engine: picklable, since it travels to an actor."""

    model: str
    """`tiny:<name>`, a model folder, or a hub id."""
    num_gpus: float
    """0 runs on CPU, inside the calling process."""
    threads: int
    """CPU engine threads."""
    arguments: Mapping[str, Any]
    """All that vLLM is told."""
    adapter: str | None = None
    """Folder of a LoRA adapter that every request uses."""
    detokenize: bool = False
    """Decode token by token, as vLLM's server does: a character cut in two at the limit is left out instead of shown as U+FFFD."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, and how many at most; no stop strings, since they cut reasoning."""

    temperature: float
    top_p: float
    max_tokens: int
    further: Mapping[str, Any] = field(default_factory=dict)


class Vllm:
    """vLLM's synchronous engine: inside this process on CPU (10 s to start against 48 s), in its own processes on GPU."""

    def __init__(self, settings: EngineSettings, sampling: Sampling) -> None:
        """Load the model. Make it and drive it on one thread: OpenMP keeps its number of threads for each."""
        _prepare_environment(settings)
        import torch
        from vllm import EngineArgs
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.llm_engine import LLMEngine

        torch.set_num_threads(settings.threads)
        self.settings, self.sampling = settings, sampling
        self.adapter = LoRARequest("adapter", 1, settings.adapter) if settings.adapter else None
        self.engine = LLMEngine.from_engine_args(EngineArgs(model=resolve(settings.model), **settings.arguments))
        self.tokenizer = self.engine.get_tokenizer()
        self.max_model_len = int(self.engine.model_config.max_model_len)

    def add(self, request_id: str, prompt: list[int], seed: int, max_tokens: int | None = None) -> None:
        """Take a request in.

        Raises:
            BadRequest: the prompt leaves no room for an answer, or vLLM refuses it.
        """
        if len(prompt) >= self.max_model_len:
            raise BadRequest(f"the prompt has {len(prompt)} tokens; the model takes {self.max_model_len} with the answer")
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=max_tokens or self.sampling.max_tokens,
            seed=seed if self.sampling.temperature > 0 else None,  # a generator per row, for nothing where none is drawn from
            detokenize=self.settings.detokenize,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **self.sampling.further,
        )
        try:
            self.engine.add_request(request_id, tokens_input(prompt), sampling, lora_request=self.adapter)
        except ValueError as error:
            raise BadRequest(str(error)) from error

    def step(self) -> list[Completion]:
        """Run one step of continuous batching; return those that ended."""
        answers = []
        for output in self.engine.step():
            if output.finished:
                best = output.outputs[0]
                answers.append(Completion(output.request_id, self._text(best), str(best.finish_reason), len(best.token_ids)))
        return answers

    def _text(self, best: Any) -> str:
        if self.settings.detokenize:
            return str(best.text)
        return str(self.tokenizer.decode(best.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def has_unfinished(self) -> bool:
        """Whether a request is running or waiting."""
        return bool(self.engine.has_unfinished_requests())

    def death(self) -> str | None:
        """Return why the engine's own process is gone: vLLM 0.29 notices, but its step waits for ever for an answer."""
        resources = getattr(self.engine.engine_core, "resources", None)
        return "vLLM's engine process is gone" if resources is not None and resources.engine_dead else None

    def close(self) -> None:
        """Shut the engine down."""
        self.engine.engine_core.shutdown()


def _prepare_environment(settings: EngineSettings) -> None:
    """Set what vLLM and OpenMP read once, when they are first imported."""
    if settings.num_gpus == 0:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # Ray sets it to the actor's CPUs
    if "kv_cache_memory_bytes" in settings.arguments:
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would win
