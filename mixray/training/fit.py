"""Ray Train around the loop: workers, restarts, nodes that come late or leave, what the terminal shows meanwhile.

In: a job. Out: the checkpoint that holds the finished student. What survives a kill of the driver: the checkpoints, from which the same
command goes on.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mixray.errors import ClusterError, MixrayError, StoreError, TrainingError
from mixray.locks import FencedOut
from mixray.placement import resources_of_nodes, selector
from mixray.progress import StageProgress
from mixray.recipe import Train
from mixray.session import is_private
from mixray.store import Artefact, Store
from mixray.threads import side_by_side
from mixray.training import attempts
from mixray.training.job import Job, train_worker
from mixray.training.state import last_record

if TYPE_CHECKING:
    from ray.train import Checkpoint, UserCallback

_ASKED: dict[object, tuple[list[dict[str, float]], dict[str, str]]] = {}
"""The bundles and labels that each of this process's trainings waits for; `_ASKING` is held while they change."""
_ASKING = threading.Lock()
POLL_SECONDS = 2.0
LIVE = ("loss", "grad_norm", "learning_rate", "tokens_per_second", "mfu")
START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
RESIZE_SECONDS = 60.0
"""Between two looks whether nodes for more workers have come: growing costs the steps since the last stored checkpoint."""
STALE_SECONDS = 10.0
"""That [fewest, most] workers may take to find their places. Ray counts nodes every 20 s: right after a loss it asks for as many places as
before, and counts again only once it has given up on them; which nodes boot, it does not wait for here."""


def fit(store: Store, student: Artefact, job: Job, num_steps: int, progress: StageProgress) -> Checkpoint:
    """Run the loop on Ray Train and return the checkpoint that holds the finished student. Ray must be up.

    Raises:
        ClusterError: the cluster cannot hold the workers.
        TrainingError: the loop's own, or workers died more often than the recipe allows.
    """
    from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    train = job.train
    wait_for_room(train, progress)
    fewest, most = train.workers
    # Ray Train's own patience is a minute: too little for a node that boots and pulls its image.
    os.environ[START_TIMEOUT] = str(max(60.0, train.node_wait_minutes * 60) if fewest == most else STALE_SECONDS)
    store.fs.makedirs(student.work_path, exist_ok=True)
    name = attempts.name(job.fence)
    job = replace(job, checkpoint=attempts.last_checkpoint(store, student.work_path, name))
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend=None if train.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=fewest if fewest == most else (fewest, most),
            use_gpu=train.use_gpu,
            resources_per_worker=resources(train),
            label_selector=selector(train) or None,
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=student.work_path,
            storage_filesystem=store.arrow_fs,
            failure_config=FailureConfig(max_failures=train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=train.keep_checkpoints),
            callbacks=[_no_second_try()],
        ),
    )
    result = _watch(trainer, store, job, student, num_steps, progress)
    if result.checkpoint is not None:
        return result.checkpoint
    if job.checkpoint is not None:  # it was finished before, and no step was left to take
        return Checkpoint(job.checkpoint, store.arrow_fs)
    raise TrainingError("A training ended without a student", seen=student.label, do=f"remove {student.work_path} and run again")


def _no_second_try() -> UserCallback:
    """Return what ends a training whose workers raised mixray's own error: the same steps would end in the same way again.

    What the storage raised is no such error: it may answer when the workers have started again.
    """
    from ray.train import UserCallback

    class NoSecondTry(UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            own = _own_errors(worker_exceptions.values())
            lasting = [error for error in own if isinstance(error, FencedOut) or not isinstance(error, StoreError)]
            if lasting:
                raise lasting[0]

    return NoSecondTry()


def _own_errors(errors: Iterable[BaseException]) -> list[MixrayError]:
    """Return mixray's own errors among what Ray Train wraps; first those that are not about another worker's."""
    unwrapped = (getattr(error, "_base_exc", None) or getattr(error, "cause", None) or error for error in errors)
    own = [error for error in unwrapped if isinstance(error, MixrayError)]
    return sorted(own, key=lambda error: "Another worker" in error.what)


def resources(train: Train) -> dict[str, float]:
    """Return what one worker reserves."""
    return {"CPU": train.cpus_per_worker, **({"GPU": 1.0} if train.use_gpu else {})}


def check_room(train: Train) -> None:
    """Refuse a cluster of this process's own, which never grows, where it cannot hold the workers.

    Raises:
        ClusterError: it cannot hold them.
    """
    if is_private() and room_for(resources_of_nodes(train), resources(train)) < train.workers[0]:
        raise _no_room(train)


def arms_at_once(train: Train) -> int:
    """Return how many arms are trained side by side: as many as the recipe says, but on a cluster of this process's own no more than fit.

    Another cluster is asked for all; those it has no nodes for wait for the others.
    """
    if not is_private():
        return train.arms_at_once
    return max(1, min(train.arms_at_once, room_for(resources_of_nodes(train), resources(train)) // train.workers[0]))


def wait_for_room(train: Train, progress: StageProgress) -> None:
    """Wait until the cluster's nodes can hold as many workers as there must be.

    A cluster of this process's own never grows; of another one nobody can know, so it is asked to grow and given the recipe's time.

    Raises:
        ClusterError: it cannot hold them, with what is asked and what there is.
    """
    check_room(train)
    fewest, wanted, labels = train.workers[0], resources(train), selector(train)
    if room_for(resources_of_nodes(train), wanted) >= fewest:
        return
    deadline = time.monotonic() + train.node_wait_minutes * 60
    with _nodes_asked_for([wanted] * fewest, labels):
        while time.monotonic() < deadline:
            room = room_for(resources_of_nodes(train), wanted)
            if room >= fewest:
                return
            progress.update(room, fewest, waiting="for nodes")
            time.sleep(POLL_SECONDS)
    raise _no_room(train)


@contextlib.contextmanager
def _nodes_asked_for(bundles: list[dict[str, float]], labels: dict[str, str]) -> Iterator[None]:
    """Ask the autoscaler for room during the block; what Ray Train asks for counts afterwards.

    A cluster has one such request, and the last replaces what was asked before: trainings that wait side by side ask for all of theirs.
    """
    from ray.autoscaler.sdk import request_resources

    def ask() -> None:
        wanted = [(bundle, places) for asked, places in _ASKED.values() for bundle in asked]
        request_resources(bundles=[bundle for bundle, _ in wanted], bundle_label_selectors=[places for _, places in wanted])

    mine = object()
    with _ASKING:
        _ASKED[mine] = (bundles, labels)
        ask()
    try:
        yield
    finally:
        with _ASKING:
            del _ASKED[mine]
            ask()


def _no_room(train: Train) -> ClusterError:
    fewest, wanted, nodes = train.workers[0], resources(train), resources_of_nodes(train)
    labels = ", ".join(f"{key}={value}" for key, value in selector(train).items())
    return ClusterError(
        "The cluster cannot hold a training's workers",
        seen=f"nodes with {'; '.join(_told(node) for node in nodes) or 'nothing'}: room for {room_for(nodes, wanted)}",
        rule=f"{fewest} workers of {_told(wanted)} each" + (f", on nodes labelled {labels}" if labels else ""),
        do="lower train.workers or train.cpus_per_worker, add nodes, or raise train.node_wait_minutes on a cluster that grows",
    )


def room_for(nodes: list[dict[str, float]], wanted: dict[str, float]) -> int:
    """Return how many workers of so much each fit nodes that do nothing else."""
    return sum(min(math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items()) for node in nodes)


class Patience:
    """How long a training that has lost its nodes waits for others: Ray Train by itself waits without end and without a word."""

    def __init__(self, train: Train) -> None:
        self.train = train
        self._looked_at = self._room_at = time.monotonic()
        self._waits = False

    def waits(self) -> bool:
        """Whether the cluster lacks room for the fewest workers; it is looked at every few seconds.

        Raises:
            ClusterError: it has lacked room for longer than the recipe allows.
        """
        now = time.monotonic()
        if now - self._looked_at < POLL_SECONDS:
            return self._waits
        self._looked_at = now
        self._waits = room_for(resources_of_nodes(self.train), resources(self.train)) < self.train.workers[0]
        if not self._waits:
            self._room_at = now
        elif now - self._room_at > self.train.node_wait_minutes * 60:
            raise _no_room(self.train)
        return self._waits


def _told(resources: dict[str, float]) -> str:
    return ", ".join(f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if name in resources) or "no CPU"


def _watch(trainer: Any, store: Store, job: Job, student: Artefact, num_steps: int, progress: StageProgress) -> Any:
    """Run a trainer beside the main thread and show, meanwhile, the last step that worker 0 has written down.

    On the main thread Ray Train would take over Ctrl-C, wait for its workers and then leave without a word; here the interrupt
    is raised as usual and the end of the Ray session ends the workers.
    """

    patience = Patience(job.train)

    def show() -> None:
        waits = patience.waits()
        record = last_record(store, job.work_path)
        if record is not None:
            facts: dict[str, str | float] = {name: record[name] for name in LIVE if record[name] is not None}
            facts["memory"] = f"{record['peak_memory_bytes'] / 2**30:.2g} GiB"
            facts["room_left"] = f"{record['padding_share']:.0%}"
            progress.update(record["step"], num_steps, **({"waiting": "for nodes"} if waits else facts))

    try:
        ((_, result),) = side_by_side([trainer.fit], meanwhile=show)
    except MixrayError:
        raise
    except Exception as error:  # Ray wraps what a worker raised: the user needs the cause, not the wrapping
        raise _cause(error, student, job.train) from error
    return result


def _cause(error: Exception, student: Artefact, train: Train) -> Exception:
    """Return the mixray error a worker raised, or one that tells what Ray said."""
    seen: BaseException | None = error
    candidates: list[BaseException] = []
    while seen is not None:
        failures = [*getattr(seen, "worker_failures", {}).values(), getattr(seen, "controller_failure", None)]
        candidates += [seen, *(failure for failure in failures if failure is not None)]
        seen = seen.__cause__
    found = _own_errors(candidates)
    if found:
        return found[0]
    lines = [line for line in str(error).splitlines() if line.strip()]
    do = "see the log file, then run the same command"
    if "memory" in str(error).lower():
        do = f"the system ended a worker for its memory, or Ray did: lower train.micro_batch_tokens ({train.micro_batch_tokens}), {do}"
    return TrainingError("A training failed", seen=f"{student.label}: {lines[-1] if lines else type(error).__name__}", do=do)
