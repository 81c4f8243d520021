"""Watching a training: a row for each step as JSONL, metrics and TensorBoard always, Weights & Biases and MLflow where they are named.

In: records. Out: files under the student's work folder while it is trained; what is kept goes with the student. Rank 0 alone watches.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mixray import metrics
from mixray.errors import MixrayError, TrainingError
from mixray.locks import FencedOut
from mixray.recipe import Train
from mixray.training.state import Records

CURVES = ("loss", "grad_norm", "learning_rate", "tokens_per_second", "mfu", "padding_share", "peak_memory_bytes")
EXPORTED = ("step", "loss", "grad_norm", "tokens_per_second", "mfu")
BYTES_PER_SECOND = 100_000
"""How fast the live file may be written again: the longer it is, the less often."""
LEFT_ALONE = 10.0
"""A sink that failed is left alone for so many times as long as it took to fail."""
log = logging.getLogger("mixray.training")


class Sink(Protocol):
    """Where records go."""

    def add(self, record: dict[str, Any]) -> None:
        """Take one step's record."""

    def close(self) -> None:
        """Write what waits."""


class Borne:
    """A sink whose failures end no training: the first is logged as a warning, and records wait until it is tried again."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.waiting: deque[dict[str, Any]] = deque()
        self.again_at = 0.0
        self.has_failed = False

    def add(self, record: dict[str, Any]) -> None:
        """Give the sink a record and those that waited, or have it wait.

        Raises:
            FencedOut: another attempt has taken over.
        """
        self.waiting.append(record)
        self._give()

    def close(self) -> None:
        """Give the sink what waits, and close it.

        Raises:
            FencedOut: another attempt has taken over.
        """
        self.again_at = 0.0
        self._give()
        self._bear(self.sink.close)

    def _give(self) -> None:
        while self.waiting and time.monotonic() >= self.again_at:
            self._bear(self.sink.add, self.waiting.popleft())

    def _bear(self, call: Callable[..., None], *arguments: Any) -> None:
        began = time.monotonic()
        try:
            call(*arguments)
        except FencedOut:
            raise
        except Exception as error:
            # A storage or a server that is away holds every worker up until it is given up on, minutes each time. So little of the time
            # goes to asking again; and it is asked again, because hours of training may be left to show.
            self.again_at = time.monotonic() + LEFT_ALONE * (time.monotonic() - began)
            if not self.has_failed:
                log.warning("%s fails, and training goes on: %s: %s", type(self.sink).__name__, type(error).__name__, error)
            self.has_failed = True


class LiveFile:
    """The records so far as one JSONL file on any storage, written again every second or so."""

    def __init__(self, put: Callable[[bytes], None], before: Records) -> None:
        self.put = put
        self.lines = [json.dumps(record) + "\n" for record in before]
        self.size = sum(map(len, self.lines))
        self.written_at = 0.0

    def add(self, record: dict[str, Any]) -> None:
        """Take a record; write the file where it is time."""
        self.lines.append(json.dumps(record) + "\n")
        self.size += len(self.lines[-1])
        if time.monotonic() - self.written_at > 1 + self.size / BYTES_PER_SECOND:
            self.close()

    def close(self) -> None:
        """Write the file."""
        self.put("".join(self.lines).encode())
        self.written_at = time.monotonic()


class Exported:
    """The last step's figures as metrics of the cluster."""

    def __init__(self, arm: str) -> None:
        self.arm = arm

    def add(self, record: dict[str, Any]) -> None:
        """Take a record."""
        for name in EXPORTED:
            if record[name] is not None:
                metrics.level(f"mixray_training_{name}", record[name], arm=self.arm)
        metrics.count("mixray_training_tokens", record["num_tokens"], arm=self.arm)

    def close(self) -> None:
        """Nothing waits."""


class TensorBoard:
    """Event files in a folder of this machine; steps that are taken again after a restart replace those before it."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def add(self, record: dict[str, Any]) -> None:
        """Take a record."""
        for name in CURVES:
            if record[name] is not None:
                self.writer.add_scalar(name, record[name], record["step"], walltime=record["time"])

    def close(self) -> None:
        """Write the files."""
        self.writer.close()


class Wandb:
    """A run of Weights & Biases, gone on with after a restart; the key is the environment's."""

    def __init__(self, label: str, train: Train) -> None:
        wandb = _module("wandb", "train.wandb")
        settings = {"id": label.replace("/", "-"), "name": label, "resume": "allow", **(train.wandb or {})}
        self.run = wandb.init(config=train.model_dump(mode="json"), **settings)

    def add(self, record: dict[str, Any]) -> None:
        """Take a record."""
        self.run.log({name: record[name] for name in CURVES if record[name] is not None}, step=record["step"])

    def close(self) -> None:
        """End the run."""
        self.run.finish()


class MLflow:
    """A run of MLflow, gone on with after a restart: known by its tag."""

    def __init__(self, label: str, train: Train) -> None:
        mlflow = _module("mlflow", "train.mlflow")
        settings = train.mlflow or {}
        if settings.get("tracking_uri"):
            mlflow.set_tracking_uri(settings["tracking_uri"])
        experiment = mlflow.set_experiment(settings.get("experiment_name", "mixray"))
        client = self.client = mlflow.MlflowClient()
        found = client.search_runs([experiment.experiment_id], filter_string=f"tags.`mixray.student` = '{label}'", max_results=1)
        run = found[0] if found else client.create_run(experiment.experiment_id, run_name=label, tags={"mixray.student": label})
        self.run_id = run.info.run_id

    def add(self, record: dict[str, Any]) -> None:
        """Take a record."""
        for name in CURVES:
            if record[name] is not None:
                self.client.log_metric(self.run_id, name, record[name], timestamp=int(record["time"] * 1000), step=record["step"])

    def close(self) -> None:
        """End the run."""
        self.client.set_terminated(self.run_id)


def _module(name: str, setting: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise TrainingError("A tracker is not installed", seen=f"{setting} names {name}", do=f"pip install {name} on every node") from error


def trackers(label: str, train: Train, goes_on: bool = False) -> list[Sink]:
    """Return the trackers a recipe names; without those that cannot be opened where a training goes on.

    Raises:
        TrainingError: one is not installed.
        Exception: one's own, at a training's beginning: a wrong key or address is told then, and not after hours without curves.
    """
    found: list[Sink] = []
    for settings, kind in ((train.wandb, Wandb), (train.mlflow, MLflow)):
        if settings is None:
            continue
        try:
            found.append(kind(label, train))
        except MixrayError:
            raise
        except Exception as error:
            if not goes_on:
                raise
            log.warning("%s cannot be opened, and training goes on without: %s: %s", kind.__name__, type(error).__name__, error)
    return found


@contextlib.contextmanager
def closing(sinks: list[Sink]) -> Any:
    """Close the sinks at the end of the block, however it ends."""
    with contextlib.ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        yield


def write_tensorboard(folder: Path, records: Records) -> None:
    """Write all records as one set of event files, as if nothing had ever been interrupted."""
    board = TensorBoard(folder)
    for record in records:
        board.add(record)
    board.close()
