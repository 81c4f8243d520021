"""A pool's figures in one line a person can read."""

from __future__ import annotations

from typing import Any

from mixray.teachers.words import plural, pool_in_words

OUT: dict[str, Any] = {
    "num_traces": 2000, "num_problems": 1000, "right": 1234, "wrong": 766, "unknown": 0, "accepted": 1200, "response_tokens": 1_500_000,
    "tokens_per_second": 5230.4, "seconds": 286.8, "compute": "gpu", "compute_seconds": 1147.0, "cost": 12.5, "currency": "EUR",
    "cost_per_accepted_trace": 12.5 / 1200, "num_set_aside": 0, "set_aside": {},
}  # fmt: skip
IMPORTED = OUT | {"response_tokens": 0, "seconds": 0.0, "tokens_per_second": 0.0, "compute": "none", "cost": 0.0}


def test_a_pool_tells_its_traces_verdicts_speed_compute_and_cost() -> None:
    assert pool_in_words(OUT) == (
        "2,000 traces of 1,000 problems; 61.7% right, 38.3% wrong, 0.0% unknown; 1,500,000 tokens at 5,230/s; 1,147 GPU s; "
        "12.50 EUR, 0.01 for each accepted trace"
    )


def test_what_nobody_knows_is_left_out() -> None:
    assert pool_in_words(IMPORTED) == "2,000 traces of 1,000 problems; 61.7% right, 38.3% wrong, 0.0% unknown"


def test_what_was_paid_for_nothing_is_said() -> None:
    assert pool_in_words(OUT | {"accepted": 0, "cost_per_accepted_trace": None}).endswith("12.50 EUR, no trace accepted")


def test_rows_set_aside_are_told_with_their_reasons() -> None:
    out = IMPORTED | {"num_traces": 1, "num_problems": 1, "num_set_aside": 3, "set_aside": {"not_json": 1, "unknown_problem": 2}}
    assert pool_in_words(out).endswith("; 3 rows set aside (1 not_json, 2 unknown_problem)")
    assert pool_in_words(out).startswith("1 trace of 1 problem; ")


def test_one_is_singular() -> None:
    assert [plural(count, "trace") for count in (0, 1, 2, 1000)] == ["0 traces", "1 trace", "2 traces", "1,000 traces"]
