"""How fast this machine trains: the real loop on random weights of a real shape, on packed rows as long as teachers write them.

    python -m mixray.training.bench --shape 1.5b
    torchrun --nproc-per-node=2 -m mixray.training.bench --shape tiny --json

Prints tokens a second, useful operations a second and their share of the device's peak (MFU: see `flops`), the seconds of a step and the
most memory a worker held. Steps are timed from the end of one to the end of the next, so that everything between counts; the first few, in
which kernels are built and memory is found, do not. No Ray is started or imported, and no student is written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from mixray.errors import MixrayError, RecipeError
from mixray.recipe import Train
from mixray.recipe_file import parse_part
from mixray.training import made_up
from mixray.training.alone import LoneHost, process_group
from mixray.training.flops import Flops, peak_flops
from mixray.training.tokens import TokenRows

if TYPE_CHECKING:  # DeepSpeed prints when it is imported, which should happen where nothing else is printed
    from mixray.training.loop import Work

CPU_TOKENS = 1024
"""Of a pack of `tiny`, unless told otherwise."""


@dataclass
class Stopwatch:
    """A sink that takes the time of each record."""

    ended: list[float] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, record: dict[str, Any]) -> None:
        """Take a step's record."""
        self.ended.append(time.perf_counter())
        self.records.append(record)

    def close(self) -> None:
        """Nothing waits."""


def settings(asked: argparse.Namespace) -> Train:
    """Return the recipe's `train` block of what was asked; checkpoints would be timed, so there are none.

    Raises:
        RecipeError: a setting is wrong.
    """
    on_gpu = torch.cuda.is_available()
    given: dict[str, Any] = {
        "epochs": 1, "max_tokens": asked.tokens, "micro_batch_tokens": asked.tokens, "batch_tokens": asked.packs * asked.tokens,
        "zero_stage": asked.zero, "dtype": "bfloat16" if on_gpu else "float32", "gradient_checkpointing": on_gpu, "use_gpu": on_gpu,
        "checkpoint_every_steps": sys.maxsize, "checkpoint_every_minutes": sys.maxsize,
    }  # fmt: skip
    return parse_part(Train, given | dict(_named(setting) for setting in asked.set))


def _named(setting: str) -> tuple[str, Any]:
    name, equals, value = setting.partition("=")
    if not equals:
        raise RecipeError("A setting has no value", seen=setting, rule="name=value", do="for example --set optimizer=sgd")
    try:
        return name.removeprefix("train."), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError("A setting is not valid YAML", seen=setting, rule=str(error).splitlines()[0]) from error


def make_work(folder: Path, asked: argparse.Namespace, train: Train) -> Work:
    """Return as many steps of full packs as were asked for, over rows and weights of chance."""
    from mixray.training.loop import Work

    config = made_up.config_of(asked.shape, asked.tokens)
    tokenizer = made_up.tokenizer()
    made_up.write_model(folder, config)
    num_steps, per_step = asked.warmup + asked.steps, train.batch_tokens or 0
    drawn = made_up.lengths(asked.alpha, 1, train.max_tokens, asked.seed)
    while drawn.sum() < (num_steps + 1) * per_step:  # one step more than needed: the last of an epoch is not full
        drawn = made_up.lengths(asked.alpha, 2 * len(drawn), train.max_tokens, asked.seed)
    rows = made_up.rows(drawn, config.vocab_size, int(tokenizer.eos_token_id), asked.seed)
    plan = made_up.plan_of(rows, train, asked.seed, num_steps)
    return Work("bench", "bench", plan, TokenRows.of(rows), tokenizer, asked.shape, str(folder), train, asked.seed)


def measure(asked: argparse.Namespace) -> dict[str, Any] | None:
    """Train as asked; return what rank 0 saw, and nothing on the others.

    Raises:
        RecipeError: a setting is wrong.
        TrainingError: memory runs out.
    """
    from mixray.training import loop

    train, watch = settings(asked), Stopwatch()
    with process_group(), tempfile.TemporaryDirectory(prefix="mixray-bench-") as name:
        work = make_work(Path(name), asked, train)
        host = LoneHost(Path(name), [watch])
        loop.train(work, host, exports=False)
        return told(asked, work, watch, host.world_size) if host.rank == 0 else None


def told(asked: argparse.Namespace, work: Work, watch: Stopwatch, world_size: int) -> dict[str, Any]:
    """Return the figures of the steps after the warm-up."""
    flops = Flops.of(made_up.empty_model(made_up.config_of(asked.shape, asked.tokens)), frozen=work.train.lora is not None)
    seconds = [end - start for start, end in pairwise(watch.ended[asked.warmup - 1 :])]
    steps = [work.plan.step(number) for number in range(asked.warmup, len(work.plan))]
    useful = [flops.useful((work.rows.length(row) for pack in step.packs for row in pack), step.num_loss_tokens) for step in steps]
    per_second = sum(useful) / sum(seconds) / world_size
    peak = asked.peak_tflops * 1e12 if asked.peak_tflops else peak_flops()
    return {
        "shape": asked.shape, "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu", "workers": world_size,
        "threads": torch.get_num_threads(), "zero_stage": work.train.zero_stage, "dtype": work.train.dtype,
        "gradient_checkpointing": work.train.gradient_checkpointing, "pack_tokens": asked.tokens, "packs_per_step": asked.packs,
        "steps": len(seconds), "tokens_per_second": sum(step.num_tokens for step in steps) / sum(seconds),
        "tflops_per_worker": per_second / 1e12, "peak_tflops": peak / 1e12 if peak else None, "mfu": per_second / peak if peak else None,
        "step_seconds": statistics.median(seconds), "step_seconds_low": min(seconds), "step_seconds_high": max(seconds),
        "padding_share": statistics.mean(record["padding_share"] for record in watch.records),
        "peak_memory_bytes": watch.records[-1]["peak_memory_bytes"], "torch": torch.__version__,
    }  # fmt: skip


def show(figures: dict[str, Any]) -> str:
    """Return the figures in words."""
    share = "MFU not known: nobody wrote down this device's peak (--peak-tflops)"
    if figures["mfu"] is not None:
        share = f"MFU {figures['mfu']:.1%} of {figures['peak_tflops']:.0f} TFLOP/s"
    return "\n".join(
        (
            f"{figures['shape']} on {figures['workers']} x {figures['device']}, {figures['dtype']}, ZeRO {figures['zero_stage']}, "
            f"packs of {figures['pack_tokens']:,} tokens, {figures['packs_per_step']} a step, {figures['padding_share']:.2%} padding",
            f"{figures['tokens_per_second']:,.0f} tokens a second; {figures['tflops_per_worker']:.3g} TFLOP/s a worker; {share}",
            f"{figures['step_seconds']:.3g} s a step ({figures['step_seconds_low']:.3g} to {figures['step_seconds_high']:.3g}, "
            f"{figures['steps']} steps); {figures['peak_memory_bytes'] / 2**30:.2f} GiB at most",
        )
    )


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m mixray.training.bench", description="How fast this machine trains.")
    parser.add_argument("--shape", choices=list(made_up.SHAPES), default="0.5b" if torch.cuda.is_available() else "tiny")
    parser.add_argument("--tokens", type=_positive, help="of a pack; rows are shorter where it is (16384, or 1024 for tiny)")
    parser.add_argument("--packs", type=_positive, default=8, help="packs of a step, over all workers")
    parser.add_argument("--steps", type=_positive, default=8, help="steps that are timed")
    parser.add_argument("--warmup", type=_positive, default=3, help="steps before them")
    parser.add_argument("--zero", type=int, choices=range(4), default=1, help="ZeRO stage")
    parser.add_argument("--alpha", type=float, default=0.2, help="share of long rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak-tflops", type=float, help="of one device, where it is not known or not wanted")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting of a recipe's train block")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    asked = parser.parse_args(given)
    asked.tokens = asked.tokens or (CPU_TOKENS if asked.shape == "tiny" else made_up.CAP)
    return asked


def _positive(value: str) -> int:
    if int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return int(value)


def main(given: Sequence[str]) -> int:
    """Measure and print; 1 where an error ends it."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # it would list every weight that it draws
    logging.disable_progress_bar()
    asked = arguments(given)
    try:
        with _stdout_to_stderr():
            figures = measure(asked)
    except MixrayError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if figures is not None:
        print(json.dumps(figures) if asked.json else show(figures), flush=True)
    return 0


@contextlib.contextmanager
def _stdout_to_stderr() -> Any:
    """Keep what libraries print apart from the figures."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
