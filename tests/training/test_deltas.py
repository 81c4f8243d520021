"""Merges against their definitions, worked out number by number in Python's own floats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixray.recipe import Merging
from mixray.training.merging.deltas import merged, thinned, ties, trimmed

VALUES = st.lists(st.integers(-8, 8), min_size=1, max_size=24)
# Eighths are exact in float32, so that what is worked out in float64 is what must come out.
WEIGHTS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
DENSITIES = st.sampled_from([0.1, 0.25, 0.5, 0.9, 1.0])


def tensor(numbers: list[float]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32) / 8


@st.composite
def three(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw a hard, an easy and a base tensor of one shape."""
    size = draw(st.integers(1, 24))
    return tuple(tensor(draw(st.lists(st.integers(-8, 8), min_size=size, max_size=size))) for _ in range(3))  # type: ignore[return-value]


@given(three(), WEIGHTS)
def test_linear_is_the_base_and_the_weighted_differences(models: tuple[torch.Tensor, ...], alpha: float) -> None:
    hard, easy, base = (model.double() for model in models)
    expected = base + alpha * (hard - base) + (1 - alpha) * (easy - base)
    found = merged("w", *models, Merging(), alpha, 0)
    assert found.dtype == torch.float32
    assert torch.equal(found.double(), expected)


@given(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32))
def test_linear_at_its_ends_is_one_student_to_the_bit(hard: float, easy: float) -> None:
    one, two, base = torch.tensor([hard]), torch.tensor([easy]), torch.tensor([0.1])
    assert torch.equal(merged("w", one, two, base, Merging(), 1.0, 0), one)
    assert torch.equal(merged("w", one, two, base, Merging(), 0.0, 0), two)


@given(VALUES, DENSITIES)
def test_trimming_keeps_the_largest_and_of_equals_the_first(values: list[int], density: float) -> None:
    keep = math.ceil(round(density * 100) * len(values) / 100)
    order = sorted(range(len(values)), key=lambda place: (-abs(values[place]), place))
    expected = [value if place in order[:keep] else 0 for place, value in enumerate(values)]
    assert (trimmed(tensor(values), density) * 8).tolist() == expected


@given(VALUES, st.data(), WEIGHTS)
def test_ties_is_the_mean_of_those_with_the_elected_sign(values: list[int], data: st.DataObject, alpha: float) -> None:
    others = data.draw(st.lists(st.integers(-8, 8), min_size=len(values), max_size=len(values)))
    found = (ties(tensor(values), tensor(others), alpha) * 8).tolist()
    for hard, easy, made in zip(values, others, found, strict=True):
        sign = np.sign(alpha * hard + (1 - alpha) * easy)
        agree = [(share, delta) for share, delta in ((alpha, hard), (1 - alpha, easy)) if sign and np.sign(delta) == sign and share]
        expected = sum(share * delta for share, delta in agree) / sum(share for share, _ in agree) if agree else 0
        assert made == pytest.approx(expected, rel=1e-6)


def test_ties_by_hand() -> None:
    """Two that agree are averaged by weight; of two that do not the weightier stays whole; what is trimmed has no say."""
    base = torch.zeros(4)
    hard, easy = torch.tensor([4.0, 4.0, 0.5, -3.0]), torch.tensor([2.0, -2.0, 6.0, -1.0])
    found = merged("w", hard, easy, base, Merging(method="ties", density=0.75), 0.5, 0)
    assert found.tolist() == [3.0, 4.0, 6.0, -3.0]


@given(st.integers(0, 2**31), DENSITIES)
def test_dare_drops_or_scales_and_nothing_else(seed: int, density: float) -> None:
    found = thinned(torch.ones(64), density, seed, "w", "hard")
    assert set(found.tolist()) <= {0.0, float(torch.ones(1) / density)}


def test_dare_keeps_its_share_and_its_mean_and_depends_on_name_seed_and_role_alone() -> None:
    ones = torch.ones(200, 1000)
    found = thinned(ones, 0.3, 7, "layer.weight", "hard")
    assert float((found != 0).float().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(found, thinned(ones, 0.3, 7, "layer.weight", "hard"))
    for other in (("layer.bias", 7, "hard"), ("layer.weight", 8, "hard"), ("layer.weight", 7, "easy")):
        assert not torch.equal(found, thinned(ones, 0.3, other[1], other[0], other[2]))


# Golden: another stream of draws would make other students of the same recipe; it needs a new MERGE_RULE.
def test_the_draws_of_dare_are_the_same_everywhere() -> None:
    kept = thinned(torch.ones(24), 0.5, 0, "model.embed_tokens.weight", "hard") != 0
    assert "".join(str(int(bit)) for bit in kept) == "011100011001101010100100"


@given(three(), WEIGHTS)
def test_methods_that_keep_everything(models: tuple[torch.Tensor, ...], alpha: float) -> None:
    linear = merged("w", *models, Merging(), alpha, 0)
    assert torch.equal(merged("w", *models, Merging(method="dare", density=1), alpha, 5), linear)
    same = merged("w", models[0], models[0], models[2], Merging(method="ties", density=1), alpha, 5)
    assert torch.allclose(same, models[0])
