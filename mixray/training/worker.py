"""The loop as a worker of Ray Train runs it: which worker it is, where checkpoints go, whether its node is about to leave."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray.train
from ray.train import Checkpoint, CheckpointUploadMode

from mixray.rows import digest
from mixray.session import log_in_actor
from mixray.store import Store
from mixray.training import attempts, loop
from mixray.training.checks import ready_tokenizer
from mixray.training.job import Job
from mixray.training.plan import read_plan
from mixray.training.state import RECORDS, Records, State
from mixray.training.tokens import TokenRows
from mixray.training.watch import Borne, Exported, LiveFile, Sink, TensorBoard, trackers

log = logging.getLogger("mixray.training")


class RayHost:
    """A worker of Ray Train.

    Raises:
        FencedOut: another attempt has taken over.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.store = job, Store(job.store_url)
        self._check_fence()
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        # Always the same place, so that what killed workers left there is found and removed; one of them may have had another number.
        # Nobody of this attempt writes there until all workers have met, which is later. A later attempt may be at work on this machine
        # before this one learns of it, and has its checkpoints there: only what is its own or was before it is removed.
        place = Path(tempfile.gettempdir()) / f"mixray-{os.getuid()}" / digest([job.store_url, job.label], 16)
        shared = place / attempts.name(job.fence)
        for folder in place.glob(f"{attempts.FOLDER}*"):
            if folder.name <= shared.name:
                shutil.rmtree(folder, ignore_errors=True)
        self.scratch = shared / f"worker-{self.rank}"

    @contextlib.contextmanager
    def last_checkpoint(self) -> Iterator[Path | None]:
        """Give the folder of the last checkpoint that is whole, if any."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None and self.job.checkpoint is not None:
            checkpoint = Checkpoint(self.job.checkpoint, self.store.arrow_fs)
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            yield Path(folder)

    def keep(self, folder: Path | None, state: State) -> None:
        """Hand a checkpoint to Ray Train, which stores it while training goes on; the last one is waited for.

        Raises:
            FencedOut: another attempt has taken over.
        """
        self._check_fence()
        if folder is not None:
            attempts.sign(folder, self.rank)
        last = state.finished
        log.info("worker %d hands over its part of %s at step %d", self.rank, "the student" if last else "a checkpoint", state.step)
        ray.train.report(
            {"step": state.step},
            checkpoint=None if folder is None else Checkpoint.from_directory(str(folder)),
            checkpoint_upload_mode=CheckpointUploadMode.SYNC if last else CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=not last,
        )
        if last:
            shutil.rmtree(self.scratch, ignore_errors=True)
            with contextlib.suppress(OSError):  # a neighbour is not done
                self.scratch.parent.rmdir()
                self.scratch.parent.parent.rmdir()

    def is_leaving(self) -> bool:
        """Whether a node of the workers has been told to go, such as a spot machine."""
        return ray.train.get_preemption_info() is not None

    def sinks(self, before: Records) -> list[Sink]:
        """Return the live file, TensorBoard where the storage is a folder, and the recipe's trackers; none of them ends the training."""
        found: list[Sink] = [LiveFile(self._show, before), Exported(self.job.arm)]
        if self.store.is_local:
            found.append(TensorBoard(Path(self.job.work_path) / "tensorboard", first_step=len(before)))
        return [Borne(sink) for sink in found + trackers(self.job.label, self.job.train, goes_on=bool(before))]

    def _show(self, records: bytes) -> None:
        self._check_fence()
        self.store.put(f"{self.job.work_path}/{RECORDS}", records)

    def _check_fence(self) -> None:
        if self.job.fence is not None:
            self.job.fence.check()


def run(job: Job) -> None:
    """Train as one of Ray Train's workers."""
    host = RayHost(job)
    log_in_actor(f"train {job.arm}")
    log.info("worker %d of %d begins on %s", host.rank, host.world_size, job.label)
    tokens, plan = host.store.open("tokens", job.tokens), host.store.open("plans", job.plan)
    work = loop.Work(
        label=job.label, plan_label=plan.label, plan=read_plan(plan), rows=TokenRows.open(tokens),
        tokenizer=ready_tokenizer(job.source, job.train.pad_token), model=job.model, source=job.source, train=job.train, seed=job.seed,
    )  # fmt: skip
    loop.train(work, host)
