"""What an OpenAI-compatible endpoint replied, read: of a chat completion or a text completion.

In: parsed JSON from anybody. Out: a `Reply`, or an error of the usual kinds where it has another shape.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mixray import form
from mixray.rows import MOST_TOKENS


@dataclass(frozen=True)
class Reply:
    """What a model said. A count of tokens is None where the endpoint does not tell it."""

    text: str
    reasoning: str  # what it thought before, where the endpoint tells the two apart
    finish_reason: str
    num_prompt_tokens: int | None
    num_response_tokens: int | None


def read_reply(reply: Any) -> Reply:
    """Return the first choice of a chat completion.

    Raises:
        ValueError: an error in place of an answer (some endpoints send it as a success), or an answer that is not text; KeyError and the
            like where the reply has another shape.
    """
    message = _choice(reply)["message"]
    reasoning = next((said for field in ("reasoning_content", "reasoning") if isinstance(said := message.get(field), str) and said), "")
    return _reply(reply, message.get("content"), reasoning)


def read_completion(reply: Any) -> Reply:
    """Return the first choice of a text completion; raises as `read_reply` does."""
    return _reply(reply, _choice(reply)["text"], "")


def _choice(reply: Any) -> Any:
    if reply.get("error") and not reply.get("choices"):
        raise ValueError(f"an error in place of an answer: {json.dumps(reply['error'])}")
    return reply["choices"][0]


def _reply(reply: Any, text: Any, reasoning: str) -> Reply:
    usage, finish_reason = reply.get("usage") or {}, reply["choices"][0]["finish_reason"]
    finish_reason = form.FINISH_REASONS.get(str(finish_reason), finish_reason)
    text = text or ""
    if not isinstance(text, str) or not isinstance(finish_reason, str):
        raise ValueError(f"finish_reason {finish_reason!r} and content of type {type(text).__name__}")
    return Reply(text, reasoning, finish_reason, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None
