"""Who runs what of a step: derived from the plan, the number of workers and what fits one pass; nothing here changes what is computed.

In: a step's packs with their costs. Out: for each worker its forward passes, as many on every worker.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixray.training.packing import Pack


def passes(packs: Sequence[Pack], lengths: Sequence[Sequence[int]], world_size: int, micro_batch_tokens: int) -> list[list[list[Pack]]]:
    """Return for every worker its forward passes, each a list of packs.

    Collectives of ZeRO-3 run in every forward, so a worker with less to do gets empty passes rather than none.

    Args:
        packs: of the step.
        lengths: for each pack, the tokens of each of its rows.
        world_size: number of workers.
        micro_batch_tokens: most tokens of a pass that holds more than one pack.
    """
    of_workers = [_passes_of(mine, lengths, micro_batch_tokens) for mine in _dealt(lengths, world_size)]
    most = max(len(mine) for mine in of_workers)
    return [[[packs[index] for index in one] for one in mine] + [[] for _ in range(most - len(mine))] for mine in of_workers]


def _dealt(lengths: Sequence[Sequence[int]], world_size: int) -> list[list[int]]:
    """Deal packs to workers, costliest first and back and forth, so that every worker has as many and about as much to attend to."""
    # Attention is quadratic in a row's length, everything else is alike for packs that are as full.
    by_cost = sorted(range(len(lengths)), key=lambda pack: (-sum(length * length for length in lengths[pack]), pack))
    dealt: list[list[int]] = [[] for _ in range(world_size)]
    for number, pack in enumerate(by_cost):
        turn, place = divmod(number, world_size)
        dealt[place if turn % 2 == 0 else world_size - 1 - place].append(pack)
    return [sorted(mine) for mine in dealt]


def _passes_of(mine: Sequence[int], lengths: Sequence[Sequence[int]], micro_batch_tokens: int) -> list[list[int]]:
    found: list[list[int]] = []
    filled = 0
    for pack in mine:
        tokens = sum(lengths[pack])
        if not found or filled + tokens > micro_batch_tokens:
            found.append([])
            filled = 0
        found[-1].append(pack)
        filled += tokens
    return found
