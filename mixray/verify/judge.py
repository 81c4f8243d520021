"""Verdicts on responses: right, wrong, or unknown, each with a reason a report can count.

In: responses, golds and finish reasons. Out: a `Verdict` each. A response that was cut off is never right, whatever it says by
accident; what cannot be told is unknown, never wrong in silence: no answer found, several that differ, an answer nobody can read or
compare in time. Nothing is kept between rows, so nothing can be lost. `POLICY.md` beside this file says what counts as equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixray.verify.equal import compare
from mixray.verify.extract import final_answers, gold_answer
from mixray.verify.numbers import Judgement, Opinion
from mixray.verify.pool import shared_pool


@dataclass(frozen=True)
class Verdict:
    """What became of one response, why, and the answer it gave (None where it gave none)."""

    verdict: Judgement
    verdict_reason: str
    answer: str | None


def verify(
    responses: Sequence[str | None],
    golds: Sequence[str | None],
    finish_reasons: Sequence[str | None] | None = None,
    unboxed: bool = False,
) -> list[Verdict]:
    """Judge each response against its gold.

    Args:
        responses: what the model wrote; None where it wrote nothing.
        golds: the right answers; a box or `####` in them is looked into.
        finish_reasons: why each response ended; only `stop` (or None, where nobody knows) can be right, and `length` is wrong.
        unboxed: where there is no box, the last number is the answer.

    Returns:
        A Verdict each; `answer` holds several with commas between, where several boxes stand together.

    Raises:
        VerifyError: the processes that compare expressions do not start.
    """
    reasons = finish_reasons if finish_reasons is not None else [None] * len(responses)
    answers = [final_answers(response or "", unboxed) for response in responses]
    texts = [gold_answer(gold or "") for gold in golds]
    opinions = [_at_once(*row) for row in zip(responses, texts, answers, reasons, strict=True)]
    open_rows = [index for index, opinion in enumerate(opinions) if opinion is None]
    if open_rows:
        compared = shared_pool().compare([(texts[index], ", ".join(answers[index])) for index in open_rows])
        for index, opinion in zip(open_rows, compared, strict=True):
            opinions[index] = opinion
    told = [_of_several(*row) for row in zip(answers, opinions, strict=True)]
    return [Verdict(*opinion, ", ".join(found) if found else None) for opinion, found in zip(told, answers, strict=True)]


def unfit(response: str | None, gold: str | None, finish_reason: str | None) -> Opinion | None:
    """Return the opinion on what no verifier should be shown, or None: a response that was cut off, failed or is empty, or no gold."""
    if finish_reason == "length":
        return Opinion("wrong", "truncated")
    if finish_reason not in (None, "stop"):
        return Opinion("unknown", finish_reason)  # it failed, which says nothing about the model
    if not response or not response.strip():
        return Opinion("unknown", "empty")
    return Opinion("unknown", "no_gold") if not gold else None


def _at_once(response: str | None, gold: str, answers: list[str], finish_reason: str | None) -> Opinion | None:
    """Return the opinion that needs no algebra, or None."""
    opinion = unfit(response, gold, finish_reason)
    if opinion is not None:
        return opinion
    if not any(answers):
        return Opinion("unknown", "no_answer")
    return compare(gold, ", ".join(answers))


def _of_several(answers: list[str], opinion: Opinion | None) -> Opinion:
    """Return the opinion on a row, knowing that boxes which stand together and differ settle on nothing, unless the gold is that list."""
    assert opinion is not None
    if len(answers) < 2 or opinion.verdict == "right" or opinion.reason == "truncated":
        return opinion
    return Opinion("unknown", "several_answers")
