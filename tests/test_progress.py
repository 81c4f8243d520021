"""What a run tells where there is no terminal: plain lines, with the time that is left; and where the terminal goes away."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

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


RUN = """
import logging, sys, time
from pathlib import Path
from mixray import progress
from mixray.terminal import library_noise_in
progress.PLAIN_SECONDS = 0.0
with library_noise_in(Path(sys.argv[1])) as terminal:
    with progress.Display(terminal.err) as display:
        line = display.stage("train arm")
        line.update(1, 3, loss=1.5)
        terminal.answer("begun")
        sys.stdin.readline()
        for step in (2, 3):
            line.update(step, 3, loss=1.0)
            time.sleep(0.3)  # the live lines are drawn by a thread
        line.finish("trained")
    terminal.err.write("all is done")
    terminal.err.flush()
    terminal.answer("the report")
"""


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_terminal_that_goes_away_ends_nothing(kind: str, tmp_path: Path) -> None:
    ours, theirs = os.pipe() if kind == "pipe" else os.openpty()
    log = tmp_path / "run.log"
    command = [sys.executable, "-c", RUN, str(log)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    # A session of its own: the end of a terminal is a signal to those it controls, and nohup's children get none.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment, start_new_session=True
    ) as run:
        os.close(theirs)
        assert run.stdout is not None
        assert run.stdout.readline() == "begun\n", log.read_text()
        seen = b""
        while b"train arm" not in seen:
            seen += os.read(ours, 10_000)
        os.close(ours)
        out, _ = run.communicate("go on\n", timeout=300)
    assert (run.returncode, out) == (0, "the report\n"), log.read_text()
    assert "train arm: trained" in log.read_text()
    assert log.read_text().count("the terminal is gone") == 1
