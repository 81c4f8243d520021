"""What a judge is asked, and what its replies mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.verify import judge_question, read_opinions
from mixray.verify.opinion import MOST_SHOWN

REPLIES = [
    # reply, finish reason, verdict, reason
    ("True", "stop", "right", "said"),
    ("False", "stop", "wrong", "said"),
    ("true.", "stop", "right", "said"),
    ("**FALSE**", None, "wrong", "said"),
    ("The answer is the same.\nTrue", "stop", "right", "said"),
    ("It would be true if x were 3.\nSo: False", "stop", "wrong", "said"),
    ("<think>False? No.</think>True", "stop", "right", "said"),
    ("<think>True", "stop", "unknown", "empty"),
    ("True or False? I cannot say: true, false.", "stop", "unknown", "unreadable"),
    ("untrue", "stop", "unknown", "unreadable"),
    ("Yes", "stop", "unknown", "unreadable"),
    ("", "stop", "unknown", "empty"),
    (" \n", "stop", "unknown", "empty"),
    (None, "stop", "unknown", "empty"),
    ("True", "length", "unknown", "truncated"),
    ("True", "error", "unknown", "error"),
    (None, "content_filter", "unknown", "content_filter"),
]


@pytest.mark.parametrize(("reply", "finish_reason", "verdict", "reason"), REPLIES)
def test_a_reply_says_one_word_or_nothing(reply: str | None, finish_reason: str | None, verdict: str, reason: str) -> None:
    (seen,) = read_opinions([reply], ["5"], [finish_reason])
    assert (seen.verdict, seen.verdict_reason) == (verdict, reason)


def test_replies_are_read_in_order() -> None:
    seen = read_opinions([reply for reply, *_ in REPLIES], ["5"] * len(REPLIES), [reason for _, reason, *_ in REPLIES])
    assert [verdict.verdict for verdict in seen] == [verdict for *_, verdict, _ in REPLIES]


@given(st.text())
def test_any_reply_is_read(reply: str) -> None:
    assert read_opinions([reply], ["5"], ["stop"])[0].verdict in ("right", "wrong", "unknown")


def test_the_question_holds_problem_gold_and_final_answer_and_no_thinking() -> None:
    question = judge_question("What is 2+3?", "5", r"<think>perhaps \boxed{4}</think> So \boxed{five}.")
    for part in ("<problem>\nWhat is 2+3?\n", "<correct_answer>\n5\n", "<given_answer>\nfive\n"):
        assert part in question
    assert "perhaps" not in question


def test_where_there_is_no_answer_the_end_of_the_response_is_shown() -> None:
    question = judge_question("q", "5", "begin " + "x" * 3 * MOST_SHOWN + " it is five")
    assert "it is five" in question
    assert "begin" not in question
    assert len(question) < 2 * MOST_SHOWN


def test_braces_in_a_problem_are_left_alone() -> None:
    assert r"\frac{1}{2} {gold} {0}" in judge_question(r"\frac{1}{2} {gold} {0}", "{given}", r"\boxed{{problem}}")
