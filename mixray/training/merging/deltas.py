"""Two students as differences from their base, and what becomes of the differences. Pure: one tensor of each in, one tensor out.

Linear is theta0 + alpha (hard - theta0) + (1 - alpha) (easy - theta0), the mixture's alpha moved from the rows to the weights.
TIES (Yadav et al. 2023) and DARE (Yu et al. 2024) thin the differences first, so that fewer of them meet. All in float32.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from mixray.recipe import Merging
from mixray.rows import keyed_draw

if TYPE_CHECKING:
    import torch

DRAWS_AT_ONCE = 1 << 22


def merged(
    name: str, hard: torch.Tensor, easy: torch.Tensor, base: torch.Tensor, how: Merging, alpha: float, seed: int
) -> torch.Tensor:  # fmt: skip
    """Return the merge of one tensor, in float32.

    Args:
        name: of the tensor; DARE's draws depend on it and on the seed alone, not on where the tensor lies.
        hard: the hard student's.
        easy: the easy student's.
        base: that of the model both were trained from.
        how: method and density.
        alpha: weight of the hard student.
        seed: of DARE's draws.
    """
    import torch

    hard, easy, base = (tensor.to(torch.float32) for tensor in (hard, easy, base))
    if how.method == "linear":  # the base cancels out; without it nothing is rounded twice, and both ends are exact
        return torch.lerp(easy, hard, alpha)
    if how.method == "ties":
        return base + ties(trimmed(hard - base, how.density), trimmed(easy - base, how.density), alpha)
    of_hard, of_easy = (thinned(tensor - base, how.density, seed, name, role) for tensor, role in ((hard, "hard"), (easy, "easy")))
    return base + torch.lerp(of_easy, of_hard, alpha)


def trimmed(delta: torch.Tensor, density: float) -> torch.Tensor:
    """Return the differences with all but the largest share `density` of them zero; of equal ones the first stay."""
    import torch

    flat = delta.flatten()
    keep = math.ceil(Fraction(repr(density)) * flat.numel())
    if keep == flat.numel():
        return delta
    size = flat.abs()
    smallest = torch.kthvalue(size, flat.numel() - keep + 1).values
    stays = size > smallest
    equal = size == smallest
    room = keep - int(stays.sum())
    stays |= equal if int(equal.sum()) == room else equal & (equal.cumsum(0) <= room)  # a sum for each number is eight bytes for each
    return torch.where(stays, flat, torch.zeros_like(flat)).reshape(delta.shape)


def ties(hard: torch.Tensor, easy: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return, number by number, the weighted mean of those differences that have the sign of the weighted sum."""
    import torch

    sign = torch.sign(torch.lerp(easy, hard, alpha))
    total, weight = torch.zeros_like(hard), torch.zeros_like(hard)
    for delta, share in ((hard, alpha), (easy, 1 - alpha)):
        agrees = (torch.sign(delta) == sign) & (sign != 0)
        total += torch.where(agrees, share * delta, torch.zeros_like(delta))
        weight += share * agrees
    return torch.where(weight > 0, total / weight.clamp(min=torch.finfo(torch.float32).tiny), torch.zeros_like(total))


def thinned(delta: torch.Tensor, density: float, seed: int, name: str, role: str) -> torch.Tensor:
    """Return the differences, each dropped with probability 1 - density and else divided by density: the same in the mean."""
    import torch

    if density == 1:
        return delta
    mask = torch.from_numpy(_kept(delta.numel(), density, keyed_draw(seed, "dare", role, name))).reshape(delta.shape)
    return torch.where(mask, delta / density, torch.zeros_like(delta))


def _kept(count: int, density: float, key: int) -> np.ndarray:
    """Return which numbers stay: raw draws of Philox, whose stream NumPy promises not to change."""
    draws = np.random.Philox(key=key)
    limit = np.uint64(min(int(Fraction(repr(density)) * 2**64), 2**64 - 1))
    kept = np.empty(count, dtype=bool)
    for start in range(0, count, DRAWS_AT_ONCE):
        part = kept[start : start + DRAWS_AT_ONCE]
        part[:] = draws.random_raw(len(part)) < limit
    return kept
