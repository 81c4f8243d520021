"""Answers that are there already, as they came: what is judged anew is not asked again.

In: made scores. Out: their answers, as they came. Nothing is written.
"""

from __future__ import annotations

from typing import Any

from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.store import Artefact


def answers_of(scores: Artefact, failed: bool = False) -> dict[Name, StudentAnswer]:
    """Return the answers of made scores; those that failed are left to be asked again, or are there `failed`."""
    answers = map(_answer, scores.read_table().to_pylist())
    return {answer.name: answer for answer in answers if failed or answer.finish_reason != "error"}


def _answer(row: dict[str, Any]) -> StudentAnswer:
    return StudentAnswer(
        name=Name(row["benchmark"], row["problem_id"], row["sample"]),
        response=row["response"],
        finish_reason=row["finish_reason"],
        num_response_tokens=row["num_response_tokens"],
        seconds=row["seconds"],
        error=row["verdict_reason"] if row["finish_reason"] == "error" else "",
        num_prompt_tokens=row["num_prompt_tokens"],
    )
