"""The mixtures of a store, to look at and to hold against one another.

In: a store. Out: listings, rows, shares by subject and level, differences. A few hundred rows are in memory at a time; a difference keeps
the ids of both mixtures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixray import shelf
from mixray.errors import MixtureError
from mixray.store import Artefact, Store

KIND = "mixtures"
SHARES = "shares.json"
COUNTS = ("rows", "tokens", "loss_tokens")
ROWS_AT_ONCE = 256
BUFFER_BYTES = 2**20
_POOL = "pool "

Taken = dict[str, tuple[tuple[str, str], ...]]
"""For each problem, from which pools its rows come, and by which traces."""


def mixtures(store: Store) -> list[Artefact]:
    """Return every committed mixture of a store, by name; those of a version that did not tell its pools too."""
    return [store.open(KIND, folder) for folder in shelf.folders(store, KIND)]


def tells_its_pools(outcome: Mapping[str, Any]) -> bool:
    """Whether a mixture was made by a version that says what came from which pool."""
    return "pools" in outcome and "steps" in outcome


def find(store: Store, text: str) -> Artefact:
    """Return the mixture whose folder, name or hash is `text`.

    Raises:
        StoreError: none fits, or several do.
        MixtureError: it was made by a version that did not tell its pools.
    """
    found = shelf.open_only(store, KIND, text, shelf.fitting(store, KIND, text))
    if not tells_its_pools(found.outcome):
        raise MixtureError(
            "A mixture is of an earlier version", seen=found.label, rule="its manifest tells pools and steps", do="run its recipe again"
        )
    return found


def pool_hashes(mixture: Artefact) -> dict[str, str]:
    """Return the hash of each pool that a mixture was made from, by the pool's name."""
    return {key.removeprefix(_POOL): hash_ for key, hash_ in mixture.made_by["inputs"].items() if key.startswith(_POOL)}


def batches(artefact: Artefact, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Verify an artefact and yield its parquet rows in file order, a few hundred at a time, however large its row groups are."""
    artefact.verify()
    for entry in artefact.manifest()["files"]:
        if entry["path"].endswith(".parquet"):
            path = f"{artefact.path}/{entry['path']}"
            # Without both settings a whole row group is in memory, compressed.
            with pq.ParquetFile(path, filesystem=artefact.store.arrow_fs, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
                for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
                    yield pa.Table.from_batches([batch])


def rows(mixture: Artefact, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield a mixture's rows in training order."""
    for table in batches(mixture, columns):
        yield from table.to_pylist()


def first_rows(mixture: Artefact, count: int) -> list[dict[str, Any]]:
    """Return the first rows a student sees."""
    return list(itertools.islice(rows(mixture), count))


def share(part: float, whole: float) -> float:
    """Return which share of `whole` is `part`; none of nothing."""
    return part / whole if whole else 0.0


def got(outcome: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return each pool's share of a mixture's rows, tokens and loss tokens."""
    return _shares(outcome["pools"])


def _shares(pools: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    total = {count: sum(pool[count] for pool in pools.values()) for count in COUNTS}
    return {name: {count: share(pool[count], total[count]) for count in COUNTS} for name, pool in pools.items()}


def strata(mixture: Artefact, column: str) -> list[dict[str, Any]]:
    """Return rows, tokens and loss tokens by `column`, subject or level, with the share of the rows before the first filter and now.

    Rows and loss tokens are told for each pool, too.
    """
    cells = mixture.read_json(SHARES)
    steps = [step["step"] for step in mixture.outcome["steps"]]
    first, last = ([cell for cell in cells if cell["step"] == step] for step in (steps[0], steps[-1]))
    before, after = (sum(cell["rows"] for cell in side) for side in (first, last))
    found = []
    for value in sorted({cell[column] for cell in first + last}, key=lambda value: (value is None, value)):
        were, are = ([cell for cell in side if cell[column] == value] for side in (first, last))
        found.append(
            {
                column: value,
                **{count: sum(cell[count] for cell in are) for count in COUNTS},
                "share_before": share(sum(cell["rows"] for cell in were), before),
                "share_after": share(sum(cell["rows"] for cell in are), after),
                "pools": {
                    name: {count: sum(cell[count] for cell in are if cell["pool"] == name) for count in COUNTS}
                    for name in mixture.outcome["pools"]
                },
            }
        )
    return found


@dataclass(frozen=True)
class Nesting:
    """How many problems take one pool's trace in two mixtures, and in one of them alone."""

    pool: str
    first: int
    second: int
    first_alone: int
    second_alone: int


@dataclass(frozen=True)
class Difference:
    """What is not the same in two mixtures: ids of problems, sorted."""

    only_first: list[str]
    only_second: list[str]
    other_pool: list[str]
    other_trace: list[str]
    """From the same pool, yet another trace."""
    num_same: int
    nestings: list[Nesting]
    other_hash: list[str]
    """Pools of one name that are not the same pool."""


def diff(first: Artefact, second: Artefact) -> Difference:
    """Hold two mixtures against each other, problem by problem."""
    one, two = _taken(first), _taken(second)
    both = sorted(one.keys() & two.keys())
    other_pool = [problem for problem in both if _pools(one[problem]) != _pools(two[problem])]
    changed = [problem for problem in both if one[problem] != two[problem]]
    hashes = (pool_hashes(first), pool_hashes(second))
    shared = [name for name in hashes[0] if name in hashes[1]]
    return Difference(
        only_first=sorted(one.keys() - two.keys()),
        only_second=sorted(two.keys() - one.keys()),
        other_pool=other_pool,
        other_trace=sorted(set(changed) - set(other_pool)),
        num_same=len(both) - len(changed),
        nestings=[_nesting(name, one, two) for name in _but_the_easy_one(first, shared)],
        other_hash=[name for name in shared if hashes[0][name] != hashes[1][name]],
    )


def _but_the_easy_one(mixture: Artefact, names: list[str]) -> list[str]:
    """Return the pools to tell about, hard ones first: of two, what holds for one is said of the other by the same sentence."""
    out = mixture.outcome
    return [name for name in out["pools"] if name in names and (name != out["easy"] or len(names) == 1)]


def _taken(mixture: Artefact) -> Taken:
    taken: dict[str, list[tuple[str, str]]] = {}
    for row in rows(mixture, ["problem_id", "pool", "trace_id"]):
        taken.setdefault(row["problem_id"], []).append((row["pool"], row["trace_id"]))
    return {problem: tuple(sorted(found)) for problem, found in taken.items()}


def _pools(taken: tuple[tuple[str, str], ...]) -> list[str]:
    return [pool for pool, _ in taken]


def _nesting(name: str, one: Taken, two: Taken) -> Nesting:
    first, second = ({problem for problem, taken in side.items() if name in _pools(taken)} for side in (one, two))
    return Nesting(name, len(first), len(second), len(first - second), len(second - first))


def shares_of(mixture: Artefact) -> dict[str, dict[str, float | None]]:
    """Return what was asked of each pool, and its shares of rows, tokens and loss tokens."""
    out = mixture.outcome
    return {name: {"asked": out["shares"].get(name), **shares} for name, shares in got(out).items()}
