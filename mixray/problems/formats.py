"""What the columns of well-known problem sets are called, and how each writes its gold.

In: a raw row and the name of its format. Out: a `Draft`. Nothing is judged here.

What the formats do beyond picking columns:
  * plain, gsm8k: the gold follows `####`, which gsm8k insists on; the whole text is the worked solution.
  * math: the gold is what the solution's last box holds, since that is where MATH itself states it. A `target` beside it is not read: the
    published ones have lost spaces, units and the line breaks of matrices. One published copy appends an instruction to each question;
    it is taken off, so that questions and ids are MATH's own.
  * amc23: golds are floats; 27.0 is 27.
  * aime24: golds keep their leading zeros; 025 and 25 are the same to the verifier.
  * olympiadbench: golds are lists, written out with commas, without their `$`; the context comes before the question. `unit` and `error`
    are not read: the question names the unit, and the decimals it wants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from mixray.fields import NoSuchField, value_at
from mixray.files import Unreadable, excerpt
from mixray.problems.drafts import LONGEST_CHARACTERS, LONGEST_LABEL_CHARACTERS, Draft, checked, text_of
from mixray.quarantine import BadRow
from mixray.recipe import ProblemSet
from mixray.rows import digest

INSTRUCTION = " Let's think step by step and output the final answer within \\boxed{}."
BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])")
_DOLLAR = re.compile(r"(?<!\\)\$")
MOST_LEVEL_DIGITS = 9  # a level is a 32-bit integer
_DIGITS = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True)
class Format:
    """Where a problem set keeps what a problem needs: paths of `mixray.fields`, of which the first that is there counts."""

    question: tuple[str, ...]
    gold: tuple[str, ...]
    id: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    level: tuple[str, ...] = ()
    solution: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    instruction: str = ""
    """What was appended to every question."""
    hashes: Literal["no", "may", "must"] = "no"
    """Whether the gold follows `####`."""
    drops_dollars: bool = False


_MATH_SOLUTION = ("solution", "reward_model.ground_truth.solution")
FORMATS = {
    "plain": Format(
        question=("question",), gold=("answer",), id=("problem_id", "id"), subject=("subject", "type"), level=("level",), hashes="may"
    ),
    "gsm8k": Format(question=("question",), gold=("answer",), solution=("answer",), hashes="must"),
    "math": Format(
        question=("problem", "question", "reward_model.ground_truth.question"), gold=("answer", *_MATH_SOLUTION),
        subject=("type", "subject"), level=("level",), solution=_MATH_SOLUTION, instruction=INSTRUCTION,
    ),
    "math500": Format(
        question=("problem",), gold=("answer",), id=("unique_id",), subject=("subject",), level=("level",), solution=("solution",)
    ),
    "amc23": Format(question=("problem", "question"), gold=("answer",), id=("id",)),
    "aime24": Format(question=("problem", "question"), gold=("answer",), id=("id",)),
    "olympiadbench": Format(
        question=("question",), gold=("final_answer",), id=("id",), subject=("subfield", "subject"), solution=("solution",),
        context=("context",), drops_dollars=True,
    ),
}  # fmt: skip


def draft(number: int, row: Any, source: ProblemSet) -> Draft:
    """Read row `number` of a problem set as its format says.

    Raises:
        BadRow: a field is missing, empty, or holds what no later stage can take.
    """
    if isinstance(row, Unreadable):
        raise BadRow(row.reason, row.detail)
    if not isinstance(row, dict):
        raise BadRow("not_a_row", f"the row is no mapping but {type(row).__name__}")
    form = FORMATS["plain" if source.source == "tiny" else source.format]
    question = _question(row, form, source.question_field)
    gold, boxed, solutions = _gold(row, form, source.answer_field)
    problem = {
        "problem_id": _id(row, form.id) or f"p-{digest(question, 12)}",
        "question": question,
        "answer": gold,
        "subject": _subject(row, form.subject),
        "level": _level(_first(row, form.level)[1]),
    }
    return Draft(number, problem, excerpt(row), boxed, solutions)


def _question(row: dict[str, Any], form: Format, asked_for: str | None) -> str:
    path, value = _required(row, (asked_for,) if asked_for else form.question, "question")
    question = checked(text_of(value, path), path)
    question = question.removesuffix(form.instruction)
    if not question.strip():
        raise BadRow("empty_question", f"`{path}` holds nothing but space")
    context_path, context = _first(row, form.context)
    if context is None:
        return question
    context = checked(text_of(context, context_path), context_path).strip()
    return checked(f"{context}\n\n{question}", path) if context else question


def _gold(row: dict[str, Any], form: Format, asked_for: str | None) -> tuple[str, bool, tuple[str, ...]]:
    """Return the gold or the text whose box holds it, whether it is in a box, and the solutions that should come to it."""
    path, value = _required(row, (asked_for,) if asked_for else form.gold, "gold")
    items = value if isinstance(value, list | tuple) else [value]
    text = checked(", ".join(text_of(item, path) for item in items), path)
    hashes = form.hashes != "no" and "####" in text
    boxed = not hashes and bool(BOX.search(text))
    if form.hashes == "must" and not hashes:
        raise BadRow("no_gold", f"`{path}` has no `####`")
    if path in form.solution and not hashes and not boxed:
        raise BadRow("no_gold", f"`{path}` has no box")
    gold = (text.rpartition("####")[2] if hashes else text).strip()
    gold = _DOLLAR.sub("", gold).strip() if form.drops_dollars else gold
    if not gold:
        raise BadRow("empty_gold", f"`{path}` states no answer")
    if gold.casefold() == "nan":
        raise BadRow("not_finite", f"`{path}` is {gold}")
    solution_path, solution = _first(row, form.solution)
    if boxed and path == solution_path:
        return gold, boxed, ()
    solutions: Iterable[Any] = solution if isinstance(solution, list | tuple) else [solution]
    return gold, boxed, tuple(text for text in solutions if isinstance(text, str) and 0 < len(text) <= LONGEST_CHARACTERS)


def _required(row: dict[str, Any], paths: tuple[str, ...], name: str) -> tuple[str, Any]:
    path, value = _first(row, paths)
    if value is not None:
        return path, value
    try:
        value_at(row, paths[0])
    except NoSuchField as error:
        raise BadRow(f"missing_{name}", f"{error}" + "".join(f"; nor is there `{other}`" for other in paths[1:])) from None
    raise BadRow(f"missing_{name}", f"`{paths[0]}` is null")


def _first(row: dict[str, Any], paths: tuple[str, ...]) -> tuple[str, Any]:
    """Return the first path that holds something, and what; nothing where none does."""
    for path in paths:
        try:
            value = value_at(row, path)
        except NoSuchField:
            continue
        if value is not None:
            return path, value
    return "", None


def _id(row: dict[str, Any], paths: tuple[str, ...]) -> str:
    path, value = _first(row, paths)
    return "" if value is None else checked(text_of(value, path), path, LONGEST_LABEL_CHARACTERS).strip()


def _subject(row: dict[str, Any], paths: tuple[str, ...]) -> str:
    path, value = _first(row, paths)
    return checked(str(value), path, LONGEST_LABEL_CHARACTERS).strip() if isinstance(value, str | int) else ""


def _level(value: Any) -> int:
    """Return 5 for 5 and for `Level 5`, 0 where no level can be told."""
    digits = _DIGITS.search(str(value)) if isinstance(value, str | int | float) else None
    return int(digits[0]) if digits and len(digits[0]) <= MOST_LEVEL_DIGITS else 0
