"""What there is to say of mixtures: their differences, their preference pairs, what was cut.

In: figures. Out: text. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixray.mixing.preferences import Counts
from mixray.mixing.shelf import Difference, Nesting


def difference_in_words(found: Difference, most_ids: int) -> list[str]:
    """Return what is not the same in two mixtures, A and B, one line for each fact, with a few ids."""
    num_both = found.num_same + len(found.other_pool) + len(found.other_trace)
    if not found.only_first and not found.only_second:
        lines = [f"the same {_plural(num_both, 'problem')} in both"]
    else:
        lines = [f"{_plural(num_both, 'problem')} in both"]
    changes = (
        ("in A alone", found.only_first),
        ("in B alone", found.only_second),
        ("in both, from another pool", found.other_pool),
        ("in both, by another trace of the same pool", found.other_trace),
    )
    lines += [_counted(ids, what, most_ids) for what, ids in changes if ids]
    if found.num_same == num_both:
        lines.append("whatever is in both takes the same trace")
    lines += [nesting_in_words(nesting) for nesting in found.nestings]
    lines += [f"{pool} is not the same pool in both: its traces may differ under one id" for pool in found.other_hash]
    return lines


def nesting_in_words(found: Nesting) -> str:
    """Return whether what takes one pool in A takes it in B, or the other way round."""
    pool = found.pool
    if not found.first and not found.second:
        return f"no problem takes {pool}, in A or in B"
    if not found.first or not found.second:
        without, other = ("B", "A") if found.first else ("A", "B")
        return f"no problem takes {pool} in {without}; {found.first or found.second:,} do in {other}"
    if not found.first_alone and not found.second_alone:
        return f"the same {_plural(found.first, 'problem')} {'takes' if found.first == 1 else 'take'} {pool} in A and in B"
    if not found.first_alone:
        return f"nested: every problem that takes {pool} in A takes it in B ({found.first:,} of {found.second:,})"
    if not found.second_alone:
        return f"nested: every problem that takes {pool} in B takes it in A ({found.second:,} of {found.first:,})"
    return f"not nested: of the problems that take {pool}, {found.first_alone:,} do in A alone and {found.second_alone:,} in B alone"


def preferences_in_words(counts: Counts) -> str:
    """Return how many pairs there are, why their bad traces are bad, and why other problems have none."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.reasons.items() if count)
    none = [
        f"{count:,} without a {kind} trace"
        for count, kind in ((counts.num_without_right, "right"), (counts.num_without_bad, "bad"))
        if count
    ]
    return f"{_plural(counts.num_pairs, 'pair')} of {_plural(counts.num_problems, 'problem')} ({'; '.join([reasons, *none])})"


def cut_in_words(outcome: Mapping[str, Any]) -> str | None:
    """Return what was cut, of a mixture's outcome; None where its recipe cuts nothing."""
    if "cut" not in outcome:
        return None
    of_pools = ", ".join(f"{counts['rows']:,} of {pool}" for pool, counts in outcome["cut"].items())
    rows, tokens = (sum(counts[unit] for counts in outcome["cut"].values()) for unit in ("rows", "tokens"))
    return (
        f"A control: {rows:,} of {_plural(outcome['num_rows'], 'row')} ({of_pools}) are cut at {outcome['max_tokens']:,} tokens when they "
        f"are trained on, and lose {_plural(tokens, 'token')}, their answer and their end of turn among them. Counts and shares are of "
        "what is left; the messages are whole."
    )


def _counted(ids: list[str], what: str, most_ids: int) -> str:
    few = ", ".join(ids[:most_ids]) + (", ..." if len(ids) > most_ids else "")
    return f"{_plural(len(ids), 'problem')} {what}: {few}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
