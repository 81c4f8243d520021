"""The scoring stage: one arm asked every sample of every benchmark, each answer judged and kept.

In: an exam, somebody who asks the arm. Out: a `scores` artefact, one row per sample. The handle needs no endpoint, so a pipeline sees that
scores are done without starting one.

What survives a kill: every answer received; the next run asks only what is missing. Answers of the same exam judged under another policy
are judged anew and not asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from mixray import form, metrics, rows
from mixray.errors import EvaluationError
from mixray.evaluation import outcome
from mixray.evaluation.client import Asker, StudentAnswer
from mixray.evaluation.exam import Exam, Name, Problems, Question
from mixray.evaluation.former import answers_of
from mixray.evaluation.journal import Journal
from mixray.judged import leave_note, sibling, unfinished
from mixray.progress import StageProgress
from mixray.store import Artefact

# A few questions may fail on a long run; more would bend the accuracy.
MAX_ERROR_SHARE = 0.02


def run(scores: Artefact, exam: Exam, asker: Asker, progress: StageProgress | None = None) -> Artefact:
    """Ask, judge and keep every sample of one arm; does nothing where that is done.

    Args:
        scores: what to make, from `handle`; its name is the arm's.
        exam: what is asked.
        asker: puts the questions to the arm.
        progress: shows samples, speed and truncation.

    Raises:
        EvaluationError: too many questions failed; what was answered is kept for the next run.
    """
    with scores.lock():
        if scores.is_done():
            return scores
        began = time.monotonic()
        problems = exam.problems()
        names = exam.names(problems)
        answers, adopted = _there_already(scores, names)
        if exam.rule.own:
            leave_note(scores)
        questions = exam.questions(problems, [name for name in names if name not in answers])
        answers |= ask(scores, asker, questions, len(answers), progress)
        refuse_many_errors(scores.name, answers.values())
        further = {"seconds": time.monotonic() - began, "num_adopted": adopted, "through": exam.evaluate.through}
        commit(scores, judge(exam, problems, answers), exam, further)
    return scores


def _there_already(scores: Artefact, names: Sequence[Name]) -> tuple[dict[Name, StudentAnswer], int]:
    """Return the answers that need not be asked for, and how many there are of scores under another policy."""
    other = sibling(scores)
    adopted = answers_of(other) if other is not None else {}
    for another in unfinished(scores):
        adopted |= Journal(another).read()
    found = adopted | Journal(scores).read()
    return {name: found[name] for name in names if name in found}, len(adopted)


def ask(
    artefact: Artefact, asker: Asker, questions: Sequence[Question], num_there: int, progress: StageProgress | None
) -> dict[Name, StudentAnswer]:
    """Return an answer per question; those that are answers are in the artefact's journal before this returns, however it ends."""
    meter = _Meter(artefact.name, num_there, num_there + len(questions), progress)
    return asyncio.run(_ask(asker, questions, artefact, meter)) if questions else {}


async def _ask(asker: Asker, questions: Sequence[Question], artefact: Artefact, meter: _Meter) -> dict[Name, StudentAnswer]:
    answers: dict[Name, StudentAnswer] = {}
    with Journal(artefact) as journal:
        async for answer in asker.ask_all(questions):
            answers[answer.name] = answer
            meter.add(answer)
            if answer.finish_reason != "error":  # a failed question is asked again by the next run
                journal.add(answer)
    return answers


class _Meter:
    """Counts what comes in, shows it and exports it."""

    def __init__(self, student: str, done: int, total: int, progress: StageProgress | None) -> None:
        self.student, self.done, self.total, self.progress = student, done, total, progress
        self.fresh = self.tokens = self.truncated = self.errors = 0
        self.began = time.monotonic()

    def add(self, answer: StudentAnswer) -> None:
        self.fresh += 1
        self.tokens += answer.num_response_tokens
        self.truncated += answer.finish_reason == "length"
        self.errors += answer.finish_reason == "error"
        metrics.count("mixray_student_answers", 1, student=self.student, finish_reason=answer.finish_reason)
        metrics.count("mixray_student_response_tokens", answer.num_response_tokens, student=self.student)
        if self.progress is not None:
            facts: dict[str, str | float] = {"tokens_per_second": self.tokens / max(time.monotonic() - self.began, 1e-9)}
            facts["truncated"] = f"{self.truncated / self.fresh:.0%}"
            if self.errors:
                facts["errors"] = self.errors
            self.progress.update(self.done + self.fresh, self.total, **facts)


def refuse_many_errors(arm: str, answers: Iterable[StudentAnswer]) -> None:
    """Refuse answers of which more than `MAX_ERROR_SHARE` failed in any benchmark, at any budget: its accuracy would not be the student's.

    Raises:
        EvaluationError: they did.
    """
    found: dict[tuple[str, int], list[StudentAnswer]] = {}
    for answer in sorted(answers, key=lambda answer: answer.name):
        found.setdefault((answer.name.benchmark, answer.name.budget_tokens), []).append(answer)
    for (benchmark, _), asked in found.items():
        failed = [answer for answer in asked if answer.finish_reason == "error"]
        if len(failed) > MAX_ERROR_SHARE * len(asked):
            raise EvaluationError(
                f"{len(failed)} of {len(asked)} questions to {arm} failed in {benchmark}",
                seen=failed[0].error,
                rule=f"at most {MAX_ERROR_SHARE:.0%} may",
                do="mend the cause and run again; the answers received are kept",
            )


def commit(scores: Artefact, table: pa.Table, exam: Exam, further: Mapping[str, Any], replace: bool = False) -> None:
    """Make the artefact of SCORE rows."""
    with scores.staging(replace=replace) as staging:
        staging.write_table("scores.parquet", table)
        staging.outcome |= {**told(table, exam), **further}


def judge(exam: Exam, problems: Problems, answers: Mapping[Name, StudentAnswer]) -> pa.Table:
    """Return the SCORE rows of an answer to every sample, in the exam's order."""
    judged: list[dict[str, Any]] = []
    names = exam.names(problems)
    for benchmark, table in problems.items():
        by_id = {problem["problem_id"]: problem for problem in table}
        here = [name for name in names if name.benchmark == benchmark]
        asked = [answers[name] for name in here if answers[name].finish_reason != "error"]
        verdicts = exam.rule.of(benchmark)(
            [answer.response for answer in asked],
            [by_id[answer.name.problem_id]["answer"] for answer in asked],
            [answer.finish_reason for answer in asked],
            exam.evaluate.benchmarks[benchmark].counts_unboxed,
        )
        by_name = {answer.name: verdict for answer, verdict in zip(asked, verdicts, strict=True)}
        judged += [_row(answers[name], by_id[name.problem_id], by_name.get(name), exam.draw(name)) for name in here]
    return pa.Table.from_pylist(judged, schema=rows.SCORE)


def _row(answer: StudentAnswer, problem: Mapping[str, Any], verdict: Any, seed: int) -> dict[str, Any]:
    return {
        "problem_id": answer.name.problem_id,
        "benchmark": answer.name.benchmark,
        "sample": answer.name.sample,
        "seed": seed,
        "question": problem["question"],
        "gold": problem["answer"],
        "subject": problem["subject"],
        "level": problem["level"],
        "response": answer.response,
        "finish_reason": answer.finish_reason,
        "num_prompt_tokens": answer.num_prompt_tokens,
        "num_response_tokens": answer.num_response_tokens,
        "seconds": answer.seconds,
        "status": "error" if answer.finish_reason == "error" else form.status(answer.response, answer.finish_reason),
        "repetition": form.repetition(answer.response),
        "answer": verdict.answer if verdict else None,
        "verdict": verdict.verdict if verdict else "unknown",
        "verdict_reason": verdict.verdict_reason if verdict else answer.error,
        "rule_verdict": None,
        "rule_reason": None,
        "judge_verdict": None,
    }


def told(table: pa.Table, exam: Exam) -> dict[str, Any]:
    """Return what SCORE rows come to, benchmark by benchmark, and what should be known of them."""
    by_benchmark: dict[str, list[dict[str, Any]]] = {name: [] for name in sorted(exam.benchmarks)}
    for row in table.to_pylist():
        by_benchmark[row["benchmark"]].append(row)
    num_problems = {name: len({row["problem_id"] for row in samples}) for name, samples in by_benchmark.items()}
    whole = {name: of for name, of in exam.evaluate.benchmarks.items() if of.num_problems is None}
    return {
        "benchmarks": {name: outcome.figures(samples, num_problems[name]) for name, samples in by_benchmark.items()},
        "warnings": outcome.warnings(num_problems, {name: of.num_published for name, of in whole.items()}),
        "rows": table.num_rows,
    }
