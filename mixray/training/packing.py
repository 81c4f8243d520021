"""Best-fit packing: rows of different lengths into packed sequences of one length.

In: (tokens, row) pairs and a capacity. Out: packs, each a tuple of row numbers. A pure function: ties are broken by the row's number, so
neither the order of the input nor a hash seed changes the outcome.
"""

from __future__ import annotations

from collections.abc import Iterable

Pack = tuple[int, ...]
"""Row numbers that share one packed sequence."""


def best_fit(sized_rows: Iterable[tuple[int, int]], capacity: int) -> list[list[int]]:
    """Put each row, longest first, into the pack that it leaves the least room in; open a pack where none has room.

    Args:
        sized_rows: (tokens, row) pairs; no row is longer than the capacity.
        capacity: tokens of a pack.
    """
    packs: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    # Bit r is set where some pack has room for r tokens: the best fit is the lowest set bit from `tokens` on, found without a search.
    rooms = 0
    for tokens, row in sorted(sized_rows, key=lambda pair: (-pair[0], pair[1])):
        fitting = rooms >> tokens
        if fitting:
            room = tokens + (fitting & -fitting).bit_length() - 1
            pack = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
        else:
            room, pack = capacity, len(packs)
            packs.append([])
        packs[pack].append(row)
        room -= tokens
        by_room.setdefault(room, []).append(pack)
        rooms |= 1 << room
    return packs


def level(sized_rows: Iterable[tuple[int, int]], capacity: int, packs_multiple: int) -> tuple[Pack, ...]:
    """Pack into as few packs as go, then level them: the longest row to the emptiest pack.

    Levelled packs finish together, which is what a synchronous step is as slow as.

    Args:
        sized_rows: (tokens, row) pairs of one step.
        capacity: tokens of a pack.
        packs_multiple: the number of packs is rounded up to a multiple of this where there are rows enough.
    """
    by_length = sorted(sized_rows, key=lambda pair: (-pair[0], pair[1]))
    wanted = max(1, -(-sum(tokens for tokens, _ in by_length) // capacity))
    while True:
        wanted = min(-(-wanted // packs_multiple) * packs_multiple, len(by_length))
        packs = _levelled(by_length, wanted, capacity)
        if packs is not None:
            return packs
        wanted += 1


def _levelled(by_length: list[tuple[int, int]], num_packs: int, capacity: int) -> tuple[Pack, ...] | None:
    filled = [0] * num_packs
    packs: list[list[int]] = [[] for _ in range(num_packs)]
    for tokens, row in by_length:
        place = min(range(num_packs), key=lambda index: (filled[index], index))
        if filled[place] + tokens > capacity:
            return None
        filled[place] += tokens
        packs[place].append(row)
    return tuple(tuple(rows) for rows in packs)
