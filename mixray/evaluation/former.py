"""Answers that are there already: those of the same exam, judged under another policy.

In: scores, made or not. Out: their answers, as they came. Nothing is written.
"""

from __future__ import annotations

from typing import Any

from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import JUDGED_BY, Name
from mixray.store import Artefact


def sibling(scores: Artefact) -> Artefact | None:
    """Return scores with the same answers under another policy, where the store holds some."""
    for folder in scores.store.folders(scores.kind):
        if folder.startswith(f"{scores.name}-") and not folder.endswith(".replaced"):
            other = scores.store.open(scores.kind, folder)
            if other.hash != scores.hash and _asked(other.made_by) == _asked(scores.made_by):
                return other
    return None


def _asked(made_by: dict[str, Any]) -> dict[str, Any]:
    return made_by | {"settings": {key: value for key, value in made_by["settings"].items() if key != JUDGED_BY}}


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
