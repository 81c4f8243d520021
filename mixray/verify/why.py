"""Why two ways of judging differ on a response, in a few words that can be counted.

In: the response's row, both opinions, both answers. Out: a phrase. Pure; a guess from what is seen, not a proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixray.rows import THINK_TAGS
from mixray.verify.numbers import Opinion

CUT_OFF = "cut off, and only one looks at that"
COULD_NOT_TELL = ("timeout", "crashed", "memory", "forbidden", "too_long", "too_deep", "too_large")
NO_ANSWER_IN_FORM = "no answer in the form that lm-eval reads"
NEITHER = "neither finds an answer, which lm-eval calls wrong"
THINKING = "a box within the thinking"
NO_BOX = "no box, and lm-eval reads the text"
SEVERAL_BOXES = "several boxes"
ANOTHER_PART = "lm-eval reads another part of the response"
_BOXES = ("\\boxed", "\\fbox")


def why(row: Mapping[str, Any], opinions: tuple[Opinion, Opinion], answers: tuple[str | None, str | None], of_lm_eval: bool) -> str:
    """Return why two opinions differ.

    Args:
        row: of a pool or of scores.
        opinions: the two.
        answers: what each took for the answer; None where it found none, or does not tell.
        of_lm_eval: whether the second is lm-eval's.
    """
    if row["finish_reason"] == "length" and "right" in (opinions[0].verdict, opinions[1].verdict):
        return CUT_OFF
    for opinion in opinions:
        if opinion.reason in COULD_NOT_TELL or opinion.reason.startswith("raises "):
            return f"one could not tell: {opinion.reason}"
    if of_lm_eval and answers == (None, None):
        return NEITHER
    if not of_lm_eval or _bare(answers[0]) == _bare(answers[1]):
        return f"compared otherwise: {opinions[0].reason}"
    return _reading(row["response"] or "", answers)


def _reading(response: str, answers: tuple[str | None, str | None]) -> str:
    if answers[1] is None:
        return NO_ANSWER_IN_FORM
    thought, closing, _ = response.rpartition(THINK_TAGS[1])
    if closing and any(box in thought for box in _BOXES):
        return THINKING
    num_boxes = sum(response.count(box) for box in _BOXES)
    return SEVERAL_BOXES if num_boxes > 1 else ANOTHER_PART if num_boxes else NO_BOX


def _bare(answer: str | None) -> str | None:
    return None if answer is None else "".join(answer.split()).strip("$.")
