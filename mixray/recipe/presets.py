"""What a recipe may leave out, by name: whole blocks for the paper's experiments, and for the small laboratory.

Plain data: `preset: paper` fills what the recipe does not say, key by key inside each block. What a recipe says counts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mixray.recipe.shipped_models import ON_TEACHER_NODES

_ON_STUDENT_NODES = {"mixray/role": "student"}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # paper.md 2. On student nodes of 4 GPUs of 24 GB; a step of 8 rows is packed into one sequence for each worker at least.
        "paper": {
            "problems": {"source": "hf:DigitalLearningGmbH/MATH-lighteval", "format": "math", "split": "train", "num_problems": 7500},
            "train": {
                "preset": "paper-table5", "use_gpu": True, "workers": 4, "cpus_per_worker": 8, "packs_multiple": 4,
                "gradient_checkpointing": True, "labels": _ON_STUDENT_NODES,
            },
            # 16,000 tokens of answer and the question: Llama's own 131,072 would not fit beside 8B on 24 GB.
            "serve": {"num_gpus": 1, "max_model_len": 18432, "labels": _ON_STUDENT_NODES},
            "evaluate": {
                "preset": "paper",
                "benchmarks": ["math", "amc23", "gsm8k", "olympiadbench", "aime24"],
                "concurrency": 256,
                # paper.md 2.6: True or False of what the rule does not accept.
                "judge": {
                    "teacher": {"preset": "qwen2.5-32b-instruct", "max_tokens": 20, "labels": dict(ON_TEACHER_NODES)},
                    "asked": "not_right",
                },
            },
        },
        # The tiny world, chosen on its validation split. A training has one process, since two small ones side by side beat one of two.
        "lab": {
            "problems": {"source": "tiny", "split": "train", "num_problems": 600, "difficulty": [3, 5], "seed": 11},
            "train": {
                "epochs": 3, "learning_rate": 1.5e-3, "warmup_share": 0.03, "batch_rows": 8, "max_tokens": 512, "micro_batch_tokens": 4096,
                "zero_stage": 0, "dtype": "float32", "arms_at_once": 2, "checkpoint_every_steps": None,
            },
            "serve": {"port": 0, "max_model_len": 1024, "students_at_once": 2, "kv_cache_bytes": 2**26},
            "evaluate": {
                "through": "engine",
                "benchmarks": {"tiny": {"source": "tiny", "split": "test", "num_problems": 300, "difficulty": [3, 5], "seed": 12}},
                "max_tokens": 512,
            },
            "seeds": [0, 1, 2],
        },
    }
)  # fmt: skip


def filled_recipe(given: Any) -> Any:
    """Return a recipe with what its preset says of what it does not; an unknown preset is for pydantic to refuse."""
    preset = given.get("preset") if isinstance(given, dict) else None
    if not isinstance(preset, str) or preset not in PRESETS:
        return given
    whole = dict(given)
    for block, said in copy.deepcopy(dict(PRESETS[preset])).items():
        if block not in given:
            whole[block] = said
        elif isinstance(given[block], dict) and isinstance(said, dict):
            whole[block] = {**said, **given[block]}
    return whole
