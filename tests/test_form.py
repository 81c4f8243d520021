"""What an answer looks like: finished, cut off, empty, looping or garbled; where its thinking ends; what of it can be stored."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.form import LOOPING_CHARACTERS, LOOPING_REPETITION, repetition, status, storable, with_thinking

WORKED = (
    "Let the number of apples be x. Then 3x + 7 = 22, so 3x = 15 and x = 5. Check: 3 times 5 is 15, and 15 plus 7 is 22, as it should "
    r"be. The pears cost twice as much, that is 2 \cdot 5 = 10, and both together come to 10 + 5 = 15 dollars. So the answer is \boxed{15}."
)
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "finish_reason", "expected"),
    [
        (WORKED, "stop", "ok"),
        (WORKED, None, "ok"),  # an imported answer, of which nobody knows how it ended
        (WORKED, "length", "truncated"),
        ("7", "stop", "ok"),
        ("", "stop", "empty"),
        (" \n\t", "stop", "empty"),
        ("", "length", "truncated"),
        ("Wait, let me check that again. " * 60, "stop", "looping"),
        ("Wait, let me check that again. " * 60, "length", "looping"),  # why it did not end says more than that it was cut off
        ("no " * 20, "stop", "ok"),  # a short answer may repeat itself
        ("\x00\x01\ufffd]]{{", "stop", "garbled"),
        ("\x00\x01\ufffd]]{{", "length", "garbled"),
        (WORKED + "\ufffd", "stop", "ok"),  # one lost character among hundreds garbles nothing
        ("tabs\tand\r\nlines", "stop", "ok"),
        ("答案是 15。Ответ: 15 🙂", "stop", "ok"),
    ],
)
def test_every_answer_has_one_status(text: str, finish_reason: str | None, expected: str) -> None:
    assert status(text, finish_reason) == expected


@settings(deadline=None)
@given(ANY_TEXT, st.sampled_from(["stop", "length", None]))
def test_any_text_has_a_status_and_a_repetition_between_0_and_1(text: str, finish_reason: str | None) -> None:
    assert status(text, finish_reason) in ("ok", "truncated", "looping", "garbled", "empty")
    assert 0 <= repetition(text) < 1


def test_repetition_tells_loops_from_prose() -> None:
    assert repetition("") == 0
    assert repetition(WORKED) < 0.6
    assert repetition(WORKED * 40) > LOOPING_REPETITION > repetition(WORKED * 2)
    assert repetition("ab" * LOOPING_CHARACTERS) > LOOPING_REPETITION


TAGS = ("<think>", "</think>")


def test_thinking_is_stored_in_the_same_tags_whatever_the_model_calls_them() -> None:
    assert with_thinking("[T]two and two[/T]4", ("[T]", "[/T]"), opened=False, keep=True) == "<think>two and two</think>4"
    assert with_thinking("<think>two</think>4", TAGS, opened=False, keep=True) == "<think>two</think>4"
    assert with_thinking("4", TAGS, opened=False, keep=True) == "4"


def test_a_model_may_have_one_tag_or_none() -> None:
    assert with_thinking("The answer is 5", ("", ""), opened=False, keep=True) == "The answer is 5"
    assert with_thinking("so[end]5", ("", "[end]"), opened=False, keep=True) == "so</think>5"


def test_a_tag_that_the_prompt_opened_is_put_back_once() -> None:
    assert with_thinking("two</think>4", TAGS, opened=True, keep=True) == "<think>two</think>4"
    assert with_thinking("\n<think>two</think>4", TAGS, opened=True, keep=True) == "\n<think>two</think>4"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>two</think>\n\n4", "4"),
        ("<think>one</think>2<think>three</think>4", "4"),
        ("4", "4"),
        ("<think>never ends", ""),
        ("4 <think>and on it goes", "4 "),
        ("two</think>4", "4"),
    ],
)
def test_dropped_thinking_leaves_the_answer_alone(text: str, kept: str) -> None:
    assert with_thinking(text, TAGS, opened=False, keep=False) == kept


@settings(deadline=None)
@given(st.text("<think>/ab", max_size=60))
def test_no_tag_survives_dropping(text: str) -> None:
    dropped = with_thinking(text, TAGS, opened=False, keep=False)
    assert not {tag for tag in TAGS if tag in dropped}


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_text_becomes_storable_and_what_was_storable_stays(text: str) -> None:
    stored = storable(text)
    assert pa.array([stored]).to_pylist() == [stored]
    assert len(stored) <= len(text)
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert stored == text


def test_half_a_surrogate_pair_becomes_one_mark_and_two_halves_one_character() -> None:
    assert storable("a\ud83db") == "a\ufffdb"
    assert storable("a\ud83d") == "a\ufffd"
    assert storable("\udc80\udcff") == "\ufffd\ufffd"
    assert storable("\ud83d\ude42") == "🙂"
    assert storable("nul \x00 stays") == "nul \x00 stays"
