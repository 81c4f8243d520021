"""What a row is on its way to being a problem: a draft with its claims, or set aside with a reason.

The reasons, each one word to count by, with a detail beside it for whoever looks into the row:

    not_a_row, not_json, not_csv, ragged, not_text   the row cannot be read
    missing_question, missing_gold                   no such column, or null
    empty_question, empty_gold                       nothing but space
    nul_byte, lone_surrogate, not_finite, too_long   a field holds what no later stage can take
    no_gold                                          the gold's text does not hold what the format says (`####`, a box)
    several_answers                                  the solution boxes different answers, and nobody says which one is meant
    gold_not_itself                                  the gold does not verify against itself
    solution_disagrees                               the worked solution comes to another answer
    duplicate_id                                     an earlier problem has the same id
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from mixray.quarantine import BadRow, SetAside

LONGEST_CHARACTERS = 100_000
LONGEST_LABEL_CHARACTERS = 1000


@dataclass(frozen=True)
class Draft:
    """A row that reads as a problem and whose gold is still to be checked."""

    row: int
    problem: dict[str, Any]
    content: str
    boxed: bool
    """Whether `problem["answer"]` is a text whose last box holds the gold."""
    solutions: tuple[str, ...]
    """Worked solutions that should come to the gold."""

    def refused(self, reason: str, detail: str) -> SetAside:
        """Return the row as one set aside."""
        return SetAside(self.row, reason, detail, self.content)

    def with_gold(self, gold: str) -> Draft:
        """Return the draft with its gold found."""
        return replace(self, problem={**self.problem, "answer": gold}, boxed=False)


def text_of(value: Any, name: str) -> str:
    """Return a text or number as text, 27.0 as 27.

    Raises:
        BadRow: it is neither, or not finite.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise BadRow("not_text", f"`{name}` is no text or number but {type(value).__name__}")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise BadRow("not_finite", f"`{name}` is {value}")
    return format(number.quantize(Decimal(1)) if number == number.to_integral_value() and abs(number) < 1e20 else number, "f")


def checked(text: str, name: str, longest: int = LONGEST_CHARACTERS) -> str:
    """Return `text` where every later stage can take it; empty is for the caller to judge.

    Raises:
        BadRow: it is too long, or holds a NUL byte or a lone surrogate.
    """
    if len(text) > longest:
        raise BadRow("too_long", f"`{name}` has {len(text):,} characters, at most {longest:,}")
    if "\0" in text:
        raise BadRow("nul_byte", f"`{name}` holds a NUL byte at character {text.index(chr(0))}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow("lone_surrogate", f"`{name}` holds half of a surrogate pair at character {error.start}") from None
    return text
