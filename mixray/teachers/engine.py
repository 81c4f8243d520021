"""A teacher's engine: vLLM as the recipe describes it.

In: a teacher of the recipe. Out: what the feed drives. Keeps nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from mixray.engine import CPU_ARGUMENTS, DEFAULT_ARGUMENTS, FIXED_ARGUMENTS, Completion, EngineSettings, Sampling, Vllm
from mixray.errors import TeacherError
from mixray.recipe import Teacher

__all__ = ["Completion", "Engine", "VllmEngine", "adapter_folder", "engine_arguments", "places"]

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's kernels are made for


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


class VllmEngine(Vllm):
    """vLLM with a teacher's model, arguments and sampling."""

    def __init__(self, teacher: Teacher) -> None:
        adapter = adapter_folder(teacher.lora) if teacher.lora else None
        settings = EngineSettings(teacher.model, teacher.num_gpus, teacher.threads, engine_arguments(teacher), adapter)
        super().__init__(settings, Sampling(teacher.temperature, teacher.top_p, teacher.max_tokens, teacher.sampling))


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
