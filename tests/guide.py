"""The user's guide, taken apart: its files, the commands a test runs, those it only reads, and its table of gaps.

A fence says what is in it: `yaml my.yaml` is a file of that name, `sh` is run, `sh elsewhere` needs a cluster or the hub and is only read.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from mixray.cli import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
_FENCE = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCES = [(language, name, body) for language, name, body in _FENCE.findall(TEXT)]
FILES = {name: body for language, name, body in _FENCES if language != "sh"}
RUN = [body for language, name, body in _FENCES if (language, name) == ("sh", "")]
ELSEWHERE = [body for language, name, body in _FENCES if (language, name) == ("sh", "elsewhere")]
INLINE = re.findall(r"`(mixray [^`]+)`", _FENCE.sub("", TEXT))
GAPS = [[float(cell) for cell in re.findall(r"[\d.]+", line)] for line in re.findall(r"^\| \d+ \|.*$", TEXT, re.MULTILINE)]
"""Problems, then the detectable gap in points for each of `DIFFER`."""
DIFFER = (0.1, 0.2, 0.3, 0.4)


def commands(block: str) -> list[list[str]]:
    """Return the words of each line of a block, without what the shell keeps for itself: `</dev/null`, and a `&` at its end."""
    kept = ("&", "</dev/null")
    return [[word for word in shlex.split(line, comments=True) if word not in kept] for line in block.splitlines() if line.strip()]


def read(program: Any, words: list[str]) -> None:
    """Read a command line as its program would, down to the last option, and run nothing.

    Raises:
        Exception: of the program's own kind, where it has no such command or option, or a value is none.
    """
    named_alone = len(words) == 2  # such as `mixray plan`, in a sentence
    context = program.make_context(words[0], words[1:])
    while hasattr(program, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, program, rest = program.resolve_command(context, rest)
        context = program.make_context(name, rest, parent=context, resilient_parsing=named_alone)


def mixray() -> Any:
    """Return mixray's command line."""
    return typer.main.get_command(app)
