"""Runs of thirteen tokens that two sets of texts share.

In: texts as arrays of token numbers, on two sides. Out: the pairs of texts that share enough of their runs. All of it is sorting: nothing
here compares every text with every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RUN_TOKENS = 13
MOST_TEXTS = 10
"""A run that more texts than this hold, both sides together, is boilerplate: it says nothing about where a text comes from."""
LEAST_COVERED = 0.7
"""The share of the shorter text's runs that a pair has to share."""

Numbers = NDArray[np.int32]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class _Side:
    """All runs of one side: the hash of each and the text it lies in, without repeats; by text, then by hash."""

    hashes: Hashes
    owners: Places
    starts: Places  # where each text's runs begin; one more than there are texts

    def of(self, text: int) -> Hashes:
        return self.hashes[self.starts[text] : self.starts[text + 1]]


def shared_runs(ours: Sequence[Numbers], theirs: Sequence[Numbers]) -> list[tuple[int, int, float, int]]:
    """Return the pairs (our text, their text, covered share of the shorter one's runs, shared runs) from LEAST_COVERED up, sorted.

    Boilerplate does not count as shared, but where one of ours holds a text of theirs whole: that is no chance, however many do.
    """
    our_side, their_side = _side(ours), _side(theirs)
    runs, their_runs = np.unique(their_side.hashes, return_inverse=True)
    if not len(runs):
        return []
    at = np.minimum(np.searchsorted(runs, our_side.hashes), len(runs) - 1)
    found = runs[at] == our_side.hashes
    our_runs, our_owners = at[found], our_side.owners[found]
    holders = np.bincount(our_runs, minlength=len(runs))
    common = holders + np.bincount(their_runs, minlength=len(runs)) > MOST_TEXTS
    telling = np.bincount(their_side.owners, weights=~common[their_runs], minlength=len(theirs))  # runs that are no boilerplate
    pairs: dict[tuple[int, int], tuple[float, int]] = {}
    for our, their, count in _counted_pairs(our_runs, our_owners, their_runs, their_side.owners, ~common, len(theirs)):
        covered = count / min(len(our_side.of(our)), len(their_side.of(their)))
        if covered < LEAST_COVERED and count == telling[their] and np.isin(their_side.of(their), our_side.of(our)).all():
            covered = 1.0
        if covered >= LEAST_COVERED:
            pairs[our, their] = (covered, count)
    order = np.argsort(our_runs, kind="stable")
    firsts = np.searchsorted(our_runs[order], np.arange(len(runs) + 1))
    for their in range(len(theirs)):
        of_it = their_runs[their_side.starts[their] : their_side.starts[their + 1]]
        if len(of_it) and common[of_it].all():
            rarest = of_it[np.argmin(holders[of_it])]
            for our in our_owners[order[firsts[rarest] : firsts[rarest + 1]]].tolist():
                if np.isin(their_side.of(their), our_side.of(our)).all():
                    pairs[our, their] = (1.0, len(of_it))
    return sorted((*pair, *shared) for pair, shared in pairs.items())


def _side(texts: Sequence[Numbers]) -> _Side:
    """Return the runs of some texts.

    A run is its 64-bit hash. Ten million runs on one side and a million on the other meet by chance with a probability below one in a
    million, and one such meeting is a wrong pair only where it covers half of a text; so a hash is not looked at again.
    """
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    tokens = np.concatenate([np.zeros(0, np.int32), *texts])
    places = max(len(tokens) - RUN_TOKENS + 1, 0)
    mixed = _mixed(np.arange(int(tokens.max(initial=0)) + 1, dtype=np.uint64))[tokens]
    hashes = np.zeros(places, np.uint64)
    for offset in range(RUN_TOKENS):
        hashes = hashes * _FACTOR + mixed[offset : offset + places]
    owners = np.repeat(np.arange(len(texts)), lengths)
    whole = owners[:places] == owners[len(tokens) - places :]
    hashes, owners = _mixed(hashes[whole]), owners[:places][whole]
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    hashes, owners = hashes[new], owners[new]
    return _Side(hashes, owners, np.searchsorted(owners, np.arange(len(texts) + 1)))


def _mixed(values: Hashes) -> Hashes:
    """Return 64-bit numbers as different as their arguments are, in every bit."""
    values = (values + _FACTOR) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _counted_pairs(
    our_runs: Places, our_owners: Places, their_runs: Places, their_owners: Places, counts: NDArray[np.bool_], num_theirs: int
) -> list[tuple[int, int, int]]:
    """Return (our text, their text, how many runs they share), of the runs that count; few texts hold any one of these."""
    keep = counts[our_runs]
    our_runs, our_owners = our_runs[keep], our_owners[keep]
    order = np.argsort(their_runs, kind="stable")
    sorted_runs = their_runs[order]
    first, last = np.searchsorted(sorted_runs, our_runs), np.searchsorted(sorted_runs, our_runs, side="right")
    times = last - first
    begins = np.cumsum(times) - times
    within = np.arange(int(times.sum())) - np.repeat(begins, times)
    their = their_owners[order[np.repeat(first, times) + within]]
    codes, shared = np.unique(np.repeat(our_owners, times) * num_theirs + their, return_counts=True)
    return [(code // num_theirs, code % num_theirs, count) for code, count in zip(codes.tolist(), shared.tolist(), strict=True)]
