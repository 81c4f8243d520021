"""Thinking budgets: what a student would have said, had it been stopped after so many tokens.

In: an arm's scores, its tokenizer, somebody who asks it. Out: an artefact of kind `budgets`, a row per sample and budget (rows.BUDGET).
An answer that is no longer than the budget stays as it is. A longer one is cut there and the student made to state its result: the prompt,
the cut answer and a closing go back to it as token ids, and it may end them in a few dozen tokens. What counts is what the closing's box
holds; what follows the box is not read. The idea is budget forcing, a baseline of "Making Small Language Models Efficient
Reasoners" (2505.07961).

The cut is by the student's tokenizer on the text it wrote. How often that gives the number of tokens it was sampled with is told
(`retokenised_alike`). What survives a kill: every answer received.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mixray import chat, form, rows
from mixray.evaluation.client import Asker, StudentAnswer
from mixray.evaluation.exam import Exam, Name, Question
from mixray.evaluation.journal import Journal
from mixray.evaluation.score import ask, refuse_many_errors
from mixray.models import resolve
from mixray.progress import StageProgress
from mixray.store import Artefact

KIND = "budgets"
_BOX = "\\boxed{"


def handle(scores: Artefact, exam: Exam) -> Artefact:
    """Return the budgets of an arm's scores, made or not."""
    evaluate = exam.evaluate
    settings = {
        "budgets": sorted(evaluate.budgets),
        "closing": evaluate.budget_closing,
        "closing_tokens": evaluate.budget_closing_tokens,
        "policy": exam.rule.policy,
    }
    return scores.store.artefact(KIND, scores.name, settings, {"scores": scores})


@dataclass(frozen=True)
class Cut:
    """A long answer up to its budget, with what stands at the cut: as text, and as the tokens that are asked."""

    name: Name
    text: str
    prompt_ids: list[int]
    num_tokens: int
    """Of the answer and the closing."""


class Cutter:
    """Cuts one student's answers, token by token of its own tokenizer."""

    def __init__(self, model: str, exam: Exam) -> None:
        """Args are the student's folder or id, and what it was asked."""
        self.tokenizer, self.exam = chat.load_tokenizer(resolve(model)), exam
        self.num_seen = self.num_alike = 0

    def cuts(self, row: Mapping[str, Any]) -> Iterator[Cut]:
        """Yield one sample cut at each budget that it goes beyond."""
        budgets = [budget for budget in sorted(self.exam.evaluate.budgets) if is_beyond(row, budget)]
        if not budgets:
            return
        name = Name(row["benchmark"], row["problem_id"], row["sample"])
        prompt = chat.prompt_ids(self.tokenizer, self.exam.messages(name, row["question"]))
        opens = self.tokenizer.decode(prompt).rstrip().endswith(form.OPEN)
        text = row["response"].removeprefix(form.OPEN) if opens else row["response"]
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        self.num_seen += 1
        self.num_alike += 0 <= row["num_response_tokens"] - len(ids) <= 1  # the end of turn is a token, too
        for budget in budgets:
            head = ids[:budget]
            told = self.tokenizer.decode(head, clean_up_tokenization_spaces=False)
            closing = ("\n" + form.CLOSE if _is_thinking(told, opens) else "") + self.exam.evaluate.budget_closing
            end = self.tokenizer.encode(closing, add_special_tokens=False)
            whole = (form.OPEN if opens else "") + told + closing
            yield Cut(name._replace(budget_tokens=budget), whole, prompt + head + end, len(head) + len(end))


def _is_thinking(text: str, opened: bool) -> bool:
    return form.CLOSE not in text and (opened or form.OPEN in text)


def is_beyond(row: Mapping[str, Any], budget: int) -> bool:
    """Whether a sample was answered in more tokens than the budget has."""
    return bool(row["finish_reason"] != "error" and row["num_response_tokens"] > budget)


def run(budgets: Artefact, scores: Artefact, model: str, exam: Exam, asker: Asker, progress: StageProgress | None = None) -> Artefact:
    """Ask one arm to end every answer that goes beyond a budget, judge and keep; does nothing where that is done.

    Args:
        budgets: what to make, from `handle`.
        scores: the arm's answers.
        model: the arm's folder or id: its tokenizer.
        exam: what was asked.
        asker: puts the cut answers to the arm.
        progress: shows how many are ended.

    Raises:
        EvaluationError: too many questions failed; what was answered is kept for the next run.
    """
    with budgets.lock():
        if budgets.is_done():
            return budgets
        began = time.monotonic()
        samples, cutter = scores.read_table().to_pylist(), Cutter(model, exam)
        cuts = {cut.name: cut for row in samples for cut in cutter.cuts(row)}
        answers = {name: answer for name, answer in Journal(budgets).read().items() if name in cuts}
        most = exam.evaluate.budget_closing_tokens
        questions = [Question(name, [], exam.draw(name), cut.prompt_ids, most) for name, cut in cuts.items() if name not in answers]
        answers |= ask(budgets, asker, questions, len(answers), progress)
        refuse_many_errors(budgets.name, answers.values())
        made = [row for budget in sorted(exam.evaluate.budgets) for row in _rows(samples, budget, cuts, answers, exam)]
        with budgets.staging() as staging:
            staging.write_table("budgets.parquet", pa.Table.from_pylist(made, schema=rows.BUDGET))
            staging.outcome |= _outcome(made, cutter) | {"seconds": time.monotonic() - began}
    return budgets


def _rows(
    samples: Sequence[Mapping[str, Any]], budget: int, cuts: Mapping[Name, Cut], answers: Mapping[Name, StudentAnswer], exam: Exam
) -> list[dict[str, Any]]:
    """Return the rows of one budget, in the order of the samples."""
    same = ("finish_reason", "num_response_tokens", "answer", "verdict", "verdict_reason")
    made, forced = [], []
    for row in samples:
        name = Name(row["benchmark"], row["problem_id"], row["sample"], budget)
        told = {"benchmark": name.benchmark, "problem_id": name.problem_id, "sample": name.sample, "budget_tokens": budget}
        if name not in cuts:
            made.append(told | {"forced": False, "response": None} | {key: row[key] for key in same})
            continue
        ended = _ended(cuts[name], answers[name], exam.evaluate.budget_closing)
        made.append(told | {"forced": True} | ended | {"answer": None, "verdict": "unknown", "verdict_reason": answers[name].error})
        if ended["finish_reason"] != "error":
            forced.append((made[-1], row["gold"]))
    _judge(forced, exam)
    return made


def _judge(forced: Sequence[tuple[dict[str, Any], str]], exam: Exam) -> None:
    """Fill in the verdicts of rows, each with its gold."""
    for benchmark, asked in exam.evaluate.benchmarks.items():
        here = [(row, gold) for row, gold in forced if row["benchmark"] == benchmark]
        verdicts = exam.rule.of(benchmark)(
            [row["response"] for row, _ in here],
            [gold for _, gold in here],
            [row["finish_reason"] for row, _ in here],
            asked.counts_unboxed,
        )
        for (row, _), verdict in zip(here, verdicts, strict=True):
            row |= {"answer": verdict.answer, "verdict": verdict.verdict, "verdict_reason": verdict.verdict_reason}


def _ended(cut: Cut, answer: StudentAnswer, closing: str) -> dict[str, Any]:
    """Return a cut answer with its end: up to the brace that closes the closing's box, where it opens one."""
    text, reason = answer.response, answer.finish_reason
    _, box, inside = closing.rpartition(_BOX)
    if box and box_end(inside) is None and (end := box_end(inside + text)) is not None:
        text, reason = text[: end - len(inside)], "stop"
    return {"response": cut.text + text, "finish_reason": reason, "num_response_tokens": cut.num_tokens + answer.num_response_tokens}


def box_end(text: str) -> int | None:
    """Return how far the text goes until the brace that was open before it is closed; None where it never is."""
    depth, escaped = 1, False
    for index, character in enumerate(text):
        if not escaped:
            depth += (character == "{") - (character == "}")
        if depth == 0:
            return index + 1
        escaped = character == "\\" and not escaped
    return None


def _outcome(made: Sequence[Mapping[str, Any]], cutter: Cutter) -> dict[str, Any]:
    by_benchmark: dict[str, list[dict[str, Any]]] = {}
    for benchmark in sorted({row["benchmark"] for row in made}):
        for budget in sorted({row["budget_tokens"] for row in made}):
            here = [row for row in made if (row["benchmark"], row["budget_tokens"]) == (benchmark, budget)]
            by_benchmark.setdefault(benchmark, []).append(
                {
                    "budget_tokens": budget,
                    "accuracy": sum(row["verdict"] == "right" for row in here) / len(here),
                    "num_samples": len(here),
                    "forced": sum(row["forced"] for row in here),
                    "right_forced": sum(row["forced"] and row["verdict"] == "right" for row in here),
                    "errors": sum(row["finish_reason"] == "error" for row in here),
                    "mean_response_tokens": sum(row["num_response_tokens"] for row in here) / len(here),
                }
            )
    return {"benchmarks": by_benchmark, "num_cut": cutter.num_seen, "retokenised_alike": cutter.num_alike, "rows": len(made)}


def in_words(outcome: Mapping[str, Any]) -> str:
    """Return the accuracies by budget in one line."""
    told = (
        f"{name} " + ", ".join(f"{point['accuracy']:.1%} at {point['budget_tokens']:,}" for point in points)
        for name, points in outcome["benchmarks"].items()
    )
    return "; ".join(told)
