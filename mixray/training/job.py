"""What a training worker is sent. Light on imports, so that the driver need not load torch and DeepSpeed to send it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from mixray.locks import Fence
from mixray.recipe import Train

STUDENT = "student"
"""Folder of the finished student inside the last checkpoint."""


@dataclass(frozen=True)
class Job:
    """Everything a worker needs, small enough to send: paths, not rows."""

    store_url: str
    label: str
    """What is trained, for logs and trackers."""
    arm: str
    """Its name alone, for metrics."""
    tokens: str
    plan: str
    """The folders of the two artefacts, under `tokens/` and `plans/`."""
    work_path: str
    model: str
    """The student as the recipe names it."""
    source: str
    """The folder or hub id behind it."""
    train: Train
    seed: int
    fence: Fence | None = None
    """The run's number at the student, where another may take over from it."""
    checkpoint: str | None = None
    """Where to begin while there is no checkpoint of this attempt: the last one of those before it."""


def train_worker(config: dict[str, Any]) -> None:
    """Run the loop; Ray Train calls this on every worker."""
    job: Job = config["job"]
    if job.train.use_gpu:  # the job's environment is the driver's guess, and a driver need not have a GPU
        os.environ["DS_ACCELERATOR"] = "cuda"
    from mixray.training import worker

    worker.run(job)
