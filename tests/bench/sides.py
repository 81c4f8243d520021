"""The sides of the benchmarks of training: the real loop, TRL's trainer in three ways, a loop of torch alone; all train the same rows.

Every side gives a `Clock`: when each of its steps ended and what had been trained by then. Every side lives in a process of its own, on one
thread: two trainers in one process would share process groups and settings, and threads that wait for one another tell of the neighbours on
the machine rather than of the work.

    python tests/bench/sides.py make|ours|bare|padded|packed|grouped <folder>
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mixray.recipe import Train
from mixray.training import made_up
from mixray.training.tokens import TokenRow, TokenRows

SMALLER = 16
PACK_TOKENS = made_up.CAP // SMALLER
PASS_ROWS, STEP_PASSES = 8, 6
NUM_PASSES = 24
GROUPED_FROM = 20_000
ALPHA = 0.2
RATE = 1e-4
WORLD = "world.pickle"
TRL: dict[str, dict[str, Any]] = {
    "padded": {"per_device_train_batch_size": PASS_ROWS, "gradient_accumulation_steps": STEP_PASSES},
    "packed": {"packing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
    "grouped": {
        "per_device_train_batch_size": PASS_ROWS, "gradient_accumulation_steps": STEP_PASSES, "train_sampling_strategy": "sequential",
        "shuffle_dataset": False,
    },
}  # fmt: skip


@dataclass
class Clock:
    """When each step ended, and what was trained in it."""

    ended: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    """Processor seconds of the process up to then."""
    tokens: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    computed: int = 0
    """Tokens of all passes, padding included."""
    widest: int = 0
    """Those of the largest."""

    def stamp(self, tokens: int, targets: int) -> None:
        """Write down the end of a step."""
        self.ended.append(time.perf_counter())
        self.spent.append(time.process_time())
        self.tokens.append(tokens)
        self.targets.append(targets)

    def rate(self) -> float:
        """Return the useful tokens a processor second, the first step left out."""
        return sum(self.tokens[1:]) / (self.spent[-1] - self.spent[0])

    def wall_rate(self) -> float:
        """Return the same by the clock on the wall."""
        return sum(self.tokens[1:]) / (self.ended[-1] - self.ended[0])

    def count(self, computed: int) -> None:
        """Write down a pass."""
        self.computed += computed
        self.widest = max(self.widest, computed)

    def useful_share(self) -> float:
        """Return which share of what was computed is tokens of rows."""
        return sum(self.tokens) / self.computed


@dataclass(frozen=True)
class World:
    """What all sides are given: a folder with a model and its tokenizer, and rows, eight after eight of about the same length."""

    folder: Path
    rows: list[TokenRow]
    tokenizer: Any

    def settings(self, zero_stage: int = 0) -> Train:
        """Return the settings of our side; a pass may be as large as padding could make one."""
        return Train(
            epochs=1, learning_rate=RATE, batch_tokens=4 * PACK_TOKENS, max_tokens=PACK_TOKENS, dtype="float32", zero_stage=zero_stage,
            micro_batch_tokens=PASS_ROWS * max(len(row.ids) for row in self.rows), checkpoint_every_steps=None,
            checkpoint_every_minutes=None,
        )  # fmt: skip


def make(folder: Path) -> World:
    """Write a model with random weights and draw the rows."""
    from transformers import Qwen2ForCausalLM

    from mixray.tiny.tokenizer import save_tokenizer

    tokenizer = save_tokenizer(folder)
    config = made_up.config_of("tiny", PACK_TOKENS)
    config.pad_token_id, config.eos_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id, None
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return World(folder, made_up.rows(grouped_lengths(), config.vocab_size, tokenizer.eos_token_id), tokenizer)


def grouped_lengths() -> list[int]:
    """Return the lengths of every so-manieth pass, from the shortest to the longest, that transformers forms by length of many rows."""
    from transformers.trainer_pt_utils import get_length_grouped_indices

    drawn = made_up.lengths(ALPHA, GROUPED_FROM, PACK_TOKENS)
    order = get_length_grouped_indices(drawn.tolist(), PASS_ROWS * STEP_PASSES, generator=torch.Generator().manual_seed(0))
    passes = sorted(drawn[order].reshape(-1, PASS_ROWS).tolist(), key=max)
    every = len(passes) // NUM_PASSES
    chosen = passes[every // 2 :: every][:NUM_PASSES]
    # Steps of passes from all over, so that the first, which is not timed, is like the others.
    return [length for start in range(STEP_PASSES) for one in chosen[start::STEP_PASSES] for length in one]


def ours(world: World, zero_stage: int = 0) -> Clock:
    """Train with mixray's loop; the process group must be up (DeepSpeed bears one in a process's life)."""
    from mixray.training import alone, loop

    clock = Clock()
    train = world.settings(zero_stage)
    work = _work(world, train)
    for step in map(work.plan.step, range(len(work.plan))):
        for batch in loop.batches_of(work, step, 0, 1)[0]:
            clock.count(batch.ids_1T.numel())
    folder = world.folder / "ours"
    loop.train(work, alone.LoneHost(folder, [_Stamps(clock)]))
    shutil.rmtree(folder)
    return clock


class _Stamps:
    """A sink that takes the time of each record."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def add(self, record: dict[str, Any]) -> None:
        self.clock.stamp(record["num_tokens"], record["num_loss_tokens"])

    def close(self) -> None:
        pass


def _work(world: World, train: Train) -> Any:
    from mixray.training.loop import Work

    plan = made_up.plan_of(world.rows, train)
    return Work("bench", "bench", plan, TokenRows.of(world.rows), world.tokenizer, "bench", str(world.folder), train, 0)


def bare(world: World) -> Clock:
    """Train with torch alone, in the steps and passes of mixray's plan."""
    from mixray.training.loop import batches_of
    from mixray.training.student import load_student

    train = world.settings()
    work = _work(world, train)
    steps = [work.plan.step(number) for number in range(len(work.plan))]
    of_steps = [batches_of(work, step, 0, 1)[0] for step in steps]
    student = load_student(work.source, train)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.0)
    clock = Clock()
    for step, batches in zip(steps, of_steps, strict=True):
        for batch in batches:
            (student(batch) / step.num_loss_tokens).backward()
            clock.count(batch.ids_1T.numel())
        torch.nn.utils.clip_grad_norm_(student.parameters(), train.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        clock.stamp(step.num_tokens, step.num_loss_tokens)
    return clock


def trl(side: str, world: World) -> Clock:
    """Train with TRL's trainer, in one of the ways of `TRL`."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock = Clock()
    told = [0, 0]

    class Counting(SFTTrainer):
        def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *further: Any, **named: Any) -> torch.Tensor:
            mask = inputs.get("attention_mask")
            clock.count(inputs["input_ids"].numel())
            told[0] += int(inputs["input_ids"].numel() if mask is None else mask.sum())
            told[1] += int((inputs["labels"] != -100).sum())
            return super().training_step(model, inputs, *further, **named)

    class Stamps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.stamp(*told)
            told[:] = 0, 0

    masks = [[0] * (len(row.ids) - row.num_loss_tokens) + [1] * row.num_loss_tokens for row in world.rows]
    rows = Dataset.from_dict({"input_ids": [row.ids.tolist() for row in world.rows], "completion_mask": masks})
    settings = SFTConfig(
        output_dir=str(world.folder / "trl"), num_train_epochs=1, learning_rate=RATE, lr_scheduler_type="cosine", weight_decay=0.0,
        max_grad_norm=1.0, optim="adamw_torch", max_length=PACK_TOKENS, completion_only_loss=True, activation_checkpointing=False,
        bf16=False, use_cpu=True, logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True, **TRL[side],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(world.folder, dtype=torch.float32)
    trainer = Counting(model, args=settings, train_dataset=rows, processing_class=world.tokenizer, callbacks=[Stamps()])
    trainer.train()
    return clock


def main(side: str, folder: Path) -> None:
    """Make the world, or train one side each time a line comes in, and answer with its clock as a line of JSON."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    if side == "make":
        (folder / WORLD).write_bytes(pickle.dumps(make(folder)))
        return
    world: World = pickle.loads((folder / WORLD).read_bytes())
    with contextlib.ExitStack() as stack:
        if side == "ours":
            from mixray.training import alone

            stack.enter_context(alone.process_group())
        train: Callable[[World], Clock] = {"ours": ours, "bare": bare}.get(side) or functools.partial(trl, side)
        for _ in sys.stdin:
            print(json.dumps(asdict(train(world))), file=answers, flush=True)


if __name__ == "__main__":
    sys.modules["sides"] = sys.modules[__name__]  # what was pickled is looked up by this name
    main(sys.argv[1], Path(sys.argv[2]))
