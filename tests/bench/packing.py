"""The benchmark of packing: what training gains by not computing padding."""

from __future__ import annotations

import torch
from benchmark import Benchmark
from transformers import Qwen2Config, Qwen2ForCausalLM

from mixray.rows import keyed_draw
from mixray.training.batch import TokenRow, collate, loss_sum
from mixray.training.plan import pack


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
