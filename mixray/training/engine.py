"""DeepSpeed around a student: start, one optimizer step, save, load, gather. With `settings.py` the one place that knows DeepSpeed.

What survives a kill: nothing here; `checkpoint.py` says what is saved when.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import deepspeed
import torch

from mixray.errors import TrainingError
from mixray.recipe import Train
from mixray.training.batch import Batch
from mixray.training.settings import deepspeed_config, make_optimizer, zero_stage
from mixray.training.student import load_student

TAG = "ds"
UNIVERSAL_STATE = "universal_checkpoint_info"


class Engine:
    """A student in a DeepSpeed engine, of whichever ZeRO stage."""

    def __init__(self, source: str, train: Train, seed: int, universal: bool = False) -> None:
        """Load and wrap a student; every worker does so at once.

        Args:
            source: the student's folder or hub id.
            train: the recipe's block.
            seed: of what is drawn at the start, such as adapters.
            universal: whether a checkpoint of another number of workers is going to be loaded.
        """
        # Compiling the shared-memory collectives takes most of a minute; gloo does without.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        config = deepspeed_config(train)
        self.stage, self.has_adapters = zero_stage(config), train.lora is not None
        torch.manual_seed(seed)
        self.student = load_student(source, train, config)
        optimizer = None if "optimizer" in config else make_optimizer(self.student.parameters(), train)
        if universal:
            config["checkpoint"] = {"load_universal": True}
        self._engine, *_ = deepspeed.initialize(model=self.student, optimizer=optimizer, config=config)
        self.device: torch.device = self._engine.device

    def accumulate(self, batches: Sequence[Batch], scale: float) -> torch.Tensor:
        """Run a step's forward and backward passes; return the sum of their losses, divided by `scale`, of this worker alone."""
        world_size = torch.distributed.get_world_size()
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        for number, batch in enumerate(batches):
            self._engine.set_gradient_accumulation_boundary(number == len(batches) - 1)
            loss = self._engine(batch.to(self.device)) / scale
            total += loss.detach()
            # DeepSpeed averages gradients over workers; the loss is already divided by the whole step's targets.
            self._engine.backward(loss * world_size)
        return total

    def step(self, rate: float) -> float:
        """Take the optimizer's step at a learning rate; return the gradient's norm before it was clipped."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        # Stage 0 in float32 does not tell the norm that it clips by.
        gradients = [parameter.grad for parameter in self.student.parameters() if parameter.grad is not None]
        own = float(torch.nn.utils.get_total_norm(gradients)) if self.stage == 0 and gradients else 0.0
        self._engine.step()
        return float(self._engine.get_global_grad_norm() or own)

    @torch.no_grad()
    def loss(self, batch: Batch) -> float:
        """Return the summed loss of a batch, nothing dropped out; every worker must ask."""
        self._engine.train(False)
        try:
            return float(self._engine(batch.to(self.device)))
        finally:
            self._engine.train(True)

    def save(self, folder: Path) -> None:
        """Write this worker's part of a checkpoint; every worker must save."""
        # ZeRO 1 and 2 can be converted for another number of workers only where this is said, if only to say that nothing is special.
        state = {UNIVERSAL_STATE: {"universal_checkpoint_version": 0.2}} if self.stage in (1, 2) else {}
        self._engine.save_checkpoint(str(folder), tag=TAG, client_state=state, exclude_frozen_parameters=self.has_adapters)

    def load(self, folder: Path) -> None:
        """Read a checkpoint, of as many workers as there are or converted; every worker must load.

        Raises:
            TrainingError: there is none that can be read.
        """
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=not self.has_adapters)
        if loaded is None:
            raise TrainingError("A checkpoint cannot be read", seen=str(folder), do="remove the student's work folder and train again")

    def weights(self, wanted: bool) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the whole weights of the model by transformers' names, one at a time; every worker must ask, one may want them.

        One at a time, since a whole ZeRO-3 model may not fit one device.
        """
        for name, parameter in self.student.model.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter]):
                if wanted:
                    yield name, parameter.detach().cpu().clone()
        if wanted:
            kept = self.student.model.state_dict().keys()
            yield from ((name, buffer.detach().cpu()) for name, buffer in self.student.model.named_buffers() if name in kept)


def to_universal(folder: Path, out: Path) -> None:
    """Convert a checkpoint (its folder of all workers' files) for any number of workers, in this process.

    Raises:
        TrainingError: it cannot be converted.
    """
    from deepspeed.checkpoint import ds_to_universal

    arguments = argparse.Namespace(
        input_folder=str(folder / TAG), output_folder=str(out / TAG), num_extract_workers=1, num_merge_workers=1,
        keep_temp_folder=False, strict=True, inject_missing_state=True,
    )  # fmt: skip
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            ds_to_universal.main(arguments)
    except Exception as error:  # DeepSpeed asserts, raises and exits in turn
        raise TrainingError(
            "A checkpoint cannot be converted for another number of workers",
            seen=f"{folder}: {type(error).__name__}: {error}",
            do="go on with as many workers as before, or remove the student's work folder",
        ) from error
