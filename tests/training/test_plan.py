"""The batch plan: what a training does is decided before any worker starts."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.errors import TrainingError
from mixray.training.layout import passes
from mixray.training.packing import best_fit, level
from mixray.training.plan import Plan, Sizes, Step, batch_plan, efficiency, plan_table

# sha256 of the steps of the golden plans, as JSON; a change of one changes what every recipe trains.
GOLDEN_BY_ROWS = "c68e2cf959fed9fc85b77b62a9b13b3efd1563d6a7cbea4c2c07984ab8b7d26b"
GOLDEN_BY_TOKENS = "28bb857f5c51c017d3ac5d22bd27aa18e5224f9f0c40e4f78084fe1673af6324"

lengths = st.lists(st.integers(min_value=2, max_value=64), min_size=1, max_size=60)
BY_ROWS = Sizes(batch_rows=8, batch_tokens=None, pack_tokens=64, epochs=2, packs_multiple=2)
BY_TOKENS = Sizes(batch_rows=None, batch_tokens=192, pack_tokens=64, epochs=2)


def plan_of(tokens: list[int], sizes: Sizes, seed: int = 0, stretches: Sequence[int] = ()) -> list[Step]:
    ids = [f"row-{number}" for number in range(len(tokens))]
    return list(batch_plan(ids, tokens, [1] * len(tokens), sizes, seed=seed, stretches=stretches))


def rows_of(steps: list[Step]) -> list[int]:
    return [row for step in steps for pack in step.packs for row in pack]


@given(tokens=lengths, batch_rows=st.integers(1, 20), multiple=st.integers(1, 4))
def test_every_epoch_holds_every_row_once_by_rows(tokens: list[int], batch_rows: int, multiple: int) -> None:
    steps = plan_of(tokens, Sizes(batch_rows, None, 64, 2, multiple))
    per_epoch = len(steps) // 2
    for epoch in (steps[:per_epoch], steps[per_epoch:]):
        assert sorted(rows_of(epoch)) == list(range(len(tokens)))


@given(tokens=lengths, packs_per_step=st.integers(1, 5), is_ordered=st.booleans())
def test_every_epoch_holds_every_row_once_by_tokens(tokens: list[int], packs_per_step: int, is_ordered: bool) -> None:
    steps = plan_of(tokens, Sizes(None, 64 * packs_per_step, 64, 2), stretches=[1] * len(tokens) if is_ordered else ())
    assert rows_of(steps).count(0) == 2
    assert sorted(rows_of(steps)) == sorted([*range(len(tokens))] * 2)
    assert all(len(step.packs) <= packs_per_step for step in steps)
    assert all(step.num_tokens == sum(tokens[row] for pack in step.packs for row in pack) for step in steps)


@given(tokens=lengths, multiple=st.integers(1, 4))
def test_no_pack_is_over_full_or_empty(tokens: list[int], multiple: int) -> None:
    sized = [(length, row) for row, length in enumerate(tokens)]
    levelled = level(sized, 64, multiple)
    for packs in (levelled, best_fit(sized, 64)):
        assert all(0 < sum(tokens[row] for row in packed) <= 64 for packed in packs)
    assert len(levelled) % multiple == 0 or len(levelled) == len(tokens)


@given(tokens=lengths)
def test_best_fit_puts_each_row_where_it_leaves_the_least_room(tokens: list[int]) -> None:
    """Against the rule written out: look at every pack."""
    room: list[int] = []
    for length in sorted(tokens, reverse=True):
        fitting = [left for left in room if left >= length]
        left = min(fitting) if fitting else 64
        if fitting:
            room.remove(left)
        room.append(left - length)
    packs = best_fit([(length, row) for row, length in enumerate(tokens)], 64)
    assert sorted(64 - sum(tokens[row] for row in pack) for pack in packs) == sorted(room)


@pytest.mark.parametrize("alpha", [0, 0.2, 0.5, 1])
def test_packs_are_full_at_every_mix_of_long_and_short(alpha: float) -> None:
    """Lengths as teachers write them: medians of 4,000 and 450 tokens, at most 16,384."""
    draws = random.Random(0)
    medians = [4000 if draws.random() < alpha else 450 for _ in range(8000)]
    tokens = [min(16384, max(16, int(draws.lognormvariate(math.log(median), 0.6)))) for median in medians]
    steps = plan_of(tokens, Sizes(None, 8 * 16384, 16384))
    assert efficiency(steps, 16384) >= 0.99


@given(tokens=lengths, world_size=st.integers(1, 5), micro_batch_tokens=st.sampled_from([1, 64, 150]))
def test_workers_share_a_step_whole_and_run_as_many_passes(tokens: list[int], world_size: int, micro_batch_tokens: int) -> None:
    packs = level([(length, row) for row, length in enumerate(tokens)], 64, 1)
    of_packs = [[tokens[row] for row in pack] for pack in packs]
    shares = passes(packs, of_packs, world_size, micro_batch_tokens)
    assert len({len(share) for share in shares}) == 1
    assert sorted(pack for share in shares for forward in share for pack in forward) == sorted(packs)
    for forward in (forward for share in shares for forward in share):
        assert len(forward) < 2 or sum(tokens[row] for pack in forward for row in pack) <= micro_batch_tokens


def test_costly_packs_are_dealt_evenly() -> None:
    """A pack of one long row attends to as much as several packs of short ones."""
    of_packs = [[64], [64], [8] * 8, [8] * 8]
    shares = passes([(0,), (1,), (2,), (3,)], of_packs, 2, 1)
    assert [sorted(pack[0] for forward in share for pack in forward) for share in shares] == [[0, 3], [1, 2]]


@pytest.mark.parametrize("sizes", [Sizes(2, None, 9, 2), Sizes(None, 18, 9, 2)])
def test_a_curriculum_keeps_its_order_in_every_epoch(sizes: Sizes) -> None:
    steps = plan_of([9] * 6, sizes, seed=3, stretches=[2, 2, 2])
    assert [sorted(row for packed in step.packs for row in packed) for step in steps] == [[0, 1], [2, 3], [4, 5]] * 2


def test_a_seed_orders_the_rows_that_a_curriculum_holds_alike() -> None:
    orders = [[row for step in plan_of([9] * 40, Sizes(1, None, 9, 2), seed, [10, 30]) for (row,) in step.packs] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    for first, second in ((order[:40], order[40:]) for order in orders):
        assert sorted(first[:10]) == sorted(second[:10]) == list(range(10))
        assert first != second, "nor is it the same in every epoch"


def test_a_curriculum_by_tokens_moves_rows_to_neighbouring_steps_at_most() -> None:
    draws = random.Random(1)
    steps = plan_of([draws.randint(5, 64) for _ in range(600)], Sizes(None, 256, 64), stretches=[1] * 600)
    middles = [sum(rows_of([step])) / len(rows_of([step])) for step in steps]
    assert sum(first > second for first, second in zip(middles, middles[2:], strict=False)) <= 0.1 * len(steps)


@given(st.lists(st.integers(501, 560), min_size=1, max_size=8), st.integers(0, 9), st.sampled_from((2, 4, 16)))
def test_a_row_that_nothing_fills_up_with_does_not_wait_till_the_epochs_end(loose: list[int], seed: int, packs_per_step: int) -> None:
    """Two rows of more than half a pack do not go into one; by fullness alone the shortest would be put off again and again."""
    draws, half = random.Random(seed), 20 * packs_per_step
    tokens = [draws.randint(600, 1000) for _ in range(2 * half)]
    places = draws.sample(range(half), len(loose))
    for place, size in zip(places, loose, strict=True):
        tokens[place] = size
    steps = plan_of(tokens, Sizes(None, 1000 * packs_per_step, 1000), seed, [half, half])
    trained_at = {row: number for number, step in enumerate(steps) for pack in step.packs for row in pack}
    first_half = max(trained_at[row] for row in range(half))
    assert first_half <= 20 + 3, "a stretch of 20 steps ends with a window's neighbours"


def test_order_depends_on_ids_and_seed_not_on_where_a_row_stands() -> None:
    ids = [f"row-{number}" for number in range(50)]
    tokens = [10 + number % 7 for number in range(50)]
    sizes = Sizes(1, None, 64)
    turned = ids[::-1]

    def order(names: list[str], lengths: list[int], seed: int) -> list[str]:
        return [names[step.packs[0][0]] for step in batch_plan(names, lengths, [1] * 50, sizes, seed=seed)]

    assert order(ids, tokens, 3) == order(turned, tokens[::-1], 3)
    assert order(ids, tokens, 3) != order(ids, tokens, 4)


def test_rows_that_cannot_be_trained_are_refused() -> None:
    with pytest.raises(TrainingError, match="longer than a packed sequence"):
        plan_of([65], BY_ROWS)
    with pytest.raises(TrainingError, match="trains no token"):
        list(batch_plan(["a"], [3], [0], Sizes(1, None, 8), seed=0))


@given(tokens=lengths)
def test_a_stored_plan_is_the_plan(tokens: list[int]) -> None:
    steps = plan_of(tokens, BY_TOKENS)
    stored = Plan(plan_table(steps))
    assert [stored.step(number) for number in range(len(stored))] == steps
    assert stored.seen(1) == (steps[0].num_rows, steps[0].num_tokens)
    assert stored.seen(len(stored)) == (2 * len(tokens), 2 * sum(tokens))


@pytest.mark.parametrize(("sizes", "golden"), [(BY_ROWS, GOLDEN_BY_ROWS), (BY_TOKENS, GOLDEN_BY_TOKENS)])
def test_golden_plan(sizes: Sizes, golden: str) -> None:
    tokens = [5 + (number * 37) % 60 for number in range(100)]
    steps = [[list(map(list, step.packs)), step.num_loss_tokens] for step in plan_of(tokens, sizes)]
    assert hashlib.sha256(json.dumps(steps).encode()).hexdigest() == golden
