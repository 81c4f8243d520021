"""Two ways of judging one pool, and the traces on which they differ."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mixray.errors import VerifyError
from mixray.rows import TRACE
from mixray.verify.audit import POLICIES, disagreements


def table(*traces: dict[str, object]) -> pa.Table:
    plain = {"gold": "5", "finish_reason": "stop", "verdict": "right", "verdict_reason": "same"}
    return pa.Table.from_pylist([plain | {"trace_id": str(number)} | trace for number, trace in enumerate(traces)], schema=TRACE)


def differing(pool: list[pa.Table], first: str, second: str, unboxed: bool = False) -> list[tuple[str, str, str]]:
    return [(row.trace_id, row.first, row.second) for row in disagreements(pool, first, second, unboxed)]


AGREED = {"response": r"\boxed{5}", "answer": "5"}
OTHER_FORM = {"response": r"\boxed{5.0}", "answer": "5.0", "verdict_reason": "same_number"}
OVERRULED = {
    "response": r"\boxed{five cows}", "verdict": "right", "verdict_reason": "judge", "judge_verdict": "right", "rule_verdict": "unknown",
    "rule_reason": "words_and_formula",
}  # fmt: skip
STALE = {"response": r"\boxed{6}", "answer": "6"}
CUT_OFF = {"response": r"\boxed{5}", "finish_reason": "length", "verdict": "wrong", "verdict_reason": "truncated"}
SILENT = {"response": None, "finish_reason": "error", "verdict": "unknown", "verdict_reason": "error"}
POOL = [table(AGREED, OTHER_FORM, OVERRULED), table(), table(STALE, CUT_OFF, SILENT)]


def test_a_policy_agrees_with_itself() -> None:
    assert {name: differing(POOL, name, name) for name in POLICIES} == {name: [] for name in POLICIES}


def test_a_pool_judged_under_an_older_rule_shows_it() -> None:
    seen = differing([table(AGREED, OTHER_FORM, STALE, CUT_OFF, SILENT)], "stored", "mixray")
    assert seen == [("2", "right (same)", "wrong (different_number)")]


def test_what_the_judge_overruled_is_listed_against_the_rule() -> None:
    assert differing(POOL, "rule", "judge") == [("2", "unknown (words_and_formula)", "right (judge)")]
    assert differing(POOL, "stored", "judge") == []


def test_another_form_is_wrong_where_only_the_same_text_is_right() -> None:
    seen = differing([table(AGREED, OTHER_FORM)], "mixray", "exact")
    assert seen == [("1", "right (same_number)", "wrong (different)")]


def test_math_verify_sees_no_truncation_and_drops_bases() -> None:
    base = {"gold": "52_8", "response": r"\boxed{52}"}
    seen = differing([table(AGREED, OTHER_FORM, CUT_OFF, base, {"response": "none"})], "mixray", "math-verify")
    assert seen == [
        ("2", "wrong (truncated)", "right (equivalent)"),
        ("3", "unknown (base_on_one_side)", "right (equivalent)"),
    ]


def test_math_verify_reads_thousands_and_plain_arithmetic_although_eval_is_taken_from_it() -> None:
    pool = [table({"gold": "151602", "response": r"\[\boxed{151,602}\text{ km}\]"}, {"gold": "0.5", "response": "so it is 1/2"})]
    assert differing(pool, "stored", "math-verify") == []


def test_a_number_without_a_box_is_judged_where_that_is_said() -> None:
    pool = [table({"response": "It is 5", "verdict": "unknown", "verdict_reason": "no_answer"})]
    assert differing(pool, "stored", "exact", unboxed=False) == []
    assert differing(pool, "stored", "exact", unboxed=True) == [("0", "unknown (no_answer)", "right (same)")]


def test_a_disagreement_tells_gold_and_answer() -> None:
    (row,) = disagreements([table(STALE)], "stored", "exact")
    assert (row.gold, row.answer) == ("5", "6")


@pytest.mark.parametrize(("first", "second"), [("ours", "rule"), ("rule", "Math-Verify"), ("", "rule")])
def test_a_name_nobody_knows_is_told_with_those_there_are(first: str, second: str) -> None:
    with pytest.raises(VerifyError, match=r"stored \| rule \| judge"):
        list(disagreements([], first, second))
