"""`make bench`: speed as ratios, both sides in one process and one run, interleaved, the first round thrown away.

Prints one JSON object per benchmark, `{"name", "ratio", "low", "high", "rounds", "target"}`: the median ratio with the smallest and the
largest seen. Ends with 1 where a median falls short of nine tenths of its target (shared machines are noisy).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from mixray.rows import keyed_draw
from mixray.tiny.problems import take
from mixray.tiny.styles import write
from mixray.training.batch import TokenRow, collate, loss_sum
from mixray.training.plan import pack

ROUNDS = 5
SLACK = 0.9


@dataclass(frozen=True)
class Benchmark:
    """Two ways to do the same work, and how many times faster ours should be."""

    name: str
    target: float
    baseline: Callable[[], object]
    ours: Callable[[], object]


def packing() -> Benchmark:
    """A training step's forward and backward on a mixture at alpha 0.2: packed against padded to the longest row."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=512, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3,
        max_position_embeddings=1024, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    rows = []
    for number in range(64):
        # Lengths like the tiny world's: one row in five is a long trace, five times as long.
        length = (300 if number % 5 == 0 else 60) + keyed_draw("bench", number) % 60
        rows.append(TokenRow([3 + keyed_draw("bench", number, place) % 500 for place in range(length)], length // 2))
    packs = pack([(len(row.ids), number) for number, row in enumerate(rows)], 512, 1)

    def step(lines: list[list[TokenRow]]) -> None:
        model.zero_grad()
        for start in range(0, len(lines), 8):
            loss_sum(model, collate(lines[start : start + 8], 0)).backward()

    return Benchmark(
        "packed training step over padded",
        1.3,
        lambda: step([[row] for row in rows]),
        lambda: step([[rows[row] for row in rows_] for rows_ in packs]),
    )


def verifying() -> Benchmark:
    """Judging tiny-world answers: our number path first, against Math-Verify called on every row."""
    from math_verify import parse
    from math_verify import verify as library_verify

    from mixray.verify import verify

    problems = take("train", 300, (2, 5), 0)
    responses = [write("short", problem) for problem in problems]
    golds = [str(problem.answer) for problem in problems]

    def library() -> None:
        for response, gold in zip(responses, golds, strict=True):
            if not library_verify(parse(gold), parse(response)):
                raise AssertionError(response)

    return Benchmark("verdicts on whole numbers over Math-Verify serially", 4.0, library, lambda: verify(responses, golds))


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(benchmark: Benchmark) -> dict[str, object]:
    """Run both sides in turns and return the ratio's median and range."""
    ratios = [seconds(benchmark.baseline) / seconds(benchmark.ours) for _ in range(ROUNDS + 1)][1:]
    return {
        "name": benchmark.name,
        "ratio": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "rounds": ROUNDS,
        "target": benchmark.target,
    }


def main() -> int:
    """Print every benchmark's result; 1 where one falls short."""
    short = False
    for make in (packing, verifying):
        result = measure(make())
        print(json.dumps(result), flush=True)
        short |= float(str(result["ratio"])) < float(str(result["target"])) * SLACK
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
