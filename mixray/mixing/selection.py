"""The mixture rule: which problems are in, and which of them take the hard trace.

Pure: ids and numbers in, ids and numbers out. Every choice is a keyed hash of (seed, purpose, problem id), so it is the same on any
machine, in any row order and with any number of workers, and one choice never shifts another:

* which problems are in, when fewer rows than problems are wanted: fewer rows are a subset of more;
* which problems take the hard trace: exactly ceil(alpha * N), and those of a smaller alpha are among those of a larger one;
* in which order the rows lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from mixray.errors import MixtureError
from mixray.rows import accepted, keyed_draw


def first_right(traces: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each solved problem's right and well-formed trace; of several, the one with the lowest sample number."""
    chosen: dict[str, dict[str, Any]] = {}
    for trace in traces:
        if not accepted(trace):
            continue
        seen = chosen.get(trace["problem_id"])
        if seen is None or (trace["sample"], trace["trace_id"]) < (seen["sample"], seen["trace_id"]):
            chosen[trace["problem_id"]] = dict(trace)
    return chosen


def both_right(hard: Mapping[str, Any], easy: Mapping[str, Any]) -> list[str]:
    """Return the problems both pools solved, by id: what the paper trains on (each once, with one of its two traces)."""
    return sorted(hard.keys() & easy.keys())


def take_rows(problem_ids: Iterable[str], num_rows: int | None, seed: int) -> list[str]:
    """Return `num_rows` of the problems, or all of them where it is None.

    Raises:
        MixtureError: there are fewer.
    """
    ordered = _keyed_order(problem_ids, seed, "rows")
    if num_rows is None:
        return ordered
    if num_rows > len(ordered):
        raise MixtureError(
            "Too few problems for a mixture",
            seen=f"{len(ordered)} problems that both pools solved within max_tokens",
            rule=f"num_rows = {num_rows}",
            do="ask more problems or samples, raise train.max_tokens, or lower num_rows",
        )
    return ordered[:num_rows]


def num_hard(alpha: float, num_rows: int) -> int:
    """Return ceil(alpha * num_rows), with alpha taken as the decimal number it was written as.

    In floats 0.07 * 100 is 7.000000000000001, whose ceiling is one row too many.
    """
    return math.ceil(Fraction(repr(float(alpha))) * num_rows)


def take_hard(problem_ids: Sequence[str], alpha: float, seed: int) -> frozenset[str]:
    """Return the problems that take the hard trace: those with the ceil(alpha * N) smallest draws."""
    return frozenset(_keyed_order(problem_ids, seed, "mixture")[: num_hard(alpha, len(problem_ids))])


def shuffled(problem_ids: Iterable[str], seed: int) -> list[str]:
    """Return the problems in the order their rows lie in."""
    return _keyed_order(problem_ids, seed, "order")


def _keyed_order(problem_ids: Iterable[str], seed: int, purpose: str) -> list[str]:
    return sorted(problem_ids, key=lambda problem_id: (keyed_draw(seed, purpose, problem_id), problem_id))
