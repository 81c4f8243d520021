"""How much of a mixture comes from each pool: by rows, by tokens and by the tokens that are trained.

Alpha is a share of rows; since hard traces are longer, their share of the tokens is larger, and the loss sees tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

COUNTS = {"rows": "row_share", "tokens": "token_share", "loss_tokens": "loss_token_share"}


def shares(examples: Iterable[Mapping[str, Any]], hard: str, easy: str) -> dict[str, Any]:
    """Return rows, tokens and loss tokens of each pool, and the hard pool's share of each.

    Args:
        examples: mappings with `pool`, `num_tokens` and `num_loss_tokens`.
        hard: the pool whose shares are told.
        easy: the other pool.
    """
    counts = {kind: {hard: 0, easy: 0} for kind in COUNTS}
    for example in examples:
        pool = example["pool"]
        counts["rows"][pool] += 1
        counts["tokens"][pool] += example["num_tokens"]
        counts["loss_tokens"][pool] += example["num_loss_tokens"]
    told: dict[str, Any] = dict(counts)
    for kind, share in COUNTS.items():
        total = sum(counts[kind].values())
        told[share] = counts[kind][hard] / total if total else 0.0
    return told
