"""The batch plan: which rows are packed together in which optimiser step, decided once, before any worker starts.

In: token counts of the rows, sizes and a seed. Out: for every step its packed sequences, each a tuple of row numbers. The plan is a
pure function of these; it does not know how many workers will execute it, so a training's data position is one integer, the step.

A step is measured in rows (every arm takes as many steps over as many problems, whoever wrote the traces) or in tokens (every step is as
much work, whatever the lengths). Either way its loss is divided by the step's target tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixray.errors import TrainingError
from mixray.rows import keyed_draw
from mixray.store import Artefact
from mixray.training.packing import Pack, best_fit, level

PLAN_RULE = 2
"""Goes up when the same rows would be planned otherwise."""
WINDOW_PACKS = 256
"""How many packs' worth of rows are packed together at least, where steps are measured in tokens: more fill the packs better, and let
rows stray farther from their place in the order."""
SCHEMA = pa.schema(
    [("packs", pa.list_(pa.list_(pa.int32()))), ("num_rows", pa.int32()), ("num_tokens", pa.int64()), ("num_loss_tokens", pa.int64())]
)


@dataclass(frozen=True)
class Step:
    """One optimiser step: its packed sequences, and the target tokens its loss is divided by."""

    packs: tuple[Pack, ...]
    num_rows: int
    num_tokens: int
    num_loss_tokens: int


@dataclass(frozen=True)
class Sizes:
    """How a plan measures: epochs, and what one step and one packed sequence hold. Exactly one of the first two is set."""

    batch_rows: int | None
    batch_tokens: int | None
    pack_tokens: int
    epochs: int = 1
    packs_multiple: int = 1


def batch_plan(
    row_ids: Sequence[str],
    num_tokens: Sequence[int],
    num_loss_tokens: Sequence[int],
    sizes: Sizes,
    *,
    seed: int,
    stretches: Sequence[int] = (),
) -> Iterator[Step]:
    """Yield the steps of a training: every row once per epoch, in an order keyed by its id, the last step of an epoch maybe smaller.

    Args:
        row_ids: what identifies a row; its place in the order depends on this and the seed alone.
        num_tokens: whole length of each row.
        num_loss_tokens: trained tokens of each row.
        sizes: of steps and packs.
        seed: changes the order.
        stretches: how many rows each stretch of a curriculum holds: in every epoch stretches come as they lie, and the seed orders the
            rows within each; where steps are measured in tokens, a row may move to a neighbouring step. One stretch where none is given.

    Raises:
        TrainingError: a row is longer than a packed sequence, or trains nothing.
    """
    _check(row_ids, num_tokens, num_loss_tokens, sizes.pack_tokens)
    stretch_of = np.repeat(np.arange(len(stretches)), stretches).tolist() if stretches else [0] * len(row_ids)
    for epoch in range(sizes.epochs):
        places = [(stretch, keyed_draw(seed, "order", epoch, row_id)) for stretch, row_id in zip(stretch_of, row_ids, strict=True)]
        order = sorted(range(len(row_ids)), key=places.__getitem__)
        if sizes.batch_rows is not None:
            groups = _by_rows(order, num_tokens, sizes, sizes.batch_rows)
        else:
            groups = _by_tokens(order, num_tokens, sizes, None if stretches else seed, epoch)
        for packs in groups:
            rows = [row for pack in packs for row in pack]
            yield Step(packs, len(rows), sum(num_tokens[row] for row in rows), sum(num_loss_tokens[row] for row in rows))


def _check(row_ids: Sequence[str], num_tokens: Sequence[int], num_loss_tokens: Sequence[int], pack_tokens: int) -> None:
    for row_id, tokens, targets in zip(row_ids, num_tokens, num_loss_tokens, strict=True):
        if tokens > pack_tokens:
            raise TrainingError("A row is longer than a packed sequence", seen=f"{row_id}: {tokens} tokens", rule=f"at most {pack_tokens}")
        if targets < 1:
            raise TrainingError("A row trains no token", seen=row_id, rule="at least the response's end of turn")


def _by_rows(order: Sequence[int], num_tokens: Sequence[int], sizes: Sizes, batch_rows: int) -> Iterator[tuple[Pack, ...]]:
    for start in range(0, len(order), batch_rows):
        sized = [(num_tokens[row], row) for row in order[start : start + batch_rows]]
        yield level(sized, sizes.pack_tokens, sizes.packs_multiple)


def _by_tokens(order: Sequence[int], num_tokens: Sequence[int], sizes: Sizes, seed: int | None, epoch: int) -> Iterator[tuple[Pack, ...]]:
    """Yield steps of as many packs as the token budget holds, packed in windows of the order.

    The emptiest packs of a window are not taken: their rows go into the next window, so that only an epoch's last packs have room left.
    A curriculum takes packs with rows that have waited first, those that come first before others, or a row that nothing fills up with
    would wait till the epoch's end.
    """
    assert sizes.batch_tokens is not None
    per_step = sizes.batch_tokens // sizes.pack_tokens
    # A curriculum's windows are as short as they can be: two steps, so that there is something to choose from.
    window_tokens = sizes.pack_tokens * (2 * per_step if seed is None else max(WINDOW_PACKS, 4 * per_step))
    place = {row: number for number, row in enumerate(order)} if seed is None else {}
    waiting: list[int] = []
    carried: set[int] = set()
    waiting_tokens, window = 0, 0
    for number, row in enumerate(order):
        waiting.append(row)
        waiting_tokens += num_tokens[row]
        is_last = number + 1 == len(order)
        if waiting_tokens < window_tokens and not is_last:
            continue
        packs = best_fit(((num_tokens[row], row) for row in waiting), sizes.pack_tokens)
        if not is_last:
            oldest = {pack[0]: min((place[row] for row in pack if row in carried), default=len(order)) for pack in packs}
            ranked = sorted(packs, key=lambda pack: (oldest[pack[0]], -sum(num_tokens[row] for row in pack), pack))
            taken = max(1, (len(packs) - 1) // per_step) * per_step
            packs, left = ranked[:taken], ranked[taken:]
            waiting = [row for pack in left for row in pack]
            carried = set(waiting) if seed is None else set()
            waiting_tokens = sum(num_tokens[row] for row in waiting)
        if seed is None:
            keys = {pack[0]: min(place[row] for row in pack) for pack in packs}
        else:
            keys = {pack[0]: keyed_draw(seed, "pack", epoch, window, pack[0]) for pack in packs}
        packs.sort(key=lambda pack, keys=keys: keys[pack[0]])  # type: ignore[misc]
        window += 1
        for start in range(0, len(packs), per_step):
            yield tuple(tuple(pack) for pack in packs[start : start + per_step])


def read_plan(artefact: Artefact) -> Plan:
    """Read an artefact of kind `plans`, verified."""
    return Plan(artefact.read_table())


def efficiency(steps: Sequence[Step], pack_tokens: int) -> float:
    """Return which share of the packs' room holds tokens of rows."""
    return sum(step.num_tokens for step in steps) / max(1, pack_tokens * sum(len(step.packs) for step in steps))


def plan_table(steps: Sequence[Step]) -> pa.Table:
    """Return the steps as Arrow rows of SCHEMA, built from flat arrays: a million rows as Python lists would not fit the memory."""
    packs = [pack for step in steps for pack in step.packs]
    rows = np.fromiter((row for pack in packs for row in pack), dtype=np.int32)
    of_rows = pa.ListArray.from_arrays(_ends(len(pack) for pack in packs), pa.array(rows))
    of_packs = pa.ListArray.from_arrays(_ends(len(step.packs) for step in steps), of_rows)
    counts = [[getattr(step, name) for step in steps] for name in SCHEMA.names[1:]]
    return pa.table([of_packs, *counts], schema=SCHEMA)


def _ends(sizes: Iterator[int]) -> pa.Array:
    ends: NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))])
    return pa.array(ends.astype(np.int32))


@dataclass(frozen=True)
class Plan:
    """A plan as workers hold it: Arrow columns, of which a step is made when it is wanted."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def step(self, number: int) -> Step:
        """Return one step, counted from 0."""
        row = self.table.slice(number, 1).to_pylist()[0]
        return Step(tuple(tuple(pack) for pack in row["packs"]), row["num_rows"], row["num_tokens"], row["num_loss_tokens"])

    def seen(self, num_steps: int) -> tuple[int, int]:
        """Return the rows and tokens that so many steps see."""
        done = self.table.slice(0, num_steps)
        return tuple(int(np.sum(done[name].to_numpy())) for name in ("num_rows", "num_tokens"))  # type: ignore[return-value]
