"""`mixray verify --redo`: the verdicts of scores anew by the present policy, without asking anybody.

In: scores, made or not. Out: scores with the verdicts of today, and what changed. The former verdicts stay in place until the new ones are
whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mixray.errors import StoreError
from mixray.evaluation import outcome
from mixray.evaluation.exam import Exam
from mixray.evaluation.former import answers_of
from mixray.evaluation.score import commit, judge
from mixray.judged import sibling
from mixray.store import Artefact

_VERDICT = ["benchmark", "problem_id", "sample", "verdict"]
Changes = Counter[tuple[str, str]]
"""How many verdicts went from one to another."""


@dataclass
class Redone:
    """What judging again came to."""

    num_traces: int = 0
    changes: Changes = field(default_factory=Changes)
    readers: list[str] = field(default_factory=list)
    """Artefacts that were made from verdicts the scores no longer have."""


def can_be_judged(scores: Artefact) -> bool:
    """Whether the answers are there, under this policy or another."""
    return scores.is_done() or sibling(scores) is not None


def judge_again(scores: Artefact, exam: Exam) -> Redone:
    """Give scores the verdicts of the present policy, from answers that are there.

    Where they are there under another policy, the new ones are made beside them. Where they are there under this policy and verdicts
    change all the same, as when answers ran out of time on a busy machine, they are replaced.

    Raises:
        StoreError: there are no answers, or some samples would have to be asked again.
    """
    with scores.lock():
        other = scores if scores.is_done() else sibling(scores)
        if other is None:
            raise StoreError("There are no answers to judge again", seen=scores.label, do="ask first: `mixray evaluate`")
        problems, before = exam.problems(), other.read_table()
        answers = answers_of(other, failed=True)
        if missing := [name for name in exam.names(problems) if name not in answers]:
            raise StoreError("Some samples have no answer", seen=f"{len(missing)} of {other.label}", do="`mixray evaluate` asks them")
        after = judge(exam, problems, answers)
        redone = Redone(after.num_rows, _changed(before, after))
        if other != scores or redone.changes:
            kept = outcome.of_asking(other.outcome)
            commit(scores, after, exam, kept, replace=other == scores)
            redone.readers = scores.store.readers(scores) if other == scores else []
    return redone


def _changed(before: pa.Table, after: pa.Table) -> Changes:
    """Return how many verdicts went from what to what, of the samples in both: a verifier may set another problem aside."""
    former = {_sample(row): row["verdict"] for row in before.select(_VERDICT).to_pylist()}
    pairs = [(former.get(_sample(row)), row["verdict"]) for row in after.select(_VERDICT).to_pylist()]
    return Counter((one, other) for one, other in pairs if one is not None and one != other)


def _sample(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["benchmark"], row["problem_id"], row["sample"]
