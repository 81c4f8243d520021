"""What a run tells where there is no terminal: plain lines, with the time that is left."""

from __future__ import annotations

import io
import re
import time

import pytest

from mixray import progress
from mixray.progress import Display


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where lines go; each look is a line."""
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    return io.StringIO()


def test_a_plain_line_tells_facts_and_the_time_that_is_left(told: io.StringIO) -> None:
    line = Display(told).stage("train arm")
    line.update(0, 100, loss=1.5)
    time.sleep(0.05)
    line.update(50, 100, loss=0.5, tokens_per_second=12345.6)
    first, second = told.getvalue().splitlines()
    assert first.split() == ["train", "arm:", "0/100", "loss", "1.5"]
    assert re.fullmatch(r"train arm: 50/100  loss 0.5  tokens/second 12,346  \d+ s left", second)


def test_the_time_left_begins_anew_with_another_total(told: io.StringIO) -> None:
    """A stage counts rows first and steps then."""
    line = Display(told).stage("train arm")
    line.update(512, 1000)
    line.update(1, 200)
    line.update(201, 200)
    assert "left" not in told.getvalue()
    line.update(0, 10_000)
    time.sleep(0.05)
    line.update(1, 10_000)
    assert "left" in told.getvalue().splitlines()[-1]


def test_what_a_model_wrote_cannot_act_on_the_terminal(told: io.StringIO) -> None:
    display = Display(told)
    display.say("\x1b[2J\u202egnp.exe")
    display.stage("ask").update(1, 2, said="\x1b]0;owned\x07\u2066")
    assert "gnp.exe" in told.getvalue()
    assert not set(told.getvalue()) & {"\x1b", "\x07", "\u202e", "\u2066"}
