"""`mixray lab`: which claims it takes, and what `--check` says and exits with. What it finds is made up; recipes are run elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import called

from mixray import lab_cli
from mixray.laboratory import CLAIMS, Claim, Notebook

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Find what is committed, and note what was asked for."""
    monkeypatch.chdir(tmp_path)
    names: list[str] = []

    def held(claim: Claim, *_: Any) -> tuple[Any, Any]:
        names.append(claim.name)
        return Notebook.open(DOCS).findings[claim.name], SimpleNamespace()

    monkeypatch.setattr(lab_cli, "_held", held)
    return names


def test_a_check_of_what_is_committed_ends_well(asked: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert called("lab", "--quick", "--check", "--docs", str(DOCS)) == 0
    assert asked == [name for name, claim in CLAIMS.items() if claim.quick]
    assert capfd.readouterr().out.count("  the same\n") == len(asked)


def test_a_check_of_other_numbers_fails(asked: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    committed = Notebook.open(DOCS).findings["mix"]
    other = replace(committed, contrasts=[replace(each, value=each.high + 0.1) for each in committed.contrasts])
    monkeypatch.setattr(lab_cli, "_held", lambda *_: (other, SimpleNamespace()))
    assert called("lab", "mix", "--check", "--docs", str(DOCS)) == 1
    assert "1 of 1 claims" in capfd.readouterr().err
    assert asked == []


def test_a_claim_that_is_not_there_is_told_with_the_nearest(asked: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert called("lab", "budgets") == 1
    assert "There is no such claim" in (told := capfd.readouterr().err)
    assert "budget" in told
    assert asked == []
