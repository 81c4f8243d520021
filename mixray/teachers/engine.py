"""vLLM, one step at a time.

In: prompts as token ids, a seed each. Out: completions with their finish reason, as they end. Keeps nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mixray.errors import TeacherError
from mixray.models import resolve
from mixray.recipe import Teacher
from mixray.teachers.source import BadRequest

# One value for CPU and GPU: on two CPU cores it was 0.96 to 1.42 times as fast as 64 with the tiny teachers (README).
DEFAULT_ARGUMENTS: dict[str, Any] = {"max_num_seqs": 256}
# Fastest of what was tried on CPU: bfloat16 is emulated there, and compiling costs more than a small model ever gains. Prompts are not
# taken in by parts, because vLLM then rewinds a request's random generator, which a CPU generator cannot.
CPU_ARGUMENTS: dict[str, Any] = {"dtype": "float32", "enforce_eager": True, "enable_chunked_prefill": False}
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's kernels are made for
# Not the recipe's to change.
FIXED_ARGUMENTS: dict[str, Any] = {"trust_remote_code": False, "disable_log_stats": True}


@dataclass(frozen=True)
class Completion:
    """What came of one request, as the engine tells it."""

    request_id: str
    text: str
    finish_reason: str
    num_tokens: int


class Engine(Protocol):
    """What the feed needs of an engine; every call comes from one thread."""

    def __init__(self, teacher: Teacher) -> None: ...

    def add(self, request_id: str, prompt: list[int], seed: int) -> None:
        """Take a request in, or raise BadRequest."""

    def step(self) -> list[Completion]:
        """Do one step of work for every running request; return those that ended."""

    def has_unfinished(self) -> bool:
        """Whether a step would do anything."""

    def death(self) -> str | None:
        """Return why a process the engine leans on is gone, or None; asked from another thread, since a step may never end then."""

    def close(self) -> None:
        """Leave no process behind."""


class VllmEngine:
    """vLLM's synchronous engine: inside this process on CPU (10 s to start against 48 s), in its own processes on GPU."""

    def __init__(self, teacher: Teacher) -> None:
        on_cpu = teacher.num_gpus == 0
        arguments = engine_arguments(teacher)
        _prepare_environment(on_cpu, teacher.threads, arguments)
        import torch
        from vllm import EngineArgs
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.llm_engine import LLMEngine

        torch.set_num_threads(teacher.threads)
        self.teacher = teacher
        self.adapter = LoRARequest("adapter", 1, adapter_folder(teacher.lora)) if teacher.lora else None
        self.engine = LLMEngine.from_engine_args(EngineArgs(model=resolve(teacher.model), **arguments))
        self.tokenizer = self.engine.get_tokenizer()
        self.max_model_len = int(self.engine.model_config.max_model_len)

    def add(self, request_id: str, prompt: list[int], seed: int) -> None:
        """Take a request in; no stop strings, since they cut reasoning."""
        if len(prompt) >= self.max_model_len:
            raise BadRequest(f"the prompt has {len(prompt)} tokens; the model takes {self.max_model_len} with the answer")
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            temperature=self.teacher.temperature,
            top_p=self.teacher.top_p,
            max_tokens=self.teacher.max_tokens,
            seed=seed if self.teacher.temperature > 0 else None,  # a generator per row, for nothing where none is drawn from
            detokenize=False,  # decoded once at the end rather than token by token between steps
            output_kind=RequestOutputKind.FINAL_ONLY,
            **self.teacher.sampling,
        )
        try:
            self.engine.add_request(request_id, tokens_input(prompt), sampling, lora_request=self.adapter)
        except ValueError as error:
            raise BadRequest(str(error)) from error

    def step(self) -> list[Completion]:
        """Run one step of continuous batching."""
        answers = []
        for output in self.engine.step():
            if output.finished:
                best = output.outputs[0]
                text = self.tokenizer.decode(best.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                answers.append(Completion(output.request_id, text, str(best.finish_reason), len(best.token_ids)))
        return answers

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


def places(teacher: Teacher) -> int:
    """Return how many requests one engine runs at once."""
    return int(engine_arguments(teacher)["max_num_seqs"])


def adapter_folder(lora: str) -> str:
    """Return the local folder of a LoRA adapter; an id on the hub is fetched.

    Raises:
        TeacherError: there is none, or it holds no adapter in safetensors.
    """
    folder = Path(lora).expanduser()
    if not folder.is_dir() and lora.count("/") == 1:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(lora, allow_patterns=["adapter_config.json", "adapter_model.safetensors"]))
    missing = [name for name in ("adapter_config.json", "adapter_model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise TeacherError("A LoRA adapter cannot be loaded", seen=lora, rule=f"a folder with {' and '.join(missing)}", do="see peft")
    return str(folder.resolve())


def engine_arguments(teacher: Teacher) -> dict[str, Any]:
    """Return vLLM's arguments: ours by device, the adapter's, the recipe's, and those that are not the recipe's to change."""
    arguments = DEFAULT_ARGUMENTS | (CPU_ARGUMENTS if teacher.num_gpus == 0 else {})
    if teacher.num_gpus > 1:
        arguments["tensor_parallel_size"] = int(teacher.num_gpus) // int(teacher.engine.get("pipeline_parallel_size", 1))
    if teacher.lora:
        rank = json.loads(Path(adapter_folder(teacher.lora), "adapter_config.json").read_text(encoding="utf-8"))["r"]
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": min(size for size in LORA_RANKS if size >= rank)}
    return arguments | teacher.engine | FIXED_ARGUMENTS


def _prepare_environment(on_cpu: bool, threads: int, arguments: dict[str, Any]) -> None:
    """Set what vLLM and OpenMP read once, when they are first imported."""
    if on_cpu:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ["OMP_NUM_THREADS"] = str(threads)  # Ray sets it to the actor's CPUs
    if "kv_cache_memory_bytes" in arguments:
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would win
