"""Verdicts by a function of the user's own, which a recipe names (`verifier: package.module:function`).

In: responses, golds, finish reasons, as `verify` takes them. Out: a `Verdict` each. What the function is never shown: a response that
was cut off, failed or is empty, a row without a gold, a response that never stops thinking; their verdicts are mixray's. What it says
that cannot be read, how many answers it gives and whether it raises are its own faults, told as errors with its name: no verdict is
made up. `OWN.md` beside this file has the contract.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mixray.errors import VerifyError
from mixray.form import storable
from mixray.functions import UserFunction
from mixray.verify.extract import answer_part, final_answer
from mixray.verify.judge import Verdict, unfit
from mixray.verify.numbers import Judgement, Opinion

REASON = "verifier"
"""The reason of a verdict that comes without one."""
LONGEST_REASON = 100
LONGEST_LINE = 200
_WORDS: dict[Any, Judgement] = {
    True: "right", False: "wrong", None: "unknown", "right": "right", "wrong": "wrong", "unknown": "unknown",
}  # fmt: skip
_one_at_a_time = threading.RLock()  # actors judge in several threads, and not every user's function bears that


@dataclass(frozen=True)
class OwnVerifier:
    """A user's function as `verify` is called; small and picklable, imported where it is called."""

    function: UserFunction

    @classmethod
    def named(cls, name: str) -> OwnVerifier:
        """Find a verifier; nothing of its module is run yet.

        Raises:
            RecipeError: it is not there.
        """
        return cls(UserFunction.named(name))

    def identity(self) -> dict[str, str]:
        """Return what identifies the verifier in hashes."""
        return self.function.identity()

    def __call__(
        self,
        responses: Sequence[str | None],
        golds: Sequence[str | None],
        finish_reasons: Sequence[str | None] | None = None,
        unboxed: bool = False,
    ) -> list[Verdict]:
        """Judge each response against its gold (see `mixray.verify.verify`).

        Raises:
            VerifyError: the function fails, or gives what is no list of verdicts.
            RecipeError: it cannot be imported here.
        """
        reasons = finish_reasons if finish_reasons is not None else [None] * len(responses)
        settled = [self._settled(*row) for row in zip(responses, golds, reasons, strict=True)]
        shown = [index for index, opinion in enumerate(settled) if opinion is None]
        said = iter(self._said([answer_part(responses[index] or "") for index in shown], [golds[index] or "" for index in shown]))
        return [
            self._verdict(next(said), response or "", unboxed)
            if opinion is None
            else Verdict(*opinion, final_answer(response or "", unboxed))
            for response, opinion in zip(responses, settled, strict=True)
        ]

    def _settled(self, response: str | None, gold: str | None, finish_reason: str | None) -> Opinion | None:
        opinion = unfit(response, gold, finish_reason)
        if opinion is None and not answer_part(response or "").strip():
            return Opinion("unknown", "no_answer")
        return opinion

    def _said(self, responses: list[str], golds: list[str]) -> list[Any]:
        if not responses:
            return []
        function = self.function.load()
        try:
            with _one_at_a_time:
                said = function(list(responses), list(golds))
            answers = list(said) if isinstance(said, Iterable) and not isinstance(said, str | bytes | dict) else None
        except (Exception, SystemExit) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise self._fault("A recipe's verifier failed", f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})") from error
        if answers is None:
            raise self._fault("A recipe's verifier gives no list", ascii(said)[:200])
        if len(answers) != len(responses):
            raise self._fault("A recipe's verifier gives another number of answers", f"{len(answers)} for {len(responses)} responses")
        return answers

    def _verdict(self, said: Any, response: str, unboxed: bool) -> Verdict:
        if isinstance(said, Verdict):
            said = (said.verdict, said.verdict_reason, said.answer)
        word, reason, answer = said if isinstance(said, tuple) and len(said) == 3 else (said, REASON, None)
        try:
            verdict = _WORDS[word]
        except (KeyError, TypeError):
            verdict = None
        if verdict is None or not (isinstance(reason, str) and reason.strip()) or not (answer is None or isinstance(answer, str)):
            raise self._fault("A recipe's verifier gives what is no verdict", ascii(said)[:200])
        if answer is None:
            answer = final_answer(response, unboxed) or (None if verdict == "unknown" else _last_line(response))
        return Verdict(verdict, storable(reason.strip())[:LONGEST_REASON], None if answer is None else storable(answer))

    def _fault(self, what: str, seen: str) -> VerifyError:
        return VerifyError(
            what,
            seen=f"{self.function.name}: {seen}",
            rule="for each response True, False, None (cannot tell), (verdict, reason, answer) or a Verdict, in a list",
            do="mend the function and run again: no verdict of it was kept for these responses",
        )


def _last_line(response: str) -> str:
    """Return the line a response ends with: what stands for its answer where the function names none and there is no box."""
    return answer_part(response).strip().splitlines()[-1].strip()[-LONGEST_LINE:]
