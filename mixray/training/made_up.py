"""Work for measuring: students of real shapes with random weights, rows of random tokens as long as teachers write them.

In: a shape's name, lengths. Out: a model folder of a few hundred bytes whose weights transformers draws when it loads it, and rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, Qwen2Config

from mixray.chat import load_tokenizer
from mixray.models import resolve
from mixray.recipe import Train
from mixray.training.plan import Plan, Sizes, batch_plan, plan_table
from mixray.training.tokens import TokenRow

# Qwen2.5's: width, width of the feed-forward, layers, query heads, key and value heads, vocabulary. `tiny` fits a CPU.
SHAPES = {
    "0.5b": (896, 4864, 24, 14, 2, 151936),
    "1.5b": (1536, 8960, 28, 12, 2, 151936),
    "3b": (2048, 11008, 36, 16, 2, 151936),
    "tiny": (256, 704, 4, 4, 2, 4096),
}
MEDIANS = (450, 4_000)
"""Tokens of a short and of a long trace, at the middle of log-normal lengths."""
SPREAD = 0.6
CAP = 16_384
"""The longest row; where packs are smaller, all rows are shorter by as much."""
PROMPT_SHARE = 1 / 16
"""Of a row's tokens, those that are not trained."""
TOKENIZER = "tiny:student-s"


def lengths(alpha: float, count: int, cap: int = CAP, seed: int = 0) -> NDArray[np.int64]:
    """Return how many tokens each of so many rows has, a share alpha of them long, none of more than `cap`."""
    draws = np.random.default_rng(seed)
    medians = np.where(draws.permutation(count) < round(alpha * count), MEDIANS[1], MEDIANS[0])
    drawn = medians * np.exp(draws.normal(0.0, SPREAD, count)) * (cap / CAP)
    return np.clip(drawn, 4, cap).astype(np.int64)


def prompt_of(length: int) -> int:
    """Return how many of a row's tokens are its prompt's."""
    return max(1, round(length * PROMPT_SHARE))


def rows(of_lengths: NDArray[np.int64] | Sequence[int], vocab_size: int, end: int, seed: int = 0) -> list[TokenRow]:
    """Return rows of random tokens, each closed by the end of turn."""
    draws = np.random.default_rng(seed)
    found = []
    for length in map(int, of_lengths):
        ids = draws.integers(3, vocab_size, length).astype(np.int32)
        ids[-1] = end
        found.append(TokenRow(ids, length - prompt_of(length)))
    return found


def plan_of(of_rows: Sequence[TokenRow], train: Train, seed: int = 0, num_steps: int | None = None) -> Plan:
    """Return the plan by tokens of rows, or its first steps."""
    ids = [str(number) for number in range(len(of_rows))]
    counts = [len(row.ids) for row in of_rows], [row.num_loss_tokens for row in of_rows]
    sizes = Sizes(None, train.batch_tokens, train.pack_tokens or train.max_tokens)
    return Plan(plan_table(list(batch_plan(ids, *counts, sizes, seed=seed))[:num_steps]))


def config_of(shape: str, max_tokens: int) -> Qwen2Config:
    """Return the configuration of a shape."""
    width, inner, layers, heads, key_heads, vocabulary = SHAPES[shape]
    return Qwen2Config(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=key_heads, max_position_embeddings=max_tokens, tie_word_embeddings=True,
    )  # fmt: skip


def write_model(folder: Path, config: Qwen2Config) -> None:
    """Write a model folder that holds one norm: transformers draws what it misses, so that no gigabytes of chance pass a disk."""
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(folder)
    save_file({"model.norm.weight": torch.ones(config.hidden_size)}, folder / "model.safetensors", metadata={"format": "pt"})


def empty_model(config: Qwen2Config) -> PreTrainedModel:
    """Return a model without memory, to count its weights."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer, of which training takes the padding and the end of turn alone."""
    loaded: Any = load_tokenizer(resolve(TOKENIZER))
    return loaded
