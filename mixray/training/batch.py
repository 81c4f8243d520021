"""From packs of rows to tensors, and the loss on them.

Packed rows are told apart by positions that start again at 0: transformers' attention masks (and variable-length kernels) let no
token look into another row. Shapes: B = packed sequences of one forward pass, T = tokens of the longest of them, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

IGNORED = -100


@dataclass(frozen=True)
class TokenRow:
    """One training example: its tokens, of which the last `num_loss_tokens` are trained."""

    ids: Sequence[int]
    num_loss_tokens: int


@dataclass(frozen=True)
class Batch:
    """Tensors of one forward pass, all [B, T]; `targets` holds the next token, or IGNORED."""

    ids_BT: torch.Tensor
    positions_BT: torch.Tensor
    targets_BT: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(self.ids_BT.to(device), self.positions_BT.to(device), self.targets_BT.to(device))


def collate(packs: Sequence[Sequence[TokenRow]], pad_id: int) -> Batch:
    """Lay packs of rows into tensors; no packs give one padding token that trains nothing."""
    lines = [_line(rows) for rows in packs] or [([pad_id], [0], [IGNORED])]
    width = max(len(ids) for ids, _, _ in lines)
    padded = [
        # Padding is a document of its own: its positions start at 0 again, so no row attends to it.
        (ids + [pad_id] * (width - len(ids)), positions + list(range(width - len(ids))), targets + [IGNORED] * (width - len(ids)))
        for ids, positions, targets in lines
    ]
    ids, positions, targets = (torch.tensor(column, dtype=torch.long) for column in zip(*padded, strict=True))
    return Batch(ids, positions, targets)


def _line(rows: Sequence[TokenRow]) -> tuple[list[int], list[int], list[int]]:
    ids: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    for row in rows:
        num_prompt_tokens = len(row.ids) - row.num_loss_tokens
        ids += row.ids
        positions += range(len(row.ids))
        # The token at t is trained to give the token at t + 1; the row's last token has no successor.
        targets += [IGNORED] * (num_prompt_tokens - 1) + list(row.ids[num_prompt_tokens:]) + [IGNORED]
    return ids, positions, targets


def loss_sum(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return the summed cross-entropy of the targets, in float32; a batch without targets gives zero with a gradient of zero."""
    logits_BTV = model(input_ids=batch.ids_BT, position_ids=batch.positions_BT, use_cache=False).logits
    keep_BT = batch.targets_BT != IGNORED
    if not bool(keep_BT.any()):
        return logits_BTV.float().sum() * 0.0
    return torch.nn.functional.cross_entropy(logits_BTV[keep_BT].float(), batch.targets_BT[keep_BT], reduction="sum")
