"""Verdicts: the traps others fell into, as a table, and the rules around them."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.errors import VerifyError
from mixray.verify import Verdict, verify, verify_file
from mixray.verify.equal import compare, normal_form

RIGHT, WRONG, UNKNOWN = "right", "wrong", "unknown"

AT_ONCE = [
    # gold, answer, verdict
    ("27.0", "27", RIGHT),  # a JSON float as gold
    ("025", "25", RIGHT),  # AIME
    ("10,000", "10000", RIGHT),
    (r"10{,}000", r"10,\!000", RIGHT),
    (r"\$32,348", "32348", RIGHT),
    ("90", r"90^\circ", RIGHT),
    (r"\text{(C)}", "C", RIGHT),
    (r"\frac{14}{5}", "2.8", RIGHT),
    (r"\dfrac12", "1/2", RIGHT),
    (r"-\frac{1}{2}", "-0.5", RIGHT),
    (r"10\%", "0.1", RIGHT),
    (r"10\%", "10", RIGHT),
    ("10", "10%", RIGHT),
    ("75", "0.75", WRONG),
    (r"\frac13", "0.333", WRONG),
    (r"\frac13", "0.333333", RIGHT),
    ("0.0000001", "0.0000002", WRONG),
    ("52_8", "52", UNKNOWN),
    ("52_8", "42", UNKNOWN),  # the same number, but nobody said which base was asked for
    ("52_8", "52_{8}", RIGHT),
    ("52_8", "52_9", WRONG),
    (r"288\pi", "288pi", RIGHT),
    ("8:34 p.m.", "20:34", RIGHT),
    ("8:34 p.m.", "8:34", UNKNOWN),
    ("8:34 p.m.", "8:34 a.m.", WRONG),
    ("(1,2)", "(1, 2)", RIGHT),  # identical tuples, intervals, matrices
    (r"\text{Even}", "even", RIGHT),
    ("Monday", "Tuesday", WRONG),
    ("x" * 400, "y" * 400, UNKNOWN),
    ("x" * 400, "x" * 400, RIGHT),
    ("", "5", UNKNOWN),
]

WITH_ALGEBRA = [
    ("1/2004!", "1/2006!", WRONG),  # Math-Verify rounds both to zero
    ("1/2^{99}", "1/2^{98}", WRONG),
    (r"1 - \frac1e", r"1 + \frac1e", WRONG),
    ("5", "x=5", RIGHT),
    (r"5\text{ cm}", "5", RIGHT),
    ("1,2,3", "3,1,2", RIGHT),
    ("(1,2)", "(2,1)", WRONG),
    (r"1 \pm \sqrt2", r"1+\sqrt2, 1-\sqrt2", RIGHT),
    (r"2\frac13", r"\frac73", RIGHT),
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}", RIGHT),
    ("x^2+1", "1+x^2", RIGHT),
    ("12", "1 2", WRONG),
    ("i", "-i", WRONG),
]


def judge_one(gold: str, answer: str) -> Verdict:
    return verify([f"\\boxed{{{answer}}}"], [gold])[0]


@pytest.mark.parametrize(("gold", "answer", "verdict"), AT_ONCE)
def test_traps_that_need_no_algebra(gold: str, answer: str, verdict: str) -> None:
    opinion = compare(gold, answer)
    assert opinion is not None
    assert opinion.verdict == verdict, opinion.reason


def test_traps_that_need_algebra() -> None:
    verdicts = verify([f"\\boxed{{{answer}}}" for _, answer, _ in WITH_ALGEBRA], [gold for gold, _, _ in WITH_ALGEBRA])
    seen = {(gold, answer): verdict.verdict for (gold, answer, _), verdict in zip(WITH_ALGEBRA, verdicts, strict=True)}
    assert seen == {(gold, answer): verdict for gold, answer, verdict in WITH_ALGEBRA}


@pytest.mark.parametrize(
    ("response", "finish_reason", "verdict", "reason"),
    [
        (r"\boxed{5}", "stop", RIGHT, "same"),
        (r"\boxed{5}", None, RIGHT, "same"),
        (r"\boxed{5}", "length", WRONG, "truncated"),
        (r"\boxed{5}", "error", UNKNOWN, "error"),
        (r"\boxed{5}", "content_filter", UNKNOWN, "content_filter"),
        ("five", "stop", UNKNOWN, "no_answer"),
        (r"\boxed{}", "stop", UNKNOWN, "no_answer"),
        (r"\boxed{5} or \boxed{6}", "stop", UNKNOWN, "several_answers"),
        (r"\boxed{6} or \boxed{7}", "stop", UNKNOWN, "several_answers"),
        (r"\boxed{5} or \boxed{5}", "stop", RIGHT, "same"),
        (r"\boxed{6} \text{ or rather } \boxed{5}", "stop", RIGHT, "same"),
        ("  ", "stop", UNKNOWN, "empty"),
        (None, "stop", UNKNOWN, "empty"),
        (r"\boxed{6}", "stop", WRONG, "different_number"),
    ],
)
def test_only_a_finished_answer_is_right(response: str | None, finish_reason: str | None, verdict: str, reason: str) -> None:
    seen = verify([response], ["5"], [finish_reason])[0]
    assert (seen.verdict, seen.verdict_reason) == (verdict, reason)


def test_boxes_that_stand_together_may_be_the_list_that_is_asked_for() -> None:
    verdicts = verify([r"$x=\boxed{3}$ or $x=\boxed{2}$", r"\boxed{2}, \boxed{4}"], ["2, 3", "2, 3"])
    assert [verdict.verdict for verdict in verdicts] == [RIGHT, UNKNOWN]
    assert [verdict.answer for verdict in verdicts] == ["3, 2", "2, 4"]


@given(st.text(), st.sampled_from(["", "<think>", "</think>", "\\boxed{4} "]), st.booleans())
def test_a_truncated_trace_is_never_right(text: str, piece: str, unboxed: bool) -> None:
    verdict = verify([f"{text}{piece}\\boxed{{5}}"], ["5"], ["length"], unboxed)[0]
    assert (verdict.verdict, verdict.verdict_reason) == (WRONG, "truncated")


@given(st.integers(), st.integers(), st.sampled_from([". Then ", "; so ", "</think>", ", no: ", " = "]))
def test_an_earlier_different_box_is_not_the_answer(earlier: int, last: int, between: str) -> None:
    verdict = verify([f"\\boxed{{{earlier}}}{between}\\boxed{{{last}}}"], [str(last)])[0]
    assert (verdict.verdict, verdict.answer) == (RIGHT, str(last))


@given(st.integers())
def test_a_number_without_a_box_counts_only_where_that_is_said(number: int) -> None:
    assert verify([f"It is {number}"], [str(number)])[0].verdict_reason == "no_answer"
    assert verify([f"It is {number}"], [str(number)], unboxed=True)[0].verdict == RIGHT


def test_numbers_start_no_process() -> None:
    before = {child.pid for child in psutil.Process().children()}
    assert [row.verdict for row in verify([r"\boxed{5}", "it is 7"], ["5", "8"], unboxed=True)] == [RIGHT, WRONG]
    assert {child.pid for child in psutil.Process().children()} <= before


@given(st.text(), st.text())
def test_comparing_never_raises_and_same_is_right(one: str, other: str) -> None:
    compare(one, other)
    if normal_form(one):
        opinion = compare(one, one)
        assert opinion is not None
        assert opinion.verdict == RIGHT


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_integers_are_compared_exactly(one: int, other: int) -> None:
    opinion = compare(f"{one:,}", f"{other}.0")
    assert opinion is not None
    assert (opinion.verdict == RIGHT) == (one == other)


def test_a_file_keeps_its_rows_and_gets_verdicts(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "response": "so 27", "answer_text": 27.0},
        {"id": 2, "response": r"\boxed{3}", "answer_text": ["3"], "finish_reason": "length"},
        {"id": 3, "response": "\ud800 none", "answer_text": "8"},
    ]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert verify_file(source, "response", "answer_text", out, unboxed=True) == {RIGHT: 1, WRONG: 1, UNKNOWN: 1}
    judged = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in judged] == [1, 2, 3]
    assert [row["verdict_reason"] for row in judged] == ["same_number", "truncated", "no_answer"]
    assert [row["answer"] for row in judged] == ["27", "3", None]


@pytest.mark.parametrize(("text", "told"), [("{", "in.jsonl:1"), ('{"response": "x"}\n', "answer"), ("[1]\n", "list")])
def test_a_bad_file_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(VerifyError, match=told):
        verify_file(tmp_path / "in.jsonl", "response", "answer", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
