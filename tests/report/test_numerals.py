"""Numbers as people read them, and the tables they stand in."""

from __future__ import annotations

import pytest

from mixray.report import numerals
from mixray.report.markdown_numbers import table


@pytest.mark.parametrize(
    ("number", "shown"),
    [(None, ""), (120, " (0.12k)"), (352_000, " (352k)"), (494_000_000, " (494M)"), (1_540_000_000, " (1.5B)"), (99_700_000, " (100M)")],
)
def test_a_size_is_told_in_a_few_digits(number: int | None, shown: str) -> None:
    assert numerals.parameters(number) == shown


def test_a_bar_in_a_cell_is_no_end_of_it() -> None:
    assert table(["problem", "right"], [["a|b", "1"]]).splitlines()[-1] == "| a\\|b | 1 |"
