"""What answers a teacher's questions: one interface for an engine in this process and for an endpoint far away.

In: messages and a seed each. Out: futures of answers with their finish reason. A source keeps nothing a kill could take: whoever asks
writes the answers down, and asks again for those that are missing.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from mixray.chat import Messages
from mixray.engine import BadRequest

__all__ = ["BadRequest", "Source", "TeacherAnswer"]


@dataclass(frozen=True)
class TeacherAnswer:
    """What came of one question; `seconds` runs from asking to the end."""

    text: str
    finish_reason: str  # stop or length; anything else is a failure
    num_prompt_tokens: int
    num_response_tokens: int
    seconds: float = 0.0


class Source(Protocol):
    """Something that answers. `ask` may be called from any thread and returns at once; its future ends in an answer or in BadRequest."""

    name: str
    """What answers, with its version; it stands on every trace."""
    template: str
    """A digest of what is put around a question before a model sees it."""
    opens_thinking: bool
    """Whether the prompt already holds the tag that opens the thinking part, so that answers lack it."""

    def ask(self, messages: Messages, seed: int) -> Future[TeacherAnswer]:
        """Queue a question."""

    def close(self) -> None:
        """Give up what is still asked and leave no process, thread or connection behind."""
