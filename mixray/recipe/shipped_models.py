"""Teachers and students by name: what a recipe leaves out of one is filled from here. What a recipe says counts.

Plain data. GPUs are counted for the node types of `cluster/aws.yaml`, from bytes: weights in bfloat16 take 2 for each parameter, and a
teacher's cache of keys and values takes what they leave. Nothing here was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mixray.recipe.part import nearest

ON_TEACHER_NODES = MappingProxyType({"mixray/role": "teacher"})
# Long traces of MATH problems pass 8,192 tokens; QwQ's context is 32,768. Beyond 16,384 the paper's Table 5 trains on none of them.
_LONG_TOKENS = 16384
_SHORT_TOKENS = 4096
# The model card: greedy decoding of these repeats itself without end, 0.5 to 0.7 is recommended.
_R1_SAMPLING = {"temperature": 0.6, "top_p": 0.95}


def _teacher(model: str, num_gpus: int, max_tokens: int = _SHORT_TOKENS, **more: Any) -> Mapping[str, Any]:
    return MappingProxyType(
        {"model": model, "num_gpus": num_gpus, "replicas": [1, 4], "max_tokens": max_tokens, "labels": dict(ON_TEACHER_NODES), **more}
    )


def _tiny_teacher(name: str) -> Mapping[str, Any]:
    return MappingProxyType({"model": f"tiny:{name}", "max_tokens": 512, "engine": {"max_model_len": 1024}})


def _released(name: str) -> Mapping[str, Any]:
    return MappingProxyType({"traces": f"hf:UWNSL/{name}", "columns": {"question": "problem", "response": "solution"}})


# paper.md 2.2 (the paper's Table 4) and 1.3. 32B: 65 GB of weights on 4 x 48 GB leave room for a hundred long answers at once; two GPUs
# would hold twenty. 70B and 72B: 141 and 145 GB on 4 x 48 GB, which leaves 25 GB at 0.33 MB a token, so that their whole context of 131,072
# would not fit; on 4 x 40 GB (a2-highgpu-4g) add `engine: {quantization: fp8}`, which makes another teacher.
TEACHERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "qwq-32b-preview": _teacher("Qwen/QwQ-32B-Preview", 4, _LONG_TOKENS),
        "deepseek-r1-distill-qwen-32b": _teacher("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 4, _LONG_TOKENS, **_R1_SAMPLING),
        "qwen2.5-72b-instruct": _teacher("Qwen/Qwen2.5-72B-Instruct", 4, engine={"max_model_len": 8192}),
        "llama-3.1-70b-instruct": _teacher("meta-llama/Llama-3.1-70B-Instruct", 4, engine={"max_model_len": 8192}),
        "qwen2.5-32b-instruct": _teacher("Qwen/Qwen2.5-32B-Instruct", 4),
        "gemma-2-27b-it": _teacher("google/gemma-2-27b-it", 2),
        "gemma-2-9b-it": _teacher("google/gemma-2-9b-it", 1),
        "llama-3.1-8b-instruct": _teacher("meta-llama/Llama-3.1-8B-Instruct", 1, engine={"max_model_len": 8192}),
        "qwen2.5-7b-instruct": _teacher("Qwen/Qwen2.5-7B-Instruct", 1),
        "qwen2.5-3b-instruct": _teacher("Qwen/Qwen2.5-3B-Instruct", 1),
        # For one GPU of 24 GB: 3.6 and 3.1 GB of weights. An answer to a GSM8K question of more than 6,144 tokens is one that does not end.
        "deepseek-r1-distill-qwen-1.5b": _teacher(
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1, 6144, replicas=1, labels={}, engine={"max_model_len": 8192}, **_R1_SAMPLING
        ),
        "qwen2.5-1.5b-instruct": _teacher("Qwen/Qwen2.5-1.5B-Instruct", 1, 2048, replicas=1, labels={}),
        # The tiny world's, which write what the laboratory teaches.
        **{f"tiny-{name}": _tiny_teacher(name) for name in ("long", "short", "large", "small")},
        # The paper's traces as published: of two teachers the problems that both solved, 5.38 k and 4.54 k.
        "released-long": _released("MATH_training_split_long_cot"),
        "released-short": _released("MATH_training_split_short_cot"),
        "released-large": _released("MATH_training_split_distill_large_teacher"),
        "released-small": _released("MATH_training_split_distill_small_teacher"),
        # The mixes of these as published, a trace of one of the two for each problem.
        "released-mix-long": _released("Mix-Long_long_0.2_short_0.8"),
        "released-mix-large": _released("Mix-Large_large_0.2_small_0.8"),
    }
)

# Full fine-tuning keeps 16 bytes a parameter over all GPUs: 2 of weights, 2 of gradients, 12 of AdamW in float32. On 4 x 24 GB that is
# up to 3B; of 7B and 8B (122 and 128 GB) the 12 go to main memory (92 and 96 GB of it), and 7.6 and 8.0 GB a GPU stay.
_OFFLOADED = MappingProxyType({"offload_optimizer": True})
# paper.md 2.5: from 14B on adapters. Weights are split over the workers: 30, 66 and 141 GB over 4 x 48 GB, the last over 8 of them; a
# pack of 16,384 tokens keeps another 8, 11 and 22 GB a GPU, checkpointed.
_ADAPTERS = MappingProxyType({"preset": "paper-lora", "labels": dict(ON_TEACHER_NODES)})


def _student(model: str, train: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    return MappingProxyType({"model": model, **({"train": dict(train)} if train else {})})


# paper.md 2.3.
STUDENTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "qwen2.5-0.5b-instruct": _student("Qwen/Qwen2.5-0.5B-Instruct"),
        "qwen2.5-1.5b-instruct": _student("Qwen/Qwen2.5-1.5B-Instruct"),
        "qwen2.5-3b-instruct": _student("Qwen/Qwen2.5-3B-Instruct"),
        "qwen2.5-7b-instruct": _student("Qwen/Qwen2.5-7B-Instruct", _OFFLOADED),
        "qwen2.5-14b-instruct": _student("Qwen/Qwen2.5-14B-Instruct", _ADAPTERS),
        "qwen2.5-32b-instruct": _student("Qwen/Qwen2.5-32B-Instruct", _ADAPTERS),
        "llama-3.2-1b-instruct": _student("meta-llama/Llama-3.2-1B-Instruct"),
        "llama-3.2-3b-instruct": _student("meta-llama/Llama-3.2-3B-Instruct"),
        "llama-3.1-8b-instruct": _student("meta-llama/Llama-3.1-8B-Instruct", _OFFLOADED),
        "llama-3.3-70b-instruct": _student("meta-llama/Llama-3.3-70B-Instruct", {**_ADAPTERS, "workers": 8}),
        "qwen2.5-math-1.5b-instruct": _student("Qwen/Qwen2.5-Math-1.5B-Instruct"),
        "qwen2.5-0.5b": _student("Qwen/Qwen2.5-0.5B"),
        "qwen2.5-1.5b": _student("Qwen/Qwen2.5-1.5B"),
        "qwen2.5-3b": _student("Qwen/Qwen2.5-3B"),
        "qwen2.5-7b": _student("Qwen/Qwen2.5-7B", _OFFLOADED),
        **{f"student-{name}": _student(f"tiny:student-{name}") for name in ("xs", "s", "m", "s-novice", "s-expert", "s-instruct")},
    }
)


def filled_teacher(given: Any) -> Any:
    """Return a teacher given by name, or as {preset: name} with changes, as a mapping with all that the name stands for.

    Raises:
        ValueError: no teacher ships under that name.
    """
    if isinstance(given, str):
        given = {"preset": given}
    return {**_known(given["preset"], TEACHERS, "teacher"), **given} if isinstance(given, dict) and given.get("preset") else given


def filled_students(given: Any) -> Any:
    """Return `students` as a mapping: of a list of names, or of {name: student, its preset, or nothing but changes}.

    Of `train` the keys are filled one by one, so that a changed rate leaves a 7B student's offloading as it is.

    Raises:
        ValueError: no student ships under a name.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        given = dict.fromkeys(given)
    return {name: _filled_student(name, one) for name, one in given.items()} if isinstance(given, dict) else given


def _filled_student(name: Any, given: Any) -> Any:
    given = {"preset": given} if isinstance(given, str) else {} if given is None else given
    if not isinstance(given, dict) or ("model" in given and "preset" not in given):
        return given
    known = _known(given.get("preset", name), STUDENTS, "student")
    train = given.get("train", {})
    own = {"train": {**known["train"], **train}} if "train" in known and isinstance(train, dict) else {}
    return {**known, **given, **own}


def _known(name: Any, shipped: Mapping[str, Mapping[str, Any]], what: str) -> Mapping[str, Any]:
    if not isinstance(name, str) or name not in shipped:
        raise ValueError(f"no shipped {what} is called {name!r}; there are {sorted(shipped)}{nearest(str(name), shipped)}")
    return shipped[name]
