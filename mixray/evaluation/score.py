"""The scoring stage: one arm asked every sample of every benchmark, each answer judged and kept.

In: problem artefacts, an endpoint, the recipe's `evaluate` part. Out: a `scores` artefact, one row per sample. The handle needs no
endpoint, so a pipeline sees that scores are done without starting one.

What survives a kill: every answer received up to `FLUSH_SECONDS` before it; the next run asks only what is missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from mixray import chat, form, recipe, rows
from mixray.errors import EvaluationError
from mixray.evaluation.client import Answer, Question, Student
from mixray.evaluation.journal import Journal
from mixray.models import fingerprint
from mixray.progress import StageProgress
from mixray.store import Artefact, Store

FLUSH_SECONDS = 2.0
# A few questions may fail on a long run; more would bend the accuracy.
MAX_ERROR_SHARE = 0.02

Verify = Callable[[Sequence[str], Sequence[str], Sequence[str], bool], Sequence[Any]]
Name = tuple[str, str, int]


class Endpoint(Protocol):
    """Where students answer: a URL that ends in `/v1`, and the key to send."""

    @property
    def url(self) -> str: ...  # noqa: D102

    @property
    def key(self) -> str: ...  # noqa: D102


def handle(
    store: Store,
    arm: str,
    student: Artefact | str,
    benchmarks: Mapping[str, Artefact],
    evaluate: recipe.Evaluate,
    student_prompt: str,
    seed: int,
) -> Artefact:
    """Return the scores of an arm, done or not; `student` is its artefact, or the untouched model.

    How fast an arm is asked does not change its name; what it is asked, and how, does.
    """
    settings = evaluate.model_dump(mode="json", include={"num_samples", "temperature", "top_p", "max_tokens"})
    settings |= {"student_prompt": student_prompt, "seed": seed}
    settings["unboxed"] = {name: evaluate.benchmarks[name].counts_unboxed for name in sorted(benchmarks)}
    inputs = {f"benchmark {name}": artefact for name, artefact in benchmarks.items()}
    if isinstance(student, str):
        settings["student"] = fingerprint(student)
    else:
        inputs["student"] = student
    return store.artefact("scores", arm, settings, inputs)


def run(
    scores: Artefact,
    benchmarks: Mapping[str, Artefact],
    endpoint: Endpoint,
    evaluate: recipe.Evaluate,
    student_prompt: str,
    seed: int,
    verify: Verify,
    unboxed: Mapping[str, bool],
    progress: StageProgress | None = None,
    arms_at_once: int = 1,
) -> Artefact:
    """Ask, judge and keep every sample of one arm; does nothing where that is done.

    Args:
        scores: what to make, from `handle`; its name is the arm's, and that is the model's id at the endpoint.
        benchmarks: PROBLEM tables by name.
        endpoint: where to ask.
        evaluate: how to ask; its `concurrency` is shared by `arms_at_once` arms.
        student_prompt: the user turn; `{question}` is replaced.
        seed: of sampling; the same for every arm, so that arms are compared on the same draws.
        verify: judges `(responses, golds, finish_reasons, unboxed)`; gives back objects with `verdict`, `verdict_reason`, `answer`.
        unboxed: by benchmark, whether the last number counts where there is no box.
        progress: shows samples, speed and truncation.
        arms_at_once: how many arms are being asked at the same time.

    Raises:
        EvaluationError: too many questions failed; what was answered is kept for the next run.
    """
    with scores.lock():
        if scores.is_done():
            return scores
        began = time.monotonic()
        problems = {name: benchmarks[name].read_table().to_pylist() for name in sorted(benchmarks)}
        journal = Journal(scores)
        answers = journal.read()
        questions = [question for question in _questions(problems, evaluate, student_prompt, seed) if question.name not in answers]
        student = Student(endpoint.url, endpoint.key, scores.name, evaluate, max(1, evaluate.concurrency // arms_at_once))
        meter = _Meter(len(answers), len(answers) + len(questions), progress)
        answers |= asyncio.run(_ask(student, questions, journal, meter))
        _refuse_many_errors(scores.name, answers)
        table = _judge(problems, answers, evaluate, seed, unboxed, verify)
        with scores.staging() as staging:
            staging.write_table("scores.parquet", table)
            staging.outcome |= _outcome(table, problems, answers, time.monotonic() - began)
    return scores


def _questions(problems: Mapping[str, list[dict[str, Any]]], evaluate: recipe.Evaluate, student_prompt: str, seed: int) -> list[Question]:
    return [
        Question(
            (benchmark, problem["problem_id"], sample),
            chat.ask(problem["question"], student_prompt),
            _seed(seed, benchmark, problem["problem_id"], sample),
        )
        for benchmark, table in problems.items()
        for problem in table
        for sample in range(evaluate.num_samples)
    ]


def _seed(seed: int, benchmark: str, problem_id: str, sample: int) -> int:
    return rows.keyed_draw(seed, "evaluate", benchmark, problem_id, sample) % 2**31


class _Meter:
    """Counts what comes in and shows it."""

    def __init__(self, done: int, total: int, progress: StageProgress | None) -> None:
        self.done, self.total, self.progress = done, total, progress
        self.fresh = self.tokens = self.truncated = self.errors = 0
        self.began = time.monotonic()

    def add(self, answer: Answer) -> None:
        self.fresh += 1
        self.tokens += answer.num_response_tokens
        self.truncated += answer.finish_reason == "length"
        self.errors += answer.finish_reason == "error"
        if self.progress is not None:
            facts: dict[str, str | float] = {"tokens_per_second": self.tokens / max(time.monotonic() - self.began, 1e-9)}
            facts["truncated"] = f"{self.truncated / self.fresh:.0%}"
            if self.errors:
                facts["errors"] = self.errors
            self.progress.update(self.done + self.fresh, self.total, **facts)


async def _ask(student: Student, questions: list[Question], journal: Journal, meter: _Meter) -> dict[Name, Answer]:
    """Return an answer per question; those that are answers are in the journal before this returns, however it ends."""
    answers: dict[Name, Answer] = {}
    flushed = time.monotonic()
    try:
        async for answer in student.ask_all(questions):
            answers[answer.name] = answer
            meter.add(answer)
            if answer.finish_reason != "error":  # a failed question is asked again by the next run
                journal.add(answer)
            if time.monotonic() - flushed >= FLUSH_SECONDS:
                journal.flush()
                flushed = time.monotonic()
    finally:
        journal.flush()
    return answers


def _refuse_many_errors(arm: str, answers: Mapping[Name, Answer]) -> None:
    failed = [answer for _, answer in sorted(answers.items()) if answer.finish_reason == "error"]
    if len(failed) > MAX_ERROR_SHARE * len(answers):
        raise EvaluationError(
            f"{len(failed)} of {len(answers)} questions to {arm} failed",
            seen=failed[0].error,
            rule=f"at most {MAX_ERROR_SHARE:.0%} may",
            do="mend the cause and run again; the answers received are kept",
        )


def _judge(
    problems: Mapping[str, list[dict[str, Any]]],
    answers: Mapping[Name, Answer],
    evaluate: recipe.Evaluate,
    seed: int,
    unboxed: Mapping[str, bool],
    verify: Verify,
) -> pa.Table:
    judged: list[dict[str, Any]] = []
    for benchmark, table in problems.items():
        names = [(benchmark, problem["problem_id"], sample) for problem in table for sample in range(evaluate.num_samples)]
        by_id = {problem["problem_id"]: problem for problem in table}
        asked = [answers[name] for name in names if answers[name].finish_reason != "error"]
        verdicts = verify(
            [answer.response for answer in asked],
            [by_id[answer.name[1]]["answer"] for answer in asked],
            [answer.finish_reason for answer in asked],
            unboxed[benchmark],
        )
        by_name = {answer.name: verdict for answer, verdict in zip(asked, verdicts, strict=True)}
        judged += [_row(answers[name], by_id[name[1]], by_name.get(name), _seed(seed, *name)) for name in names]
    return pa.Table.from_pylist(judged, schema=rows.SCORE)


def _row(answer: Answer, problem: Mapping[str, Any], verdict: Any, seed: int) -> dict[str, Any]:
    benchmark, problem_id, sample = answer.name
    return {
        "problem_id": problem_id,
        "benchmark": benchmark,
        "sample": sample,
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


def _outcome(
    table: pa.Table, problems: Mapping[str, list[dict[str, Any]]], answers: Mapping[Name, Answer], seconds: float
) -> dict[str, Any]:
    by_benchmark = {}
    for benchmark, asked in problems.items():
        samples = [row for row in table.to_pylist() if row["benchmark"] == benchmark]
        counts = {verdict: sum(row["verdict"] == verdict for row in samples) for verdict in ("right", "wrong", "unknown")}
        truncated = sum(row["finish_reason"] == "length" for row in samples)
        by_benchmark[benchmark] = {
            "accuracy": counts["right"] / len(samples),
            "num_problems": len(asked),
            "num_samples": len(samples),
            "right": counts["right"],
            "wrong": sum(row["verdict"] == "wrong" and row["finish_reason"] != "length" for row in samples),
            "unknown": sum(row["verdict"] == "unknown" and row["finish_reason"] == "stop" for row in samples),
            "truncated": truncated,
            "errors": sum(row["finish_reason"] == "error" for row in samples),
            "mean_response_tokens": sum(row["num_response_tokens"] for row in samples) / len(samples),
            "request_seconds": sum(answer.seconds for name, answer in answers.items() if name[0] == benchmark),
        }
    return {"benchmarks": by_benchmark, "seconds": seconds, "rows": table.num_rows}
