"""From packs of rows to the tensors of one forward pass.

All rows of a pass lie on end in one line, whatever their packs: there is no padding. Rows are told apart by where they end and by
positions that start again at 0.

Shapes: T = tokens of the pass, N = target tokens among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mixray.training.tokens import TokenRow


@dataclass(frozen=True)
class Batch:
    """Tensors of one forward pass: `ids_1T`, `positions_1T`; `places_N` of the tokens that predict, `targets_N` that they should."""

    ids_1T: torch.Tensor
    positions_1T: torch.Tensor
    places_N: torch.Tensor
    targets_N: torch.Tensor
    ends: tuple[int, ...]
    """For each row, the tokens up to its last one."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        ids, positions, places, targets = (tensor.to(device) for tensor in (self.ids_1T, self.positions_1T, self.places_N, self.targets_N))
        return Batch(ids, positions, places, targets, self.ends)


def collate(rows: Sequence[TokenRow], pad_id: int) -> Batch:
    """Lay rows on end; no rows give one padding token that trains nothing, for a worker that must take part."""
    if not rows:
        none = torch.zeros(0, dtype=torch.long)
        return Batch(torch.tensor([[pad_id]]), torch.zeros(1, 1, dtype=torch.long), none, none, (1,))
    lengths = np.array([len(row.ids) for row in rows])
    ends = np.cumsum(lengths)
    ids = np.concatenate([row.ids for row in rows]).astype(np.int64)
    positions = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    # The token at t predicts the one at t + 1; the row's last token has no successor.
    targets = np.concatenate([np.arange(end - row.num_loss_tokens, end) for row, end in zip(rows, ends, strict=True)])
    line = torch.from_numpy(ids)
    places = torch.from_numpy(targets)
    return Batch(line[None], torch.from_numpy(positions)[None], places - 1, line[places], tuple(ends.tolist()))
