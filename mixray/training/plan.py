"""The batch plan: which rows are packed together in which optimiser step, decided once, before any worker starts.

In: token counts of the rows, sizes and a seed. Out: for every step its packed sequences, each a tuple of row numbers. The plan is a
pure function of these; it does not know how many workers will execute it, so a training's data position is one integer, the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixray.errors import TrainingError
from mixray.rows import keyed_draw

Pack = tuple[int, ...]
"""Row numbers that share one packed sequence."""


@dataclass(frozen=True)
class Step:
    """One optimiser step: its packed sequences, and the number of target tokens its loss is divided by."""

    packs: tuple[Pack, ...]
    num_loss_tokens: int


def batch_plan(
    row_ids: Sequence[str],
    num_tokens: Sequence[int],
    num_loss_tokens: Sequence[int],
    *,
    epochs: int,
    batch_rows: int,
    pack_tokens: int,
    packs_multiple: int,
    seed: int,
    keeps_order: bool = False,
) -> list[Step]:
    """Return the steps of a training: every row once per epoch, in an order keyed by its id, the last batch of an epoch maybe smaller.

    Args:
        row_ids: what identifies a row; its place in the order depends on this and the seed alone.
        num_tokens: whole length of each row.
        num_loss_tokens: trained tokens of each row.
        epochs: how often each row is seen.
        batch_rows: rows of one optimiser step.
        pack_tokens: most tokens of one packed sequence.
        packs_multiple: packed sequences of a step are rounded up to a multiple of this where there are rows enough.
        seed: changes the order.
        keeps_order: in every epoch the rows come as they lie, as a curriculum wants it.

    Raises:
        TrainingError: a row is longer than a packed sequence, or trains nothing.
    """
    for row, (tokens, targets) in enumerate(zip(num_tokens, num_loss_tokens, strict=True)):
        if tokens > pack_tokens:
            raise TrainingError(
                "A row is longer than a packed sequence", seen=f"{row_ids[row]}: {tokens} tokens", rule=f"at most {pack_tokens}"
            )
        if targets < 1:
            raise TrainingError("A row trains no token", seen=row_ids[row], rule="at least the response's end of turn")
    steps = []
    for epoch in range(epochs):
        order = list(range(len(row_ids)))
        if not keeps_order:
            order.sort(key=lambda row: keyed_draw(seed, "order", epoch, row_ids[row]))
        for start in range(0, len(order), batch_rows):
            rows = order[start : start + batch_rows]
            packs = pack([(num_tokens[row], row) for row in rows], pack_tokens, packs_multiple)
            steps.append(Step(packs, sum(num_loss_tokens[row] for row in rows)))
    return steps


def pack(sized_rows: list[tuple[int, int]], pack_tokens: int, packs_multiple: int) -> tuple[Pack, ...]:
    """Pack (tokens, row) pairs into the fewest sequences first-fit finds, then level them: the longest row to the emptiest.

    Levelled packs finish together, which is what a synchronous step is as slow as; ties are broken by row number alone.
    """
    by_length = sorted(sized_rows, key=lambda pair: (-pair[0], pair[1]))
    wanted = max(1, -(-sum(tokens for tokens, _ in by_length) // pack_tokens))
    while True:
        wanted = min(-(-wanted // packs_multiple) * packs_multiple, len(by_length))
        packs = _level(by_length, wanted, pack_tokens)
        if packs is not None:
            return packs
        wanted += 1


def _level(by_length: list[tuple[int, int]], num_packs: int, pack_tokens: int) -> tuple[Pack, ...] | None:
    filled = [0] * num_packs
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    for tokens, row in by_length:
        place = min(range(num_packs), key=lambda index: (filled[index], index))
        if filled[place] + tokens > pack_tokens:
            return None
        filled[place] += tokens
        packs[place].append(row)
    return tuple(tuple(rows) for rows in packs)


def slices(packs: Sequence[Pack], rank: int, world_size: int, packs_per_forward: int) -> list[list[Pack]]:
    """Return what one worker runs in a step: its packs in forward passes, the same number of passes on every worker.

    Collectives of ZeRO-3 run in every forward, so a worker with fewer packs gets empty passes rather than none.
    """
    mine = list(packs[rank::world_size])
    most = -(-len(packs) // world_size)
    num_passes = -(-most // packs_per_forward)
    return [mine[index * packs_per_forward : (index + 1) * packs_per_forward] for index in range(num_passes)]
