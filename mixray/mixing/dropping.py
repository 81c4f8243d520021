"""What is left out before anything is picked, one reason after another, and what each reason took.

In: gathered candidates, a blend, the problems that repeat others or overlap a benchmark. Out: which candidates stay, and the steps.
Over-length traces are left out and never cut: a cut takes the boxed answer and the end of turn with it, and teaches a student
never to stop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from mixray.errors import MixtureError
from mixray.mixing.draws import keys_of
from mixray.mixing.gathering import Gathered, Mask
from mixray.mixing.shares import Ledger
from mixray.recipe import Blend


def drop(found: Gathered, blend: Blend, repeated: Collection[str], contaminated: Collection[str], max_tokens: int, ledger: Ledger) -> Mask:
    """Return which candidates stay, of shape (candidates,); each step goes into the ledger.

    Args:
        found: the candidates.
        blend: what is to be left out.
        repeated: ids of problems that repeat another one.
        contaminated: ids of problems that overlap a benchmark.
        max_tokens: longer examples are left out.
        ledger: told what every step took.

    Raises:
        MixtureError: nothing stays.
    """
    alive = np.ones(len(found.problem), bool)
    ledger.note("right", alive)
    for step, goes in _reasons(found, blend, repeated, contaminated, max_tokens):
        alive = alive & ~goes
        ledger.note(step, alive)
    needed = [pool for pool in range(len(found.names)) if not found.solved(pool, alive).any()]
    if needed:
        name = found.names[needed[0]]
        raise MixtureError(
            f"Nothing of pool {name} is left to mix",
            seen=ledger.in_words(name),
            do="ask more problems or samples, raise train.max_tokens, or let the blend drop less",
        )
    return alive


def _reasons(
    found: Gathered, blend: Blend, repeated: Collection[str], contaminated: Collection[str], max_tokens: int
) -> Iterator[tuple[str, Mask]]:
    if blend.duplicates == "drop":
        yield "duplicates", np.isin(found.problem_key, keys_of(repeated))[found.problem] | _repeated_traces(found)
    if blend.contaminated == "drop":
        yield "contaminated", np.isin(found.problem_key, keys_of(contaminated))[found.problem]
    if blend.max_repetition is not None:
        yield "repetition", found.repetition > blend.max_repetition
    if blend.max_foreign is not None:
        yield "foreign", found.foreign > blend.max_foreign
    yield "too long", found.num_tokens > max_tokens
    if blend.needs_fit:
        yield "no fit", np.isnan(found.fit)


def _repeated_traces(found: Gathered) -> Mask:
    """Return which candidates teach the same text as an earlier sample of the same problem in the same pool."""
    order = np.lexsort((found.trace_key, found.sample, found.text_key, found.problem, found.pool))
    columns: list[Any] = [found.pool[order], found.problem[order], found.text_key[order]]
    same = np.zeros(len(order), bool)
    if len(order):
        same[1:] = np.all([column[1:] == column[:-1] for column in columns], axis=0)
    repeated = np.zeros(len(order), bool)
    repeated[order] = same
    return repeated
