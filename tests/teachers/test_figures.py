"""What a pool came to: counts, pass rates by subject and level before and after rejection, seconds over all its runs, cost."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.recipe import ImportedTeacher, RemoteTeacher, Teacher
from mixray.rows import TRACE, accepted
from mixray.teachers.figures import Figures, judged_anew, spent
from mixray.teachers.parts import Stamp
from mixray.teachers.words import strata


def trace(problem: str, verdict: str, status: str = "ok", **more: Any) -> dict[str, Any]:
    given = {"problem_id": problem, "verdict": verdict, "verdict_reason": "same", "status": status, "subject": "algebra", "level": 1}
    return given | {"num_prompt_tokens": 10, "num_response_tokens": 100} | more


def figures(rows: list[dict[str, Any]], at_once: int = 100) -> dict[str, Any]:
    added = Figures()
    for start in range(0, len(rows), at_once):
        added.add(pa.Table.from_pylist(rows[start : start + at_once], schema=TRACE))
    return added.outcome()


def test_a_pool_is_counted() -> None:
    out = figures(
        [
            trace("a", "right"),
            trace("a", "right"),
            trace("b", "right", "looping"),
            trace("c", "wrong", "truncated", verdict_reason="truncated"),
            trace("d", "unknown", "empty", verdict_reason="empty", num_response_tokens=None),
        ]
    )
    expected = {"num_problems": 4, "num_traces": 5, "right": 3, "wrong": 1, "unknown": 1, "accepted": 2, "num_solved": 1, "truncated": 1}
    assert {name: out[name] for name in expected} == expected
    assert out["statuses"] == {"ok": 2, "truncated": 1, "looping": 1, "garbled": 0, "empty": 1, "error": 0}
    assert out["verdict_reasons"] == {"empty": 1, "same": 3, "truncated": 1}
    assert (out["prompt_tokens"], out["response_tokens"], out["mean_response_tokens"]) == (50, 400, 80)
    assert (out["judged"], out["right_by_judge"]) == (0, 0)


def test_pass_rates_before_and_after_rejection() -> None:
    rows = [
        *(trace("a", verdict) for verdict in ("right", "wrong")),
        *(trace("b", verdict, subject="geometry", level=5) for verdict in ("wrong", "wrong")),
        *(trace("c", verdict, subject="geometry", level=5) for verdict in ("wrong", "right")),
        trace("d", "unknown", subject=None, level=None),
    ]
    table = {(row["subject"], row["level"]): row for row in strata(figures(rows))}
    assert list(table) == [("-", 0), ("algebra", 1), ("geometry", 5)]
    geometry = table["geometry", 5]
    assert (geometry["problems"], geometry["solved"]) == (2, 1)
    assert (geometry["share_before"], geometry["pass_rate"], geometry["share_after"]) == (0.5, 0.25, 0.5)
    assert sum(row["share_before"] for row in table.values()) == pytest.approx(1)
    assert sum(row["share_after"] for row in table.values()) == pytest.approx(1)
    assert table["-", 0]["share_after"] == 0


def test_a_pool_without_a_right_answer_divides_by_nothing() -> None:
    (row,) = strata(figures([trace("a", "wrong")]))
    assert (row["pass_rate"], row["share_after"]) == (0, 0)
    assert strata(figures([])) == []
    assert figures([])["mean_response_tokens"] == 0


VERDICTS = st.tuples(st.sampled_from(["right", "wrong", "unknown"]), st.sampled_from(["ok", "looping"]))


@settings(deadline=None)
@given(st.lists(st.lists(VERDICTS, min_size=1, max_size=4), max_size=8), st.integers(1, 5))
def test_figures_do_not_depend_on_how_the_rows_are_cut(problems: list[list[tuple[str, str]]], at_once: int) -> None:
    rows = [trace(f"p{index}", *answer) for index, answers in enumerate(problems) for answer in answers]
    out = figures(rows, at_once)
    assert out == figures(rows)
    assert out["num_problems"] == len(problems)
    assert out["accepted"] == sum(accepted(row) for row in rows)
    assert out["num_solved"] == sum(any(answer == ("right", "ok") for answer in answers) for answers in problems)


def test_a_judges_share_of_the_right_ones_is_told() -> None:
    asked = {"rule_verdict": "wrong", "rule_reason": "different"}
    rows = [trace("a", "right"), trace("b", "right", **asked), trace("c", "wrong", **asked)]
    out = figures(rows)
    assert (out["judged"], out["right_by_judge"], out["right"]) == (2, 1, 2)


OUT = {"prompt_tokens": 1_000_000, "response_tokens": 2_000_000, "accepted": 500}
STAMPS = [
    Stamp("run 1", "actor 1", actor_started=0, first_asked=100, written=150),
    Stamp("run 1", "actor 1", actor_started=0, first_asked=100, written=200),
    Stamp("run 1", "actor 2", actor_started=100, first_asked=110, written=190),
    Stamp("run 2", "actor 3", actor_started=1000, first_asked=1010, written=1060),  # after a kill, and hours of nothing
]


def test_seconds_are_added_up_over_all_runs_and_replicas() -> None:
    price = {"response_per_million_tokens": 2.0, "prompt_per_million_tokens": 1.0, "per_hour": 36.0, "currency": "EUR"}
    out = spent(STAMPS, Teacher(model="m", num_gpus=2, replicas=(1, 2), price=price), OUT)
    assert out["seconds"] == 100 + 50
    assert out["tokens_per_second"] == pytest.approx(2_000_000 / 150)
    assert out["replica_seconds"] == 200 + 90 + 60
    assert (out["compute"], out["compute_seconds"]) == ("gpu", 700)
    assert out["cost"] == pytest.approx(1 + 4 + 350 / 3600 * 36)
    assert out["cost_per_accepted_trace"] == pytest.approx(out["cost"] / 500)
    assert out["currency"] == "EUR"


def test_threads_count_on_a_cpu_and_nothing_where_somebody_else_computes() -> None:
    assert spent(STAMPS, Teacher(model="m", threads=3), OUT)["compute_seconds"] == 350 * 3
    remote = spent(STAMPS, RemoteTeacher(endpoint="http://127.0.0.1/v1", model="m"), OUT)
    assert (remote["compute"], remote["compute_seconds"], remote["cost"]) == ("none", 0, 0)
    imported = spent([], ImportedTeacher(traces="x.jsonl"), OUT)
    assert (imported["seconds"], imported["tokens_per_second"]) == (0, 0)


def test_no_accepted_trace_has_no_cost_of_its_own() -> None:
    assert spent(STAMPS, Teacher(model="m", price={"per_hour": 1}), OUT | {"accepted": 0})["cost_per_accepted_trace"] is None


def test_new_verdicts_change_what_an_accepted_trace_has_cost_and_not_what_was_paid() -> None:
    before = figures([trace("a", "right"), trace("b", "wrong")]) | {"cost": 6.0, "cost_per_accepted_trace": 6.0, "seconds": 5.0}
    after = Figures()
    after.add(pa.Table.from_pylist([trace("a", "right"), trace("b", "right")], schema=TRACE))
    out = judged_anew(before, after)
    assert (out["cost"], out["cost_per_accepted_trace"], out["accepted"], out["seconds"]) == (6.0, 3.0, 2, 5.0)
