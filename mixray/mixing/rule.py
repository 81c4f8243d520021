"""A blend at one alpha with its seed: what every choice of a mixture is made by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mixray.mixing import dealing
from mixray.recipe import Blend


@dataclass(frozen=True)
class Rule:
    """A blend at one alpha, with its seed."""

    blend: Blend
    shares: tuple[Fraction, ...]
    seed: int

    @property
    def rounds_up(self) -> bool:
        """Alpha is a share of which ceil(alpha * rows) are taken; shares by name are met by largest remainder."""
        return self.blend.pools is None and not self.blend.stages

    @property
    def is_ordered(self) -> bool:
        """Whether training keeps an order of the rows, rather than shuffle them all."""
        return bool(self.blend.stages) or self.blend.order != "shuffled"

    def counts(self, total: int) -> list[int]:
        """Return each pool's rows of a mixture of `total` rows."""
        return dealing.counts(self.shares, total, self.rounds_up)

    def quotas(self, total: int) -> Sequence[Fraction | int]:
        """Return what each pool is to bring to a total of rows or tokens."""
        return self.counts(total) if self.blend.by == "rows" else [share * total for share in self.shares]
