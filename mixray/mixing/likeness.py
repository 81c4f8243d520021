"""A number that alike texts share: so that a student is not taught what is all but the same answer twice.

In: a text. Out: its 64-bit SimHash over runs of three words (Charikar 2002); texts are near where at most 3 bits differ, the rule that web
pages are told apart by (Manku et al. 2007). One word changed among a thousand is near; among thirty it is not.
"""

from __future__ import annotations

import numpy as np

from mixray.mixing.draws import Keys, keys_of

MOST_BITS = 3
_RUN_WORDS = 3
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)  # odd, so that order matters and none is lost


def likeness(text: str) -> int:
    """Return the SimHash of a text, whatever its spacing; of a text of no word it is 0."""
    words = text.split()
    if not words:
        return 0
    distinct = list(dict.fromkeys(words))
    numbers = dict(zip(distinct, keys_of(distinct), strict=True))
    hashed = np.array([numbers[word] for word in words], np.uint64)
    size = min(_RUN_WORDS, len(words))
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2**64
        runs = sum((hashed[place : len(words) - size + 1 + place] * _FACTORS[place] for place in range(size)), np.uint64(0))
        runs = (runs ^ (runs >> np.uint64(31))) * _FACTORS[0]
        runs ^= runs >> np.uint64(29)
    bits = np.unpackbits(np.ascontiguousarray(runs, ">u8").view(np.uint8).reshape(-1, 8), axis=1)
    return int.from_bytes(np.packbits(2 * bits.sum(axis=0, dtype=np.int64) > len(runs)).tobytes(), "big")


def near(one: Keys, other: Keys) -> np.ndarray:
    """Return where two arrays of SimHashes differ in no more than MOST_BITS bits."""
    different = np.ascontiguousarray(one ^ other).view(np.uint8).reshape(-1, 8)
    found: np.ndarray = np.unpackbits(different, axis=1).sum(axis=1) <= MOST_BITS
    return found
