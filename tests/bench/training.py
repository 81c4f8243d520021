"""The benchmarks of training: useful tokens a second of the real loop over others that train the same rows, in turns, on one processor.

    python tests/bench/run.py training

Useful are the tokens of rows; padding is not. Every side trains the same random Qwen2 in float32 with AdamW, from the same weights, for one
epoch over the same rows, in as many rows a step (ours: on average). The rows are a mixture's at alpha 0.2, everything a sixteenth as long.
What is timed is from the end of a side's first step to the end of its last: with making batches, the optimizer and telling of a step,
without loading, planning, tokenising, checks before the first step and exporting after the last. Time is the processor's, which the
neighbours on a shared machine do not change; the ratio by the clock on the wall is told besides.

- `ours`: `loop.train` on a `LoneHost` with a plan by tokens: DeepSpeed's engine, ZeRO 0. A sink takes the time of each record.
- `padded`: TRL's SFTTrainer as it comes: 8 rows a pass, padded to the longest. A callback takes the time of each step's end.
- `packed`: SFTTrainer with `packing=True` (best fit), one pack a pass. Without flash attention rows are told apart by positions alone, of
  which transformers makes a block-diagonal mask for torch's attention: nothing leaks, and what is masked is computed all the same.
- `grouped`: SFTTrainer with 8 rows a pass of about the same length, as `group_by_length` forms them among 20,000 rows. So few rows as
  these would be grouped badly: a sample of passes is drawn from transformers' own grouping of 20,000, and they are the rows of all sides.
- `bare`: the same modules and the same batches, made beforehand, in a loop of torch alone: what the stack costs.

A padded pass is at most as large, padding included, as `micro_batch_tokens` lets ours be; ours are smaller, since a step is.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import sides
from benchmark import ROUNDS, tell

TARGETS = {"padded": 3.0, "packed": 1.0, "grouped": 1.0, "bare": 0.9}
QUIET = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


@dataclass
class Side:
    """A side in its process."""

    process: subprocess.Popen[str]

    def train(self) -> sides.Clock:
        """Have it train once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError(f"a side ended: {self.process.args}")
        return sides.Clock(**json.loads(told))


@contextlib.contextmanager
def started(names: list[str], folder: str) -> Iterator[dict[str, Side]]:
    """Have a process of each side for the block."""
    environment = os.environ | QUIET
    subprocess.run([sys.executable, sides.__file__, "make", folder], check=True, env=environment)
    with contextlib.ExitStack() as stack:
        found = {}
        for name in names:
            log = stack.enter_context(open(f"{folder}/{name}.log", "w"))
            command = [sys.executable, sides.__file__, name, folder]
            process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=log, text=True, env=environment)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            found[name] = Side(process)
        yield found


def measure(rounds: int = ROUNDS) -> Iterator[dict[str, object]]:
    """Run every side in turns and tell the ratios of useful tokens a processor second."""
    clocks: dict[str, list[sides.Clock]] = {name: [] for name in ("ours", *TARGETS)}
    with tempfile.TemporaryDirectory(prefix="mixray-bench-") as folder, started(list(clocks), folder) as running:
        for _ in range(rounds + 1):
            for name, side in running.items():
                clocks[name].append(side.train())
    for name, target in TARGETS.items():
        pairs = list(zip(clocks["ours"], clocks[name], strict=True))[1:]
        told = tell(
            f"useful tokens a processor second, our training over {name}", [mine.rate() / its.rate() for mine, its in pairs], target
        )
        last = pairs[-1]
        yield told | {
            "met": told["met"] and all(as_much(*pair) for pair in pairs),
            "wall_ratio": round(statistics.median(mine.wall_rate() / its.wall_rate() for mine, its in pairs), 3),
            "tokens_per_second": [round(statistics.median(clock.rate() for clock in column)) for column in zip(*pairs, strict=True)],
            "useful_share": [round(clock.useful_share(), 3) for clock in last],
            "widest_pass_tokens": [clock.widest for clock in last],
            "load": round(os.getloadavg()[0], 1),
        }


def as_much(one: sides.Clock, other: sides.Clock) -> bool:
    """Whether two sides trained as many tokens and targets."""
    return sum(one.tokens) == sum(other.tokens) and sum(one.targets) == sum(other.targets)
