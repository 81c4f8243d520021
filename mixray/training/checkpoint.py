"""Checkpoints: when one is due, and going on from one.

The data position is the step; nothing random depends on what ran before, so a training that goes on takes the same steps as an undisturbed
one: bit for bit with as many workers, but for rounding with another number of them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mixray.errors import TrainingError
from mixray.recipe import Train
from mixray.training.engine import TAG, Engine, to_universal
from mixray.training.plan import Plan
from mixray.training.state import State


def start(engine_of: Callable[[bool], Engine], folder: Path | None, state: State, plan: Plan, plan_label: str, shared: Path) -> Engine:
    """Return an engine, from the beginning or from a checkpoint, which is converted where the number of workers has changed.

    Args:
        engine_of: makes one; told whether a converted checkpoint is to be loaded.
        folder: the checkpoint, if any.
        state: what it says.
        plan: what is executed.
        plan_label: what identifies it.
        shared: a folder that the workers of one machine share, for the conversion.

    Raises:
        TrainingError: the checkpoint is of another plan or ZeRO stage, or cannot be read or converted.
    """
    if folder is None:
        return engine_of(False)
    state.check(plan)
    if state.plan != plan_label:
        raise TrainingError("A checkpoint is of another plan", seen=state.plan, rule=plan_label, do="remove the student's work folder")
    other_size = state.world_size != torch.distributed.get_world_size()
    engine = engine_of(other_size and state.zero_stage > 0)  # of stage 0 every worker holds everything
    if engine.stage != state.zero_stage:
        raise TrainingError(
            "A checkpoint is of another ZeRO stage", seen=state.zero_stage, rule=f"{engine.stage}",
            do=f"go on with train.zero_stage={state.zero_stage}, or remove the student's work folder",
        )  # fmt: skip
    if other_size and state.zero_stage > 0:
        # Nodes may share a machine's folder, as containers and tests do: named by the node's first worker, who converts.
        out = shared / f"universal-{torch.distributed.get_rank() - _local_rank()}"
        engine.load(_converted(folder, out))
        torch.distributed.barrier()
        shutil.rmtree(out, ignore_errors=True)
    else:
        engine.load(folder)
    return engine


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def _converted(folder: Path, out: Path) -> Path:
    """Convert a checkpoint once on each machine; every worker must ask."""
    failed = torch.zeros(1)
    error: TrainingError | None = None
    if _local_rank() == 0:
        shutil.rmtree(out, ignore_errors=True)
        (out / TAG).mkdir(parents=True)
        try:
            to_universal(folder, out)
        except TrainingError as caught:  # raised again once the others know: they wait for this worker
            error, failed = caught, torch.ones(1)
    device = torch.device("cuda") if torch.distributed.get_backend() == "nccl" else torch.device("cpu")
    failed = failed.to(device)
    torch.distributed.all_reduce(failed)
    if error is not None:
        raise error
    if float(failed):
        raise TrainingError("Another worker could not convert the checkpoint", seen=str(folder), do="see the other error")
    return out


class Due:
    """When the next checkpoint is due: by steps counted in the plan, or by minutes since the last one."""

    def __init__(self, train: Train) -> None:
        self.steps, self.minutes = train.checkpoint_every_steps, train.checkpoint_every_minutes
        self.saved_at = time.monotonic()

    def by_steps(self, step: int) -> bool:
        """Whether one is due after so many steps: the same on every worker."""
        return self.steps is not None and step % self.steps == 0

    def by_minutes(self) -> bool:
        """Whether one is due by this worker's clock."""
        return self.minutes is not None and time.monotonic() - self.saved_at > self.minutes * 60

    def saved(self) -> None:
        """Start counting minutes again."""
        self.saved_at = time.monotonic()
