"""Where two ways of judging a pool disagree: what a careful reader looks at before trusting either.

In: a pool's tables and the names of two policies. Out: a `Disagreement` for every trace on which their verdicts differ, as the tables
come. Memory holds one table at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mixray.errors import VerifyError
from mixray.verify.extract import answer_part, final_answer, gold_answer
from mixray.verify.judge import verify
from mixray.verify.numbers import Opinion
from mixray.verify.pool import shared_pool

Judgements = Callable[[list[dict[str, Any]], bool], list[Opinion]]
"""(traces, unboxed) to an opinion each."""


@dataclass(frozen=True)
class Disagreement:
    """One trace, and what the two policies say of it: a verdict with its reason in brackets."""

    trace_id: str
    gold: str
    answer: str | None
    first: str
    second: str


def disagreements(tables: Iterable[pa.Table], first: str, second: str, unboxed: bool = False) -> Iterator[Disagreement]:
    """Yield where the verdicts of policies `first` and `second` differ.

    Args:
        tables: TRACE rows.
        first: a name of `POLICIES`.
        second: another.
        unboxed: where there is no box, the last number is the answer.

    Raises:
        VerifyError: no such policy, or the processes that compare do not start.
    """
    policies = [_policy(name) for name in (first, second)]
    for table in tables:
        traces = table.to_pylist()
        for trace, one, other in zip(traces, *(judge(traces, unboxed) for judge in policies), strict=True):
            if one.verdict != other.verdict:
                told = [f"{opinion.verdict} ({opinion.reason})" for opinion in (one, other)]
                yield Disagreement(trace["trace_id"], trace["gold"], trace["answer"], *told)


def _policy(name: str) -> Judgements:
    if name not in POLICIES:
        raise VerifyError("There is no such way of judging", seen=name, rule=" | ".join(POLICIES), do="pass one of them")
    return POLICIES[name]


def _stored(traces: list[dict[str, Any]], unboxed: bool) -> list[Opinion]:
    return [Opinion(trace["verdict"], trace["verdict_reason"]) for trace in traces]


def _rule(traces: list[dict[str, Any]], unboxed: bool) -> list[Opinion]:
    """What the rule had said where a model was asked for a second opinion; elsewhere what is stored."""
    return [
        Opinion(trace["verdict"], trace["verdict_reason"])
        if trace["rule_verdict"] is None
        else Opinion(trace["rule_verdict"], trace["rule_reason"])
        for trace in traces
    ]


def _mixray(traces: list[dict[str, Any]], unboxed: bool) -> list[Opinion]:
    """The rule as it is now."""
    responses, golds, reasons = ([trace[name] for trace in traces] for name in ("response", "gold", "finish_reason"))
    return [Opinion(verdict.verdict, verdict.verdict_reason) for verdict in verify(responses, golds, reasons, unboxed)]


def _exact(traces: list[dict[str, Any]], unboxed: bool) -> list[Opinion]:
    """The same text, character by character, or wrong."""
    said = [(final_answer(trace["response"] or "", unboxed), gold_answer(trace["gold"] or "")) for trace in traces]
    return [
        Opinion("unknown", "no_answer") if answer is None else Opinion("right", "same") if answer == gold else Opinion("wrong", "different")
        for answer, gold in said
    ]


def _library(traces: list[dict[str, Any]], unboxed: bool) -> list[Opinion]:
    """Math-Verify as it comes, with its own search for the answer; what it cannot read is unknown here, too."""
    return shared_pool().compare([(gold_answer(trace["gold"] or ""), answer_part(trace["response"] or "")) for trace in traces], "library")


def _judge(traces: list[dict[str, Any]], unboxed: bool) -> list[Opinion]:
    """The model's second opinion, where one was asked for; elsewhere what is stored, so that only real disagreement shows."""
    return [
        Opinion(trace["judge_verdict"], "judge")
        if trace["judge_verdict"] is not None
        else Opinion(trace["verdict"], trace["verdict_reason"])
        for trace in traces
    ]


POLICIES: dict[str, Judgements] = {
    "stored": _stored, "rule": _rule, "judge": _judge, "mixray": _mixray, "exact": _exact, "math-verify": _library,
}  # fmt: skip
"""The ways of judging an audit compares, by name."""
