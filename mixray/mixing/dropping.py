"""What is left out before anything is picked, one reason after another, and what each reason took.

In: gathered candidates, a blend, the problems that repeat others or overlap a benchmark. Out: which candidates stay, and the steps.
Over-length traces are left out: a cut would take the boxed answer and the end of turn with it, and teach a student never to stop. Only a
recipe that asks for just that, as a control, has them cut before they come here; those whose prompt fills the limit go all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from mixray.errors import MixtureError
from mixray.mixing.draws import keys_of
from mixray.mixing.gathering import Gathered, Mask
from mixray.mixing.likeness import near
from mixray.mixing.shares import TOO_LONG, Ledger
from mixray.recipe import Blend
from mixray.rows import keyed_draw

NEEDS_EVERY_POOL = ("both_right", "paired")
"""Ways of sharing that take a problem only where each pool has a right trace of it."""


def drop(
    found: Gathered, blend: Blend, repeated: Mapping[str, str], contaminated: Collection[str], max_tokens: int, ledger: Ledger
) -> Mask:
    """Return which candidates stay, of shape (candidates,); each step goes into the ledger.

    Args:
        found: the candidates, cut where they are to be.
        blend: what is to be left out.
        repeated: ids of problems that repeat another one, each with the one it repeats.
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
        if step == TOO_LONG and found.num_cut.any():
            ledger.note_cut(alive)
    empty = [name for pool, name in enumerate(found.names) if not found.solved(pool, alive).any()]
    if empty and (blend.sharing in NEEDS_EVERY_POOL or len(empty) == len(found.names)):
        name = empty[0]
        raise MixtureError(
            f"Nothing of pool {name} is left to mix",
            seen=ledger.in_words(name),
            do="ask more problems or samples, raise train.max_tokens, or let the blend drop less",
        )
    return alive


def _reasons(
    found: Gathered, blend: Blend, repeated: Mapping[str, str], contaminated: Collection[str], max_tokens: int
) -> Iterator[tuple[str, Mask]]:
    if (found.num_characters == 0).any():
        yield "empty", found.num_characters == 0
    if blend.duplicates == "drop":
        yield "duplicates", _of_problems(found, _others(found, blend, repeated)) | _repeated_traces(found)
    if blend.contaminated == "drop":
        yield "contaminated", _of_problems(found, contaminated)
    if blend.max_repetition is not None:
        yield "repetition", found.repetition > blend.max_repetition
    if blend.max_foreign is not None:
        yield "foreign", found.foreign > blend.max_foreign
    yield TOO_LONG, found.num_tokens > max_tokens
    if blend.needs_fit:
        yield "no fit", np.isnan(found.fit)


def _others(found: Gathered, blend: Blend, repeated: Mapping[str, str]) -> set[str]:
    """Return, of each group of problems that say the same, all but the first that can be mixed at all."""
    everything = np.ones(len(found.problem), bool)
    solved = [found.solved(pool, everything) for pool in range(len(found.names))]
    usable = set(found.problem_key[np.all(solved, axis=0) if blend.sharing in NEEDS_EVERY_POOL else np.any(solved, axis=0)].tolist())
    groups: dict[str, set[str]] = {}
    for problem, same in repeated.items():
        groups.setdefault(same, {same}).add(problem)
    stays = {min(group, key=lambda problem: (keyed_draw(problem) not in usable, problem)) for group in groups.values()}
    return set().union(*groups.values()) - stays


def _of_problems(found: Gathered, ids: Collection[str]) -> Mask:
    return np.isin(found.problem_key, keys_of(ids))[found.problem] if ids else np.zeros(len(found.problem), bool)


def _repeated_traces(found: Gathered) -> Mask:
    """Return which candidates teach all but the same as an earlier sample of the same problem in the same pool."""
    group = found.pool * found.num_problems + found.problem
    several = np.flatnonzero(np.bincount(group)[group] > 1)
    order = several[np.lexsort((found.trace_key[several], found.sample[several], group[several]))]
    repeated = np.zeros(len(group), bool)
    for lag in range(1, len(order)):
        later = order[lag:][group[order[lag:]] == group[order[:-lag]]]
        if not len(later):
            break
        earlier = order[:-lag][group[order[lag:]] == group[order[:-lag]]]
        repeated[later[near(found.likeness[later], found.likeness[earlier])]] = True
    return repeated
