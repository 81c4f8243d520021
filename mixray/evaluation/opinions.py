"""A second opinion on scores: a model is asked about answers the rule cannot tell, or about every finished one it does not accept.

In: scores, and what the model said about the answers in doubt. Out: the same scores with the model's verdicts beside the rule's, as pools
have them: where a model was asked, its verdict counts if it has one, `rule_verdict` and `rule_reason` keep what the rule had said, and
`verdict_reason` is `judge`. A truncated answer is never asked about. Who asks is the caller's business: the answers in doubt are a problem
set, and what is said of them is a pool over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from mixray.evaluation import outcome
from mixray.evaluation.exam import Exam
from mixray.evaluation.score import commit
from mixray.recipe import LlmJudge
from mixray.rows import PROBLEM, SCORE
from mixray.store import Artefact

Question = Callable[[str, str, str], str]
"""(problem, gold, response) to what the judge reads."""


def doubts_handle(scores: Artefact, judge: LlmJudge, policy: str) -> Artefact:
    """Return the problem set of the answers in doubt, made or not; `policy` is the version of the question."""
    return scores.store.artefact("problems", f"{scores.name}-doubts", {"asked": judge.asked, "policy": policy}, {"scores": scores})


def write_doubts(doubts: Artefact, scores: Artefact, judge: LlmJudge, question: Question) -> int:
    """Make the problem set of the answers in doubt; return how many there are."""
    with doubts.lock():
        if not doubts.is_done():
            asked = [
                {
                    "problem_id": _id(row),
                    "question": question(row["question"], row["gold"], row["response"]),
                    "answer": "right",
                    "subject": row["subject"],
                    "level": row["level"],
                }
                for row in _in_doubt(scores, judge)
            ]
            with doubts.staging() as staging:
                staging.write_table("part-00000.parquet", pa.Table.from_pylist(asked, schema=PROBLEM))
                staging.outcome = {"num_problems": len(asked), "num_set_aside": 0}
    return int(doubts.outcome["num_problems"])


def _in_doubt(scores: Artefact, judge: LlmJudge) -> Iterator[dict[str, Any]]:
    verdicts = ("unknown",) if judge.asked == "unknown" else ("unknown", "wrong")
    for row in scores.read_table().to_pylist():
        if row["verdict"] in verdicts and row["status"] == "ok" and row["gold"]:
            yield row


def _id(row: Mapping[str, Any]) -> str:
    return f"{row['benchmark']}/{row['problem_id']}/{row['sample']}"


def handle(scores: Artefact, judgements: Artefact, judge: LlmJudge, student: Artefact | None) -> Artefact:
    """Return the handle of scores with second opinions, made or not; `student` is the artefact that was asked, if it is one."""
    inputs = {"scores": scores, "judgements": judgements} | ({"student": student} if student is not None else {})
    return scores.store.artefact("scores", scores.name, {"asked": judge.asked}, inputs)


def run(judged: Artefact, scores: Artefact, exam: Exam, said: Mapping[str, str], spent: Mapping[str, Any]) -> Artefact:
    """Return `scores` with second opinions, made if it is not there.

    Args:
        judged: what to make, from `handle`.
        scores: with the rule's verdicts.
        exam: what was asked.
        said: the judge's verdicts by the ids of the doubts.
        spent: on asking, for the outcome.
    """
    with judged.lock():
        if not judged.is_done():
            made = []
            for row in scores.read_table().to_pylist():
                if (opinion := said.get(_id(row))) is not None:
                    row |= {"rule_verdict": row["verdict"], "rule_reason": row["verdict_reason"], "judge_verdict": opinion}
                    if opinion != "unknown":
                        row |= {"verdict": opinion, "verdict_reason": "judge"}
                made.append(row)
            kept = outcome.of_asking(scores.outcome)
            commit(judged, pa.Table.from_pylist(made, schema=SCORE), exam, kept | {"judged": len(said)} | dict(spent))
    return judged
