"""How much of a machine's arithmetic a training uses.

MFU = useful floating-point operations per second over the peak of the device. Useful are the matrix products on the tokens of rows, forward
and backward, and attention within a row as far as a token sees it: no padding, nothing that is computed twice to save memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

# Peak of dense bfloat16 products, from the vendors' data sheets.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "B200": 2250e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12, "4090": 165e12}


@dataclass(frozen=True)
class Flops:
    """Useful operations of a model's training pass."""

    body: int
    """Weights that every token is multiplied by."""
    head: int
    """Weights that a trained token is multiplied by, besides."""
    attention: int
    """Layers x heads x head size."""
    passes: int
    """Of 2 operations per weight: forward, the inputs' gradient, the weights' gradient (not of frozen ones)."""

    @classmethod
    def of(cls, model: PreTrainedModel, frozen: bool) -> Flops:
        """Count a model's weights; the embedding is looked up, not multiplied by, and a tied head is the same matrix."""
        config = model.config.get_text_config()
        total = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in model.parameters())
        table = config.vocab_size * config.hidden_size
        body = total - (table if config.tie_word_embeddings else 2 * table)
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(body, table, config.num_hidden_layers * heads * size, 2 if frozen else 3)

    def useful(self, lengths: Iterable[int], num_loss_tokens: int) -> float:
        """Return the useful operations on rows of these lengths, forward and backward."""
        tokens = squares = 0
        for length in lengths:
            tokens += length
            squares += length * length
        # Two products (scores, weighted values) of 2 operations over the half of a row's square that a token may see, thrice as weights.
        return 2.0 * self.passes * (self.body * tokens + self.head * num_loss_tokens) + 6.0 * self.attention * squares


def peak_flops() -> float | None:
    """Return the peak of this worker's device; None where there is no GPU, or one nobody wrote down."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
