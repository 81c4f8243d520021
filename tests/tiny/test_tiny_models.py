"""The shipped models are those of the table, small enough to ship, and as good as the demo needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixray.models import resolve, tiny_models_folder
from mixray.tiny.build import FILES, WEIGHTS, accuracy
from mixray.tiny.models_table import MODELS

TEACHERS = ("long", "short", "large", "small")
STUDENTS = ("student-xs", "student-s", "student-m", "student-s-novice", "student-s-expert")
INSTRUCTED = ("student-s-instruct",)
MOST_BYTES = 15 * 2**20


def test_exactly_the_models_of_the_table_are_shipped_and_small() -> None:
    folders = sorted(path.name for path in tiny_models_folder().iterdir() if path.is_dir())
    assert folders == sorted(MODELS) == sorted(TEACHERS + STUDENTS + INSTRUCTED)
    for name in folders:
        assert {path.name for path in Path(resolve(f"tiny:{name}")).iterdir()} == {*FILES, WEIGHTS}
    assert sum(path.stat().st_size for path in tiny_models_folder().rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize(("names", "low", "high"), [(TEACHERS, 0.5, 1.0), (STUDENTS, 0.0, 0.35), (INSTRUCTED, 0.05, 0.9)])
def test_teachers_are_good_and_students_are_not_yet(names: tuple[str, ...], low: float, high: float) -> None:
    # 64 problems tell 0.60 from 0.25 apart, not 0.60 from 0.70: the limits are those targets, loosened by three standard errors.
    for name in names:
        assert low <= accuracy(tiny_models_folder() / name, num_problems=64).right <= high, name
