"""The benchmark of packing: what training gains by not computing padding."""

from __future__ import annotations

import numpy as np
import torch
from benchmark import Benchmark
from transformers import Qwen2Config, Qwen2ForCausalLM

from mixray.rows import keyed_draw
from mixray.training import documents
from mixray.training.batch import collate
from mixray.training.packing import level
from mixray.training.student import Student
from mixray.training.tokens import TokenRow


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
        rows.append(TokenRow(np.array([3 + keyed_draw("bench", number, place) % 500 for place in range(length)], np.int32), length // 2))
    packs = level([(len(row.ids), number) for number, row in enumerate(rows)], 512, 1)

    def padded() -> None:
        model.set_attn_implementation("sdpa")
        model.zero_grad()
        for start in range(0, len(rows), 8):
            _padded_loss(model, rows[start : start + 8]).backward()

    def packed() -> None:
        model.set_attn_implementation(documents.register())
        model.zero_grad()
        student = Student(model)
        for start in range(0, len(packs), 8):
            student(collate([rows[row] for pack in packs[start : start + 8] for row in pack], 0)).backward()

    return Benchmark("packed training step over padded", 1.3, padded, packed)


def _padded_loss(model: torch.nn.Module, rows: list[TokenRow]) -> torch.Tensor:
    width = max(len(row.ids) for row in rows)
    ids, labels, mask = (torch.full((len(rows), width), fill) for fill in (0, -100, 0))
    for number, row in enumerate(rows):
        line = torch.from_numpy(row.ids.astype(np.int64))
        ids[number, : len(line)] = line
        mask[number, : len(line)] = 1
        labels[number, len(line) - row.num_loss_tokens : len(line)] = line[-row.num_loss_tokens :]
    return model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
