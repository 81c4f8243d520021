"""A conversation with a student in a terminal: questions from standard input, answers as they come."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TextIO

from mixray.chat import Messages, ask
from mixray.errors import MixrayError
from mixray.terminal import harmless
from mixray.training.talk import Sampling, Talker

NEW = "/new"


@dataclass
class Conversation:
    """What was said so far, and where it is shown: answers on `out`, everything else on `err`."""

    talker: Talker
    sampling: Sampling
    template: str
    system: str | None
    out: TextIO
    err: TextIO
    turns: Messages = field(default_factory=list)

    def ask(self, question: str) -> None:
        """Put one question and show the answer; it becomes part of the conversation.

        Raises:
            MixrayError: the conversation leaves no room for an answer.
        """
        asked = ask(question, self.template, None if self.turns else self.system)
        reply = self.talker.answer([*self.turns, *asked], self.sampling, self._say)
        self.out.write("\n")
        self.out.flush()
        if not reply.ended:
            self._tell(f"(cut off after {reply.num_tokens:,} tokens)\n")
        self.turns += [*asked, {"role": "assistant", "content": reply.text}]

    def hold(self, name: str) -> None:
        """Put every line of standard input, until it ends or the user interrupts."""
        plain = "" if self.template == "{question}" else f"; each question is put as {harmless(self.template)!r}"
        self._tell(f"{name}{plain}. {NEW} begins another conversation, Ctrl-D ends it.\n")
        try:
            while question := self._next():
                self._take(question.strip())
        except KeyboardInterrupt:  # the user's way to end it, not a failure
            self._tell("\n")

    def _next(self) -> str:
        self._tell("> ")
        question = sys.stdin.readline()
        if not question:
            self._tell("\n")
        return question

    def _take(self, question: str) -> None:
        if question == NEW:
            self.turns.clear()
        elif question:
            try:
                self.ask(question)
            except MixrayError as error:  # the next question may be a shorter one
                self._tell(f"{error}\n")

    def _say(self, text: str) -> None:
        self.out.write(harmless(text))
        self.out.flush()

    def _tell(self, text: str) -> None:
        self.err.write(text)
        self.err.flush()
