"""The training loop, as every worker runs it. It knows nothing of Ray: whoever hosts it says which worker it is and takes its checkpoints.

In: a plan, rows, a student's folder, the recipe's `train` block. Out: a checkpoint that holds the finished student. What survives a kill:
the last checkpoint (`checkpoint.py`).

A record, one for each step: `step` (from 1), `loss` (mean over the step's target tokens), `grad_norm` before clipping, `learning_rate`,
`num_rows`, `num_tokens`, `num_loss_tokens`, `seconds`, `tokens_per_second`, `mfu` (null without a known GPU), `padding_share` (room of the
step's packs that holds no row: nothing is computed for it), `peak_memory_bytes` of worker 0, `time` (Unix, when it ended).
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedTokenizerBase

from mixray.errors import TrainingError
from mixray.recipe import Train
from mixray.rows import keyed_draw
from mixray.training.batch import Batch, collate
from mixray.training.checkpoint import Due, start
from mixray.training.checks import check_packing, check_rows
from mixray.training.engine import Engine
from mixray.training.export import export
from mixray.training.flops import Flops, peak_flops
from mixray.training.job import STUDENT
from mixray.training.layout import passes
from mixray.training.plan import Plan, Step
from mixray.training.settings import learning_rate
from mixray.training.state import Records, State, read_state, write_state
from mixray.training.tokens import TokenRows
from mixray.training.watch import Sink, closing, write_tensorboard

ASK_SECONDS = 5.0
"""Between two questions whether a node is about to be taken away: asking is a meeting of all workers."""


@dataclass(frozen=True)
class Work:
    """What is to be trained on what."""

    label: str
    plan_label: str
    plan: Plan
    rows: TokenRows
    tokenizer: PreTrainedTokenizerBase
    model: str
    source: str
    train: Train
    seed: int


class Host(Protocol):
    """What runs the loop: Ray Train, or nothing at all."""

    rank: int
    world_size: int
    scratch: Path
    """A folder of this machine for this worker, in one that its neighbours share."""

    def last_checkpoint(self) -> contextlib.AbstractContextManager[Path | None]:
        """Give the folder of the last checkpoint, if any."""

    def keep(self, folder: Path | None, state: State) -> None:
        """Take a worker's part of a checkpoint, and remove the folder once it is stored; every worker must call it."""

    def is_leaving(self) -> bool:
        """Whether a node of the workers is about to be taken away; every worker must ask."""

    def sinks(self, before: Records) -> list[Sink]:
        """Return where worker 0's records go, told of those that are there."""


def train(work: Work, host: Host, exports: bool = True) -> State:
    """Train on this worker's part of every step, in lockstep with the other workers; return where it ended.

    Args:
        work: what is trained on what.
        host: which worker this is, and who takes its checkpoints.
        exports: whether the finished student is written and handed over; who measures speed alone has no use for it.

    Raises:
        TrainingError: a check fails, the loss is no number, memory runs out, or the end is not the plan's.
    """
    shutil.rmtree(host.scratch, ignore_errors=True)
    with memory_explained(work.train), host.last_checkpoint() as folder:
        state, records = read_state(folder) if folder is not None else (State(), [])
        if state.finished:
            return state
        check_rows(work.rows, work.tokenizer, work.train.cut_to)
        engine = start(
            lambda universal: Engine(work.source, work.train, work.seed, universal),
            folder,
            state,
            work.plan,
            work.plan_label,
            host.scratch.parent,
        )
        check_packing(engine, work.rows, int(work.tokenizer.pad_token_id), work.train.dtype)
        state = replace(state, world_size=host.world_size, zero_stage=engine.stage, plan=work.plan_label)
        state, records = _steps(work, host, engine, state, records)
        state.check(work.plan, at_end=True)
        if exports:
            _finish(work, host, engine, replace(state, finished=True), records)
    return state


def _steps(work: Work, host: Host, engine: Engine, state: State, records: Records) -> tuple[State, Records]:
    due, asked_at = Due(work.train), time.monotonic()
    warned = False
    flops = Flops.of(engine.student.model, frozen=work.train.lora is not None)
    sinks = host.sinks(records) if host.rank == 0 else []
    with closing(sinks):
        while state.step < len(work.plan):
            step = work.plan.step(state.step)
            asks = host.rank == 0 and time.monotonic() - asked_at > ASK_SECONDS
            record, by_minutes, asks = _step(work, host, engine, step, state.step, flops, due.by_minutes(), asks)
            records.append(record)
            for sink in sinks:
                sink.add(record)
            state = state.after(record["num_rows"], record["num_tokens"])
            leaving = False
            if asks and not warned:
                asked_at = time.monotonic()
                leaving = warned = host.is_leaving()
            if (due.by_steps(state.step) or by_minutes or leaving) and state.step < len(work.plan):
                _save(host, engine, state, records)
                due.saved()
    return state, records


def _step(
    work: Work, host: Host, engine: Engine, step: Step, number: int, flops: Flops, by_minutes: bool, asks: bool
) -> tuple[dict[str, Any], bool, bool]:
    """Take one optimizer step; return its record, and what worker 0 wants done after it: a checkpoint, a look at the nodes."""
    began = time.perf_counter()
    torch.manual_seed(keyed_draw(work.seed, "step", number, host.rank) % 2**31)  # dropout, where a student has any
    batches, rows = batches_of(work, step, host.rank, host.world_size)
    loss = engine.accumulate(batches, step.num_loss_tokens)
    counts = [len(rows), sum(work.rows.length(row) for row in rows), sum(int(work.rows.num_loss_tokens[row]) for row in rows)]
    told = torch.tensor([float(loss), *counts, *(float(flag and host.rank == 0) for flag in (by_minutes, asks))], dtype=torch.float64)
    told = told.to(engine.device)
    torch.distributed.all_reduce(told)
    value, num_rows, num_tokens, num_loss_tokens, wants_checkpoint, wants_look = told.tolist()
    if value != value or abs(value) == float("inf"):
        _raise_no_number(work, step, number, value)
    rate = learning_rate(number, len(work.plan), work.train)
    norm = engine.step(rate)
    seconds = time.perf_counter() - began
    peak = peak_flops()
    useful = flops.useful((work.rows.length(row) for pack in step.packs for row in pack), step.num_loss_tokens)
    room = len(step.packs) * (work.train.pack_tokens or work.train.max_tokens)
    record = {
        "step": number + 1, "loss": value, "grad_norm": norm, "learning_rate": rate,
        "num_rows": int(num_rows), "num_tokens": int(num_tokens), "num_loss_tokens": int(num_loss_tokens),
        "seconds": seconds, "tokens_per_second": num_tokens / seconds,
        "mfu": useful / seconds / (peak * host.world_size) if peak else None,
        "padding_share": 1 - step.num_tokens / room, "peak_memory_bytes": peak_memory_bytes(), "time": time.time(),
    }  # fmt: skip
    return record, bool(wants_checkpoint), bool(wants_look)


def batches_of(work: Work, step: Step, rank: int, world_size: int) -> tuple[list[Batch], list[int]]:
    """Return one worker's forward passes of a step, and the rows in them."""
    lengths = [[work.rows.length(row) for row in pack] for pack in step.packs]
    mine = passes(step.packs, lengths, world_size, work.train.micro_batch_tokens)[rank]
    pad_id = int(work.tokenizer.pad_token_id)
    batches = [collate([work.rows[row] for pack in packs for row in pack], pad_id) for packs in mine]
    return batches, [row for packs in mine for pack in packs for row in pack]


def _raise_no_number(work: Work, step: Step, number: int, value: float) -> None:
    ids = [work.rows.problem_ids[row].as_py() for pack in step.packs for row in pack]
    shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
    raise TrainingError(
        "The loss is no longer a number", seen=f"{value} at step {number + 1}, on the problems {shown}",
        do="look at these rows; lower train.learning_rate or train.max_grad_norm",
    )  # fmt: skip


def peak_memory_bytes() -> int:
    """Return the most memory this worker has held so far: of its GPU, or of its process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def memory_explained(train: Train) -> Any:
    """Tell what to change where memory runs out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        told = str(error).lower()
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "out of memory" not in told and "allocate memory" not in told:
            raise
        raise TrainingError(
            "A worker ran out of memory", seen=(str(error).strip() or "no more said").splitlines()[0], do=_memory_advice(train)
        ) from error


def _memory_advice(train: Train) -> str:
    """Return what to change, what costs least first."""
    packed = train.pack_tokens or train.max_tokens
    ways = []
    if train.micro_batch_tokens > packed:
        ways.append(f"lower train.micro_batch_tokens ({train.micro_batch_tokens}) to {max(packed, train.micro_batch_tokens // 2)}")
    if not train.gradient_checkpointing:
        ways.append("set train.gradient_checkpointing=true")
    if train.zero_stage < 3 and train.deepspeed is None:
        ways.append("set train.zero_stage=3 with more train.workers")
    if not train.offload_optimizer and train.deepspeed is None:
        ways.append("set train.offload_optimizer=true")
    if packed > train.max_tokens:
        ways.append(f"lower train.pack_tokens ({packed}) to train.max_tokens ({train.max_tokens})")
    if train.lora is None:
        ways.append("train adapters: train.lora.rank=8")
    return ", or ".join([*ways, f"lower train.max_tokens ({train.max_tokens})"])


def _save(host: Host, engine: Engine, state: State, records: Sequence[dict[str, Any]]) -> None:
    """Save a checkpoint: every worker its own part, merged by the host into one."""
    folder = host.scratch / f"step-{state.step}"
    folder.mkdir(parents=True)
    engine.save(folder)
    if host.rank == 0:
        write_state(folder, state, list(records))
    host.keep(folder, state)


def _finish(work: Work, host: Host, engine: Engine, state: State, records: Records) -> None:
    """Write the student's folder on rank 0 and hand it over as the last checkpoint."""
    folder = host.scratch / "finished"
    folder.mkdir(parents=True)
    export(engine, work, folder / STUDENT if host.rank == 0 else None)
    if host.rank == 0:
        write_tensorboard(folder / STUDENT / "tensorboard", records)
        write_state(folder, state, records)
    host.keep(folder if host.rank == 0 else None, state)
