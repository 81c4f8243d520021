"""What counts as the answer of a response."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.verify.extract import answer_part, final_answer, final_answers, gold_answer

BOXED = [
    # response, answer
    (r"so the answer is \boxed{42}.", "42"),
    (r"first \boxed{3}, no: \boxed{4}", "4"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\fbox{7}", "7"),
    (r"\boxed {7}", "7"),
    (r"the answer is $\boxed 7$ as asked", "7"),
    (r"\boxed{\boxed{5}}", "5"),
    (r"\boxed{3} and \boxed{4", "3"),
    (r"$x = \boxed{2}$ or $x=\boxed{3}$.", "2, 3"),
    (r"\boxed{1}, \boxed{2}, \text{ and } \boxed{3}", "1, 2, 3"),
    (r"\boxed{2}, that is \boxed{2.0}", "2.0"),
    (r"\boxed{2} = \boxed{1+1}", "1+1"),
    (r"$\boxed 7$ and $\boxed 8$", "7, 8"),
    (r"\boxed{}", ""),
    (r"\boxed{12} [asy] draw((0,0)--(1,1)); [/asy]", "12"),
    (r"<think>maybe \boxed{3}</think> It is \boxed{5}", "5"),
    (r"maybe \boxed{3}</think> It is \boxed{5}", "5"),
    (r"<think>maybe \boxed{3}</think> It is 5", None),
    (r"<think>maybe \boxed{3}", None),
    (r"\boxed{5} <think>or \boxed{3}", "5"),
    (r"the \boxedanswer is 5", None),
    ("nothing here", None),
    ("", None),
]

UNBOXED = [
    ("She has 3 apples and 12 pears, 15 in all.", "15"),
    ("#### 1,234", "1,234"),
    ("It costs $18.50.", "$18.50"),
    ("from 3-5", "5"),
    ("it is -5", "-5"),
    ("it is −5", "−5"),
    ("it takes 3 1/2", "3 1/2"),
    ("about 25%", "25%"),
    ("half, that is 1/2", "1/2"),
    (r"which is $\frac{5}{12}$.", r"\frac{5}{12}"),
    (r"that is 2\frac{1}{3} or -\dfrac{1}{3}", r"-\dfrac{1}{3}"),
    (r"that is 2\frac{1}{3}", r"2\frac{1}{3}"),
    ("we get .5", ".5"),
    ("lists 1,2,3", "3"),
    (r"12 at first, then \boxed{13}, in step 14", "13"),
    ("no number", None),
]


@pytest.mark.parametrize(("response", "answer"), BOXED)
def test_the_last_balanced_box_outside_thinking_is_the_answer(response: str, answer: str | None) -> None:
    assert final_answer(response) == answer


@pytest.mark.parametrize(("response", "answer"), UNBOXED)
def test_without_a_box_the_last_number_counts_where_that_is_asked_for(response: str, answer: str | None) -> None:
    assert final_answer(response, unboxed=True) == answer


@pytest.mark.parametrize(
    ("gold", "answer"), [("42", "42"), (r"so \boxed{7}", "7"), ("6*7=<<6*7=42>>42\n#### 42", "42"), (" 3 ", "3"), ("", "")]
)
def test_a_gold_is_looked_into(gold: str, answer: str) -> None:
    assert gold_answer(gold) == answer


PIECES = st.sampled_from(
    ["\\boxed{", "\\fbox", "\\boxed ", "}", "{", "\\", "\\}", "$", "<think>", "</think>", "1,2", "3.", "-", "%", " ", "x"]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@given(TEXTS, st.booleans())
def test_answers_are_parts_of_the_text(text: str, unboxed: bool) -> None:
    assert all(answer in text for answer in final_answers(text, unboxed))


@pytest.mark.parametrize("piece", ["\\boxed{", "\\boxed x", "{", "\\boxed{1},", "1,111", "1,"])
def test_babble_is_read_in_time(piece: str) -> None:
    began = time.process_time()
    final_answer(piece * 200_000, unboxed=True)
    assert time.process_time() - began < 10


@given(TEXTS)
def test_an_answer_put_back_in_a_box_is_found_again(text: str) -> None:
    answer = final_answer(text)
    if answer and "\\boxed" not in answer and "\\fbox" not in answer:
        assert final_answer(f"\\boxed{{{answer}}}") == answer


@given(TEXTS)
def test_thinking_never_counts(text: str) -> None:
    assert final_answer(f"<think>{text}</think>", unboxed=True) is None
    assert answer_part(f"<think>{text}") == answer_part(text.rpartition("</think>")[2] if "</think>" in text else "")
