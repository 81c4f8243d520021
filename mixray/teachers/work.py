"""Everything an actor must know to make its share of a pool; small and picklable, since it travels to every actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mixray.locks import Fence
from mixray.recipe import Asked
from mixray.store import Store
from mixray.teachers.attempts import Attempts
from mixray.teachers.source import Source


class Verdict(Protocol):
    """What a verifier says of one response."""

    verdict: str
    verdict_reason: str
    answer: str | None


Verify = Callable[[Sequence[str | None], Sequence[str | None], Sequence[str | None], bool], "list[Any]"]
"""`verify(responses, golds, finish_reasons, unboxed)`: a Verdict for each response."""
MakeSource = Callable[[Callable[[BaseException], None]], Source]
"""Makes what answers; its argument is told of an engine's death before the process goes with it."""


@dataclass(frozen=True)
class Rule:
    """How answers are judged; two pools differ by it in their verdicts alone."""

    verify: Verify
    policy: str
    """The version of what `verify` holds for equal."""
    unboxed: bool
    own: Mapping[str, str] | None = None
    """What identifies `verify` where it is the user's."""

    def identity(self) -> dict[str, Any]:
        """Return what identifies the rule in the hashes of pools."""
        return {"policy": self.policy, "unboxed": self.unboxed} | ({"verifier": dict(self.own)} if self.own else {})

    def judge(self, rows: Sequence[dict[str, Any]]) -> None:
        """Fill `answer`, `verdict` and `verdict_reason` of rows that hold `response`, `gold` and `finish_reason`."""
        responses, golds, reasons = ([row[name] for row in rows] for name in ("response", "gold", "finish_reason"))
        for row, verdict in zip(rows, self.verify(responses, golds, reasons, self.unboxed), strict=True):
            row |= {"answer": verdict.answer, "verdict": verdict.verdict, "verdict_reason": verdict.verdict_reason}


@dataclass(frozen=True)
class Work:
    """One teacher's work on one problem set."""

    name: str
    teacher: Asked
    seed: int
    rule: Rule
    make_source: MakeSource
    store: Store
    folder: str
    """Where parts go: the pool's work folder."""
    run: str
    """The present run's name: earlier ones, which were killed, had others."""
    attempts: Attempts
    fence: Fence | None = None
    """The run's number at the pool, where another may take over from it."""
