"""DeepSpeed around a student: settings, schedule, saving and gathering. The one place that knows DeepSpeed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import deepspeed
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from mixray.errors import TrainingError
from mixray.recipe import Train

TAG = "ds"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_student(folder: str, dtype: str) -> PreTrainedModel:
    """Load a causal model from safetensors, running no code from its folder."""
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise TrainingError("A student cannot be loaded", seen=folder, rule=str(error).splitlines()[0]) from error
    return model.train()


def learning_rate(step: int, num_steps: int, peak: float, warmup_share: float) -> float:
    """Return the rate of a step (from 0): a linear warm-up, then a cosine to zero (paper Table 5)."""
    warmup = round(warmup_share * num_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def start_engine(model: PreTrainedModel, train: Train) -> Any:
    """Wrap a student in a DeepSpeed engine of the recipe's ZeRO stage, with AdamW."""
    # Compiling the shared-memory collectives takes most of a minute; gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=train.weight_decay)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=deepspeed_config(train))
    return engine


def deepspeed_config(train: Train) -> dict[str, Any]:
    """Return DeepSpeed's settings. Accumulation is ours (a step's passes vary), so DeepSpeed is told of none."""
    zero: dict[str, Any] = {"stage": train.zero_stage, "contiguous_gradients": True, "overlap_comm": train.use_gpu}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": train.max_grad_norm,
        "zero_optimization": zero,
        "bf16": {"enabled": train.dtype == "bfloat16"},
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def export(engine: Any, folder: Path | None) -> None:
    """Gather the weights on every worker's call and write a Hugging Face model into `folder`, where one is given (rank 0)."""
    model: PreTrainedModel = engine.module
    state: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        # One parameter at a time: a whole ZeRO-3 model may not fit one device.
        with deepspeed.zero.GatheredParameters([parameter]):
            if folder is not None:
                state[name] = parameter.detach().cpu().clone()
    if folder is not None:
        state |= {name: buffer.detach().cpu() for name, buffer in model.named_buffers() if name in model.state_dict()}
        model.save_pretrained(folder, state_dict=state)
