"""DeepSpeed's configuration, the optimizer and the schedule: built here from the recipe's `train` block, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from mixray.errors import TrainingError
from mixray.recipe import Train

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "adamax": torch.optim.Adamax, "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD,
}  # fmt: skip
# A step's forward passes vary in number and its gradients are summed by the loop: DeepSpeed is told of one pass per step.
OURS = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
REFUSED = {
    "scheduler": "the schedule is train.schedule's",
    "fp16": "dtype float32 or bfloat16",
    "data_efficiency": "the order of rows is the batch plan's",
    "curriculum_learning": "the order of rows is the mixture's",
}


def learning_rate(step: int, num_steps: int, train: Train) -> float:
    """Return the rate of a step (from 0): a linear warm-up, then the schedule; cosine without warm-up is the paper's (Table 5)."""
    warmup = round(train.warmup_share * num_steps)
    if step < warmup:
        return train.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    share = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[train.schedule]
    return train.learning_rate * share


def make_optimizer(parameters: Iterable[torch.nn.Parameter], train: Train) -> torch.optim.Optimizer:
    """Return the optimizer of the recipe's name over the parameters that are trained.

    Raises:
        TrainingError: it does not take the settings, or DeepSpeed's own cannot be compiled.
    """
    settings = {"lr": train.learning_rate, "weight_decay": train.weight_decay, **train.optimizer_settings}
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        if train.optimizer == "cpu-adam":
            from deepspeed.ops.adam import DeepSpeedCPUAdam

            return DeepSpeedCPUAdam(trained, adamw_mode=True, **settings)
        return OPTIMIZERS[train.optimizer](trained, **settings)
    except Exception as error:  # a wrong argument, or a compiler that is missing: each library has its own errors
        raise TrainingError(
            "An optimizer cannot be made", seen=f"{train.optimizer} with {settings}", rule=str(error).strip().splitlines()[-1],
            do="check train.optimizer and train.optimizer_settings",
        ) from error  # fmt: skip


def check_settings(train: Train) -> None:
    """Build what workers will be given, once and for nothing: they come after hours of teachers.

    DeepSpeed's own optimizer is left to the workers, on whose machines it is compiled.

    Raises:
        TrainingError: the optimizer does not take its settings, or DeepSpeed's configuration decides what is not its to decide.
    """
    if "optimizer" not in deepspeed_config(train) and train.optimizer != "cpu-adam":
        make_optimizer([torch.nn.Parameter(torch.zeros(1))], train)


def deepspeed_config(train: Train) -> dict[str, Any]:
    """Return DeepSpeed's configuration: the recipe's own where it has one, else the one of its settings.

    Raises:
        TrainingError: the recipe's own takes over what the batch plan or the schedule decides.
    """
    config = _own(train.deepspeed, train.dtype) if train.deepspeed is not None else _made(train)
    return config | OURS | {"steps_per_print": 10**9, "wall_clock_breakdown": False}


def _made(train: Train) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": train.zero_stage, "contiguous_gradients": True, "overlap_comm": train.use_gpu}
    for name, wanted in (("offload_optimizer", train.offload_optimizer), ("offload_param", train.offload_parameters)):
        if wanted:
            zero[name] = {"device": "cpu", "pin_memory": train.use_gpu}
    config: dict[str, Any] = {
        "gradient_clipping": train.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": train.dtype == "bfloat16"},
    }
    if train.dtype == "bfloat16":
        config["data_types"] = {"grad_accum_dtype": "fp32"}  # a step sums over passes: in bfloat16 the small ones would be lost
    return config


def _own(given: dict[str, Any], dtype: str) -> dict[str, Any]:
    halves = bool(given.get("bf16", {}).get("enabled", False))
    if halves != (dtype == "bfloat16") or (halves and not zero_stage(given)):
        raise TrainingError(
            "A DeepSpeed configuration and the recipe differ in what weights are kept in",
            seen=f"bf16: {given.get('bf16')}, train.dtype={dtype}, stage {zero_stage(given)}",
            rule="bf16 enabled with dtype bfloat16 and stage 1 to 3, where float32 weights are kept beside; else dtype float32",
            do="make them the same",
        )
    for key, rule in REFUSED.items():
        value = given.get(key)
        if value and (not isinstance(value, dict) or value.get("enabled", True)):
            raise TrainingError(
                "A DeepSpeed configuration sets what mixray decides", seen=f"{key}: {value}", rule=rule, do=f"leave {key} out"
            )
    for key, value in OURS.items():
        if given.get(key, value) not in (value, "auto"):
            raise TrainingError(
                "A DeepSpeed configuration sets what mixray decides", seen=f"{key}: {given[key]}",
                rule="the batch plan says what a step holds", do=f"leave {key} out; set train.batch_rows or train.batch_tokens",
            )  # fmt: skip
    return {key: value for key, value in given.items() if value != "auto" and key != "train_batch_size"}


def zero_stage(config: dict[str, Any]) -> int:
    """Return the ZeRO stage of a DeepSpeed configuration."""
    return int(config.get("zero_optimization", {}).get("stage", 0))
