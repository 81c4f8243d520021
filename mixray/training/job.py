"""What a training worker is sent. Light on imports, so that the driver need not load torch and DeepSpeed to send it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mixray.recipe import Train

STUDENT = "student"
"""Folder of the finished student inside the last checkpoint."""
STATE = "state.json"
"""File beside it with the loss curve; a checkpoint that has it is the last."""


@dataclass(frozen=True)
class Job:
    """Everything a worker needs, small enough to send: paths, not rows."""

    store_url: str
    plan_path: str
    progress_path: str
    student: str
    train: Train
    seed: int


def train_worker(config: dict[str, Any]) -> None:
    """Run the loop; Ray Train calls this on every worker."""
    from mixray.training import loop

    loop.train(config["job"])
