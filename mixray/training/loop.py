"""The training loop, as every Ray Train worker runs it.

In: a plan on shared storage, a student's folder, the recipe's `train` block. Out: a Ray Train checkpoint holding the finished student.
What survives a kill: the last checkpoint (weights, optimiser, step, loss curve). The data position is the step; nothing random
depends on what ran before, so a resumed training takes the same steps as an undisturbed one.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import PreTrainedTokenizerBase

from mixray.chat import load_tokenizer
from mixray.errors import TrainingError
from mixray.rows import keyed_draw
from mixray.store import Store
from mixray.training.batch import TokenRow, collate, loss_sum
from mixray.training.engine import TAG, export, learning_rate, load_student, start_engine
from mixray.training.job import STATE, STUDENT, Job
from mixray.training.plan import Step, slices

PROGRESS_SECONDS = 1.0


@dataclass
class Curve:
    """Loss and gradient norm of every step so far; travels in the checkpoint."""

    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)


def train(job: Job) -> None:
    """Train on this worker's slice of every step, in lockstep with the other workers."""
    import ray.train

    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None and _is_finished(checkpoint):
        return
    rows, steps = read_plan(Store(job.store_url), job.plan_path)
    tokenizer = load_tokenizer(job.student)
    check_rows(rows, tokenizer)
    torch.manual_seed(job.seed)
    engine = start_engine(load_student(job.student, job.train.dtype), job.train)
    curve = _resume(engine, checkpoint) if checkpoint is not None else Curve()
    told_at, started = 0.0, time.monotonic()
    first = len(curve.loss)
    for number in range(first, len(steps)):
        loss, norm = _step(engine, job, rows, steps, number, rank, world_size, tokenizer.pad_token_id)
        curve.loss.append(loss)
        curve.grad_norm.append(norm)
        if rank == 0 and time.monotonic() - told_at > PROGRESS_SECONDS:
            told_at = time.monotonic()
            _tell(job, number + 1, len(steps), loss, steps[first : number + 1], time.monotonic() - started)
        if (number + 1) % job.train.checkpoint_every_steps == 0 and number + 1 < len(steps):
            _save(engine, curve)
    _finish(engine, job, curve, tokenizer, rank)


def _step(
    engine: Any, job: Job, rows: list[TokenRow], steps: list[Step], number: int, rank: int, world_size: int, pad_id: int
) -> tuple[float, float]:
    """Run one optimiser step; return the loss per target token over all workers, and the gradient's norm before clipping."""
    step, train = steps[number], job.train
    torch.manual_seed(keyed_draw(job.seed, "step", number, rank) % 2**31)  # dropout, where a student has any
    packs_per_forward = max(1, train.micro_batch_tokens // (train.pack_tokens or train.max_tokens))
    passes = slices(step.packs, rank, world_size, packs_per_forward)
    total = torch.zeros((), device=engine.device)
    for index, packs in enumerate(passes):
        engine.set_gradient_accumulation_boundary(index == len(passes) - 1)
        batch = collate([[rows[row] for row in pack] for pack in packs], pad_id).to(engine.device)
        loss = loss_sum(engine, batch) / step.num_loss_tokens
        total += loss.detach()
        # DeepSpeed averages gradients over workers; the loss is already divided by the whole step's targets.
        engine.backward(loss * world_size)
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate(number, len(steps), train.learning_rate, train.warmup_share)
    engine.step()
    torch.distributed.all_reduce(total)
    value = float(total)
    if value != value or value in (float("inf"), float("-inf")):
        raise TrainingError(
            "The loss is no longer a number", seen=f"{value} at step {number}", do="lower train.learning_rate or train.max_grad_norm"
        )
    return value, float(engine.get_global_grad_norm() or 0.0)


def read_plan(store: Store, path: str) -> tuple[list[TokenRow], list[Step]]:
    """Read a plan artefact's rows and steps."""
    import pyarrow.parquet as pq

    tokens = pq.read_table(f"{path}/tokens.parquet", filesystem=store.arrow_fs)
    ids = tokens["ids"].combine_chunks()
    offsets, values = ids.offsets.to_numpy(), ids.values.to_numpy()
    counts = tokens["num_loss_tokens"].to_pylist()
    rows = [TokenRow(values[offsets[row] : offsets[row + 1]].tolist(), counts[row]) for row in range(len(counts))]
    table: pa.Table = pq.read_table(f"{path}/plan.parquet", filesystem=store.arrow_fs)
    steps = [Step(tuple(tuple(pack) for pack in row["packs"]), row["num_loss_tokens"]) for row in table.to_pylist()]
    return rows, steps


def check_rows(rows: list[TokenRow], tokenizer: PreTrainedTokenizerBase) -> None:
    """Prove before the first step that every row trains something and ends in the end-of-turn token (TRL#6668, TRL#3091).

    Raises:
        TrainingError: a row does not.
    """
    for number, row in enumerate(rows):
        if not 1 <= row.num_loss_tokens < len(row.ids):
            raise TrainingError("A row trains no token, or its own prompt", seen=f"row {number}: {row.num_loss_tokens} of {len(row.ids)}")
        if row.ids[-1] != tokenizer.eos_token_id:
            raise TrainingError(
                "A row does not train the end of turn: the student would never stop",
                seen=tokenizer.decode(row.ids[-8:]), rule=f"its last token must be {tokenizer.eos_token}",
            )  # fmt: skip


def _tell(job: Job, step: int, num_steps: int, loss: float, done: list[Step], seconds: float) -> None:
    num_tokens = sum(step.num_loss_tokens for step in done)
    state = {"step": step, "num_steps": num_steps, "loss": loss, "loss_tokens_per_second": num_tokens / max(seconds, 1e-9)}
    Store(job.store_url).fs.pipe_file(job.progress_path, json.dumps(state).encode())


def _save(engine: Any, curve: Curve) -> None:
    """Save a checkpoint: every worker its own shards, merged by Ray Train into one DeepSpeed checkpoint."""
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder, tag=TAG, client_state={"loss": curve.loss, "grad_norm": curve.grad_norm})
        ray.train.report({"step": len(curve.loss)}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _resume(engine: Any, checkpoint: Any) -> Curve:
    with checkpoint.as_directory() as folder:
        loaded, client = engine.load_checkpoint(folder, tag=TAG)
    if loaded is None:
        raise TrainingError("A checkpoint cannot be read", seen=str(checkpoint), do="remove the student's work folder and train again")
    return Curve(list(client["loss"]), list(client["grad_norm"]))


def _is_finished(checkpoint: Any) -> bool:
    with checkpoint.as_directory() as folder:
        return (Path(folder) / STATE).exists()


def _finish(engine: Any, job: Job, curve: Curve, tokenizer: PreTrainedTokenizerBase, rank: int) -> None:
    """Write the student's folder on rank 0 and hand it over as the last checkpoint."""
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        student = Path(folder) / STUDENT
        export(engine, student if rank == 0 else None)
        checkpoint = None
        if rank == 0:
            tokenizer.save_pretrained(student)
            (Path(folder) / STATE).write_text(json.dumps({"loss": curve.loss, "grad_norm": curve.grad_norm}), encoding="utf-8")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"step": len(curve.loss)}, checkpoint=checkpoint)
