"""What of a trace a student is taught: its messages.

In: a question, a trace and what the recipe says of its pool. Out: the messages. No text is ever cut: a summary is all that follows
the thinking.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixray import chat
from mixray.rows import THINK_TAGS

_CLOSE = THINK_TAGS[1]


@dataclass(frozen=True)
class Lesson:
    """How the traces of one pool are taught.

    Attributes:
        prompt: the user turn, with `{question}`.
        view: `whole`, or `summary`: what follows the thinking; a trace that does not think is its own summary.
        tag: a control word on a last line of the user turn, so that one student can be told which way to answer (Thinkless' think modes).
    """

    prompt: str
    view: str = "whole"
    tag: str | None = None

    @property
    def turn(self) -> str:
        """The user turn with its tag, `{question}` still in it."""
        return f"{self.prompt}\n{self.tag}" if self.tag else self.prompt

    def asked(self, questions: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the user turn of each question, as `messages` makes it."""
        first, *others = self.turn.split("{question}")
        return pc.binary_join_element_wise(first, *(piece for other in others for piece in (questions, other)), "")

    def response(self, text: str) -> str:
        """Return what is taught of a response."""
        return text.rpartition(_CLOSE)[2].lstrip() if self.view == "summary" else text

    def messages(self, question: str, response: str) -> chat.Messages:
        """Return the conversation one example teaches."""
        return [*chat.ask(question, self.turn), {"role": "assistant", "content": self.response(response)}]

    def settings(self) -> dict[str, Any]:
        """Return what makes it, for hashes."""
        return asdict(self)
