"""Where two ways of judging a pool, or the answers of an arm, disagree: what a careful reader looks at before trusting either.

In: tables of traces or of scores, and the names of two policies. Out: a `Disagreement` for every row on which their verdicts differ, as
the tables come, and `Totals`. Memory holds one table at a time. lm-eval's own metrics are policies, too (`mixray.verify.lm_eval_tasks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa

from mixray.errors import VerifyError
from mixray.verify import lm_eval_tasks
from mixray.verify.extract import answer_part, final_answer, gold_answer
from mixray.verify.judge import verify
from mixray.verify.numbers import Opinion
from mixray.verify.pool import shared_pool
from mixray.verify.why import why

Judgements = Callable[[list[dict[str, Any]], bool], list[Opinion]]
"""(traces, unboxed) to an opinion each."""


@dataclass(frozen=True)
class Disagreement:
    """One response, and what the two policies say of it: a verdict with its reason in brackets.

    Attributes:
        trace_id: of a trace; of a score `<benchmark>/<problem>/<sample>`.
        gold: the right answer.
        answer: what is stored as the answer.
        first: what the first policy says.
        second: what the second says; of lm-eval the verdict alone.
        benchmark: of a score; None for a trace.
        second_answer: what lm-eval took for the answer; None where it found none, or is not asked.
        why: why they differ, in words that can be counted.
    """

    trace_id: str
    gold: str
    answer: str | None
    first: str
    second: str
    benchmark: str | None = None
    second_answer: str | None = None
    why: str = ""


@dataclass
class Tally:
    """How often two policies agree, and how often each says right.

    `agreed` counts equal verdicts, `agreed_on_right` where both say right or neither does, which is all an accuracy knows; `verdicts`
    counts pairs that differ, `whys` their reasons.
    """

    num: int = 0
    first_right: int = 0
    second_right: int = 0
    agreed: int = 0
    agreed_on_right: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    whys: dict[str, int] = field(default_factory=dict)


Totals = dict[str, Tally]
"""By benchmark; a pool's traces have none, and stand under the empty name."""


def disagreements(
    tables: Iterable[pa.Table], first: str, second: str, unboxed: bool | Mapping[str, bool] = False, totals: Totals | None = None
) -> Iterator[Disagreement]:
    """Yield where the verdicts of policies `first` and `second` differ.

    Args:
        tables: TRACE or SCORE rows.
        first: a name of `POLICIES`, or `lm-eval:` and a name of `lm_eval_tasks.METRICS`.
        second: another.
        unboxed: where there is no box, the last number is the answer; by benchmark for scores.
        totals: filled on the way.

    Raises:
        VerifyError: no such policy, or the processes that compare do not start.
    """
    policies = [_policy(name) for name in (first, second)]
    of_lm_eval = second.startswith(lm_eval_tasks.PREFIX)
    for table in tables:
        for benchmark, group in groupby(table.to_pylist(), key=lambda row: str(row.get("benchmark") or "")):
            rows, tally = list(group), Tally() if totals is None else totals.setdefault(benchmark, Tally())
            last_number_counts = unboxed if isinstance(unboxed, bool) else unboxed.get(benchmark, False)
            for row, one, other in zip(rows, *(judge(rows, last_number_counts) for judge in policies), strict=True):
                found = None if one.verdict == other.verdict else _disagreement(row, one, other, of_lm_eval)
                _count(tally, one, other, found)
                if found is not None:
                    yield found


def _disagreement(row: Mapping[str, Any], one: Opinion, other: Opinion, of_lm_eval: bool) -> Disagreement:
    read = other.reason if of_lm_eval and other.verdict != "unknown" and other.reason != lm_eval_tasks.NO_ANSWER else None
    return Disagreement(
        trace_id=row.get("trace_id") or f"{row['benchmark']}/{row['problem_id']}/{row['sample']}",
        gold=row["gold"],
        answer=row["answer"],
        first=_told(one),
        second=_told(other) if read is None else other.verdict,
        benchmark=row.get("benchmark"),
        second_answer=read,
        why=why(row, (one, other), (row["answer"], read), of_lm_eval),
    )


def _told(opinion: Opinion) -> str:
    return f"{opinion.verdict} ({opinion.reason})"


def _count(tally: Tally, one: Opinion, other: Opinion, found: Disagreement | None) -> None:
    tally.num += 1
    tally.first_right += one.verdict == "right"
    tally.second_right += other.verdict == "right"
    tally.agreed += found is None
    tally.agreed_on_right += (one.verdict == "right") == (other.verdict == "right")
    if found is not None:
        for counts, key in ((tally.verdicts, f"{one.verdict}, {other.verdict}"), (tally.whys, found.why)):
            counts[key] = counts.get(key, 0) + 1


def _policy(name: str) -> Judgements:
    if name.startswith(lm_eval_tasks.PREFIX):
        return partial(_lm_eval, lm_eval_tasks.metric_of(name))
    if name not in POLICIES:
        raise VerifyError(
            "There is no such way of judging",
            seen=name,
            rule=" | ".join([*POLICIES, f"{lm_eval_tasks.PREFIX}<metric>"]),
            do="pass one of them",
        )
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


def _lm_eval(metric: str, traces: list[dict[str, Any]], unboxed: bool) -> list[Opinion]:
    """What lm-eval says of the whole response; its reason is what it took for the answer. It knows right and wrong alone."""
    pairs = [(gold_answer(trace["gold"] or ""), trace["response"] or "") for trace in traces]
    return shared_pool("lm-eval").compare(pairs, lm_eval_tasks.PREFIX + metric)


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
