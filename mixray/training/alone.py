"""The loop without Ray: one process, or as many as `torchrun` starts, on one machine; checkpoints lie in a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from mixray.training.state import RECORDS, STATE, Records, State
from mixray.training.watch import Sink

LAST = "last"
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
"""What `torchrun` would say to a single process."""


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Have torch's process group for the block: that of `torchrun`, or of this process alone."""
    if torch.distributed.is_initialized():
        yield
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    with tempfile.TemporaryDirectory(prefix="mixray-alone-") as folder:
        is_alone = "RANK" not in os.environ
        if is_alone:
            os.environ.update(ALONE)
            torch.distributed.init_process_group(backend, init_method=f"file://{folder}/store", rank=0, world_size=1)
        else:
            torch.distributed.init_process_group(backend)
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()
            if is_alone:  # else the next group of this process would look for the one that `torchrun` starts
                for name in ALONE:
                    del os.environ[name]


class LoneHost:
    """Keeps the last checkpoint of all processes of this machine in a folder."""

    def __init__(self, folder: Path, sinks: list[Sink] | None = None) -> None:
        self.folder, self._sinks = folder, sinks or []
        self.rank, self.world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.scratch = folder / f"scratch-{self.rank}"

    @contextlib.contextmanager
    def last_checkpoint(self) -> Iterator[Path | None]:
        """Give the folder of the last checkpoint, if any."""
        yield self.folder / LAST if (self.folder / LAST / STATE).exists() else None

    def keep(self, folder: Path | None, state: State) -> None:
        """Take a part of a checkpoint; it replaces the former once every process has given its own."""
        whole = self.folder / f"step-{state.step}{'-finished' if state.finished else ''}"
        if folder is not None:
            shutil.copytree(folder, whole, dirs_exist_ok=True)
            shutil.rmtree(folder)
        torch.distributed.barrier()
        if self.rank == 0:
            shutil.rmtree(self.folder / LAST, ignore_errors=True)
            whole.rename(self.folder / LAST)
        torch.distributed.barrier()

    def is_leaving(self) -> bool:
        """Nobody takes this machine away."""
        return False

    def sinks(self, before: Records) -> list[Sink]:
        """Return what was given."""
        return self._sinks


def records_in(folder: Path) -> Records:
    """Return the records of the last checkpoint of a LoneHost's folder."""
    return [json.loads(line) for line in (folder / LAST / RECORDS).read_text(encoding="utf-8").splitlines()]
