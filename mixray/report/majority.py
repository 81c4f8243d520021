"""maj@k: how often the most frequent answer of k samples is right, told from the n samples there are.

Right samples vote together, whatever they wrote; others vote by their answer as it stands, spaces at its ends aside. A sample without an
answer has no vote. Answers that tie share the win evenly; where nobody votes nothing is right.

The k samples are any k of the n: the expectation over all of them is exact up to MOST_EXACT samples, and told by seeded draws of subsets
above, as many as make NUM_DRAWS of all problems together. The same subset stands for a problem only: problems are drawn apart.
"""

from __future__ import annotations

from functools import cache
from math import comb

import numpy as np

from mixray.report.intervals import Block
from mixray.report.samples import Answers, Places

MOST_EXACT = 16
NUM_DRAWS = 20_000


def majority(answers: Answers, k: int, seed: int) -> Block:
    """Return the chance of each problem that the majority of k of its samples is right, of shape (P,).

    Raises:
        ValueError: a problem has fewer samples.
    """
    num_samples = answers.samples_per_problem
    if k > num_samples:
        raise ValueError(f"maj@{k} of {num_samples} samples")
    if k == 1:
        return answers.right
    if int(answers.samples.max()) > MOST_EXACT and not (k == num_samples == int(answers.samples.max())):
        return _drawn(answers, k, np.random.default_rng(seed))
    patterns, places = answers.patterns
    chances = [chance(int(row[0]), int(row[1]), tuple(int(votes) for votes in row[2:] if votes), k) for row in patterns]
    return np.asarray(chances, dtype=float)[places]


@cache
def chance(num_samples: int, num_right: int, others: tuple[int, ...], k: int) -> float:
    """Return the chance that the right answer has the most votes among k of the samples, a tie of t answers counting 1/t.

    Args:
        num_samples: all samples, those without a vote among them.
        num_right: votes for the right answer.
        others: votes for each other answer.
        k: samples drawn, without putting back.
    """
    silent = num_samples - num_right - sum(others)
    if k == num_samples:  # one subset alone
        most = max(others, default=0)
        return 0.0 if num_right < most or not num_right else 1 / (1 + (others.count(num_right) if num_right == most else 0))
    total = 0.0
    for won in range(1, min(num_right, k) + 1):
        ways = {(0, 0): 1}  # (samples drawn, answers that tie) -> ways
        for votes in others:
            ways = _with_answer(ways, votes, won, k - won)
        for (drawn, tied), number in ways.items():
            total += comb(num_right, won) * number * comb(silent, k - won - drawn) / (1 + tied)
    return total / comb(num_samples, k)


def _with_answer(ways: dict[tuple[int, int], int], votes: int, won: int, most: int) -> dict[tuple[int, int], int]:
    """Return the ways to draw with one more answer, which gets at most as many votes as the right one has won."""
    found: dict[tuple[int, int], int] = {}
    for (drawn, tied), number in ways.items():
        for taken in range(min(votes, won, most - drawn) + 1):
            key = drawn + taken, tied + (taken == won)
            found[key] = found.get(key, 0) + number * comb(votes, taken)
    return found


def _drawn(answers: Answers, k: int, generator: np.random.Generator) -> Block:
    """Return the chances told by drawing subsets."""
    num_problems = len(answers.problem_ids)
    num_draws = -(-NUM_DRAWS // num_problems)
    sorted_ = np.lexsort((answers.votes, answers.places))  # the same draws in whatever order rows lie
    all_places, all_votes = answers.places[sorted_], answers.votes[sorted_]
    ranks = np.arange(len(sorted_)) - np.searchsorted(all_places, all_places)
    total = np.zeros(num_problems)
    for _ in range(num_draws):
        chosen = np.lexsort((generator.random(len(sorted_)), all_places))[ranks < k]
        places, votes = all_places[chosen], all_votes[chosen]
        total += _won(places[votes >= 0], votes[votes >= 0], num_problems)
    return total / num_draws


def _won(places: Places, votes: Places, num_problems: int) -> Block:
    """Return the share of the win that the right answer has in each problem."""
    width = int(votes.max(initial=0)) + 1
    keys, counts = np.unique(places * width + votes, return_counts=True)
    owners, of_right = keys // width, keys % width == 0
    most = np.zeros(num_problems, dtype=np.int64)
    np.maximum.at(most, owners, counts)
    leads = counts == most[owners]
    leaders = np.bincount(owners[leads], minlength=num_problems)
    won = np.zeros(num_problems)
    won[owners[leads & of_right]] = 1.0
    return won / np.maximum(leaders, 1)
