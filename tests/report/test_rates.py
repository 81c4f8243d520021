"""What a score tells beside its accuracy: shares of samples, pass@k, maj@k, lengths and budgets."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import made_up
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mixray import rows
from mixray.report import budgets, majority, rates
from mixray.report.samples import Answers, read_answers
from mixray.rows import SAMPLE_KINDS
from mixray.store import Store

# Answers of one problem's samples as letters: R is right, a dot is no answer, other letters are other answers.
Letters = list[str]


def answers(problems: Letters) -> Answers:
    votes = [-1 if letter == "." else 0 if letter == "R" else ord(letter) for problem in problems for letter in problem]
    places = [number for number, problem in enumerate(problems) for _ in problem]
    zeros = np.zeros(len(votes), dtype=np.int64)
    return Answers(
        tuple(f"p{number:03d}" for number in range(len(problems))), np.array(places),
        np.where(np.array(votes) == 0, 0, len(SAMPLE_KINDS) - 1), zeros, zeros.astype(bool), np.array(votes),
    )  # fmt: skip


def by_hand(problem: str, k: int) -> tuple[float, float]:
    """Return pass@k and maj@k by looking at every subset."""
    passed, won = [], []
    for subset in combinations(problem, k):
        votes = {letter: subset.count(letter) for letter in set(subset) - {"."}}
        leaders = [letter for letter, count in votes.items() if count == max(votes.values())]
        passed.append("R" in subset)
        won.append(("R" in leaders) / len(leaders) if leaders else 0.0)
    return float(np.mean(passed)), float(np.mean(won))


@given(st.lists(st.text("RRABC.", min_size=5, max_size=5), min_size=1, max_size=4), st.integers(1, 5))
@hypothesis_settings(deadline=None, max_examples=150)
def test_pass_and_majority_are_those_over_all_subsets(problems: Letters, k: int) -> None:
    told = answers(problems)
    expected = np.array([by_hand(problem, k) for problem in problems])
    assert rates.passed(told, k) == pytest.approx(expected[:, 0])
    assert majority.majority(told, k, 0) == pytest.approx(expected[:, 1])


# By hand: 1 - C(5, 2) / C(8, 2) = 18/28; 1 - C(5, 4) / C(8, 4) = 65/70.
def test_pass_at_k_has_the_known_values() -> None:
    told = answers(["RRRAAABB"])
    assert [rates.passed(told, k)[0] for k in (1, 2, 4, 8)] == pytest.approx([3 / 8, 18 / 28, 65 / 70, 1])


def test_a_tie_is_shared_and_silence_never_wins() -> None:
    told = answers(["RRAA", "RABC", "....", "R...", "AAAR"])
    assert majority.majority(told, 4, 0).tolist() == [1 / 2, 1 / 4, 0, 1, 0]


def test_many_samples_are_told_by_seeded_draws_that_come_near_the_exact_value() -> None:
    told = answers(["R" * 12 + "A" * 10 + "B" * 8 + "." * 2] * 40)
    exact = majority.chance(32, 12, (10, 8), 8)
    found = majority.majority(told, 8, 3)
    assert found.mean() == pytest.approx(exact, abs=0.02)
    assert found.tolist() == majority.majority(told, 8, 3).tolist()
    assert majority.majority(told, 32, 3).tolist() == [1.0] * 40


def test_more_than_were_asked_is_refused() -> None:
    told = answers(["RAA", "RA"])
    for asked in (lambda: rates.passed(told, 3), lambda: majority.majority(told, 3, 0)):
        with pytest.raises(ValueError, match="@3 of 2 samples"):
            asked()


def test_k_are_powers_of_two_and_n() -> None:
    assert [rates.sample_counts(most) for most in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def stored(store: Store, *changes: dict[str, Any]) -> Answers:
    """Store one sample per change of a plain wrong one, and read them."""
    plain = made_up.scores(store, "plain", {"made-up-test": np.zeros((len(changes), 1), dtype=int)}, truncated=0).read_table().to_pylist()
    artefact = store.artefact("scores", "changed", {})
    with artefact.staging() as staging:
        table = pa.Table.from_pylist([row | change for row, change in zip(plain, changes, strict=True)], schema=rows.SCORE)
        staging.write_table("scores.parquet", table)
    return read_answers(artefact)["made-up-test"]


def test_each_sample_counts_once_under_the_first_kind_that_holds(store: Store) -> None:
    told = stored(
        store,
        {"verdict": "right", "status": "looping"},
        {"finish_reason": "error", "status": "error", "answer": None, "verdict": "unknown"},
        {"finish_reason": "length", "status": "looping", "answer": None},
        {"status": "looping", "answer": None},
        {"answer": None, "verdict": "unknown"},
        {"answer": "  ", "verdict": "wrong"},
        {"verdict": "unknown"},
        {},
    )
    assert [SAMPLE_KINDS[kind] for kind in told.kinds] == [
        "right",
        "error",
        "truncated",
        "looping",
        "no_answer",
        "no_answer",
        "unknown",
        "wrong",
    ]
    shares = rates.shares([told])
    assert set(shares) == {f"{kind}_share" for kind in SAMPLE_KINDS[1:]}
    assert sum(shares.values()) + told.right.mean() == pytest.approx(1)


def test_answers_that_differ_in_spaces_vote_together_and_right_ones_whatever_they_wrote(store: Store) -> None:
    votes = stored(
        store, {"answer": " 12"}, {"answer": "12 "}, {"answer": "13"},
        {"answer": "0.5", "verdict": "right"}, {"answer": "1/2", "verdict": "right"},
    ).votes  # fmt: skip
    assert votes[0] == votes[1] > 0
    assert votes[2] not in (votes[0], 0)
    assert votes[3] == votes[4] == 0


def test_rows_of_earlier_versions_tell_no_status(store: Store) -> None:
    artefact = made_up.scores(store, "new", {"a": np.array([[1], [0]])})
    old = store.artefact("scores", "old", {})
    with old.staging() as staging:
        staging.write_table("scores.parquet", artefact.read_table().drop_columns(["status"]))
    assert read_answers(old)["a"].kinds.tolist() == read_answers(artefact)["a"].kinds.tolist()


def test_rows_in_any_order_are_the_same_answers(store: Store) -> None:
    right = np.random.default_rng(0).integers(0, 2, (30, 20))
    artefact = made_up.scores(store, "ordered", {"a": right, "b": 1 - right})
    table = artefact.read_table()
    shuffled = store.artefact("scores", "shuffled", {})
    with shuffled.staging() as staging:
        staging.write_table("scores.parquet", table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows))))
    one, other = read_answers(artefact), read_answers(shuffled)
    assert list(one) == list(other) == ["a", "b"]
    for name in one:
        assert one[name].problem_ids == other[name].problem_ids
        assert one[name].right.tolist() == other[name].right.tolist()
        assert majority.majority(one[name], 2, 0).tolist() == majority.majority(other[name], 2, 0).tolist()
    assert one["a"].right.tolist() == right.mean(axis=1).tolist()


@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(2, 30))
def test_edges_are_whole_rising_and_hold_both_ends(low: int, high: int, most: int) -> None:
    low, high = sorted((low, high))
    edges = budgets.spaced(low, high, most)
    assert edges == sorted(set(edges))
    assert 2 <= len(edges) <= most
    assert edges[0] == max(1, low)
    assert edges[-1] >= high


def test_what_was_cut_off_does_not_vote(store: Store) -> None:
    finish = ["stop", "length", "length"]
    made = [
        dict.fromkeys(rows.SCORE.names)
        | {"problem_id": "p0", "benchmark": "sums", "sample": sample, "finish_reason": reason, "answer": "42", "verdict": verdict}
        for sample, (reason, verdict) in enumerate(zip(finish, ("right", "wrong", "wrong"), strict=True))
    ]
    artefact = store.artefact("scores", "arm", {})
    with artefact.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(made, schema=rows.SCORE))
    told = read_answers(artefact)["sums"]
    assert majority.majority(told, 3, 0).tolist() == [1.0]
