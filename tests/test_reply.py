"""Replies of OpenAI-compatible endpoints, each with words of its own."""

from __future__ import annotations

from typing import Any

import pytest

from mixray.reply import read_completion, read_reply


@pytest.mark.parametrize(
    ("said", "meant"),
    [("stop", "stop"), ("eos_token", "stop"), ("end_turn", "stop"), ("max_tokens", "length"), ("content_filter", "content_filter")],
)
def test_the_two_ways_an_answer_ends_have_one_name_each(said: str, meant: str) -> None:
    """Text Generation Inference and others say `eos_token`: that is no failure."""
    assert read_reply({"choices": [{"message": {"content": "4"}, "finish_reason": said}]}).finish_reason == meant
    assert read_completion({"choices": [{"text": "4", "finish_reason": said}]}).finish_reason == meant


@pytest.mark.parametrize("said", [None, {"type": "stop"}, 7])
def test_an_end_that_is_no_word_is_no_reply(said: Any) -> None:
    with pytest.raises(ValueError, match="finish_reason"):
        read_reply({"choices": [{"message": {"content": "4"}, "finish_reason": said}]})
