"""The batch plan: what a training does is decided before any worker starts."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.errors import TrainingError
from mixray.training.plan import Step, batch_plan, pack, slices

# sha256 of the steps of `golden_plan`, as JSON; a change of it changes what every recipe trains.
GOLDEN = "c68e2cf959fed9fc85b77b62a9b13b3efd1563d6a7cbea4c2c07984ab8b7d26b"

lengths = st.lists(st.integers(min_value=2, max_value=64), min_size=1, max_size=60)


def plan_of(tokens: list[int], **changes: int) -> list[Step]:
    settings = {"epochs": 2, "batch_rows": 8, "pack_tokens": 64, "packs_multiple": 2, "seed": 0} | changes
    return batch_plan([f"row-{i}" for i in range(len(tokens))], tokens, [1] * len(tokens), **settings)


@given(tokens=lengths, batch_rows=st.integers(1, 20), multiple=st.integers(1, 4))
def test_every_epoch_holds_every_row_once(tokens: list[int], batch_rows: int, multiple: int) -> None:
    steps = plan_of(tokens, batch_rows=batch_rows, packs_multiple=multiple)
    per_epoch = len(steps) // 2
    for epoch in (steps[:per_epoch], steps[per_epoch:]):
        rows = [row for step in epoch for packed in step.packs for row in packed]
        assert sorted(rows) == list(range(len(tokens)))


@given(tokens=lengths, multiple=st.integers(1, 4))
def test_no_pack_is_over_full_or_empty(tokens: list[int], multiple: int) -> None:
    packs = pack([(length, row) for row, length in enumerate(tokens)], 64, multiple)
    assert all(0 < sum(tokens[row] for row in packed) <= 64 for packed in packs)
    assert len(packs) % multiple == 0 or len(packs) == len(tokens)


@given(num_packs=st.integers(1, 20), world_size=st.integers(1, 5), per_forward=st.integers(1, 4))
def test_workers_share_a_step_whole_and_run_as_many_passes(num_packs: int, world_size: int, per_forward: int) -> None:
    packs = [(number,) for number in range(num_packs)]
    shares = [slices(packs, rank, world_size, per_forward) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(packed for share in shares for forward in share for packed in forward) == packs


def test_a_curriculum_keeps_its_order_in_every_epoch() -> None:
    steps = batch_plan(list("abcdef"), [9] * 6, [1] * 6, epochs=2, batch_rows=2, pack_tokens=9, packs_multiple=1, seed=3, keeps_order=True)
    assert [sorted(row for packed in step.packs for row in packed) for step in steps] == [[0, 1], [2, 3], [4, 5]] * 2


def test_order_depends_on_ids_and_seed_not_on_where_a_row_stands() -> None:
    ids = [f"row-{number}" for number in range(50)]
    tokens = [10 + number % 7 for number in range(50)]
    settings = {"epochs": 1, "batch_rows": 1, "pack_tokens": 64, "packs_multiple": 1}
    forward = [ids[step.packs[0][0]] for step in batch_plan(ids, tokens, [1] * 50, seed=3, **settings)]
    turned = ids[::-1]
    backward = [turned[step.packs[0][0]] for step in batch_plan(turned, tokens[::-1], [1] * 50, seed=3, **settings)]
    other_seed = [ids[step.packs[0][0]] for step in batch_plan(ids, tokens, [1] * 50, seed=4, **settings)]
    assert forward == backward
    assert forward != other_seed


def test_rows_that_cannot_be_trained_are_refused() -> None:
    with pytest.raises(TrainingError, match="longer than a packed sequence"):
        plan_of([65])
    with pytest.raises(TrainingError, match="trains no token"):
        batch_plan(["a"], [3], [0], epochs=1, batch_rows=1, pack_tokens=8, packs_multiple=1, seed=0)


def test_golden_plan() -> None:
    tokens = [5 + (number * 37) % 60 for number in range(100)]
    steps = [[list(map(list, step.packs)), step.num_loss_tokens] for step in plan_of(tokens)]
    assert hashlib.sha256(json.dumps(steps).encode()).hexdigest() == GOLDEN
