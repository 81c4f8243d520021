"""Verdicts for a file of responses: `mixray verify`.

In: a JSON lines file. Out: the same rows, in order, with `verdict`, `verdict_reason` and `answer`, and how many got which verdict. The
output appears whole or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixray.errors import VerifyError
from mixray.verify.judge import Verdict, verify


def verify_file(
    path: str | Path, response: str, gold: str, out: str | Path, unboxed: bool = False, judge: Callable[..., list[Verdict]] = verify
) -> dict[str, int]:
    """Judge the rows of `path` and write them, with their verdicts, to `out`.

    Args:
        path: a JSON lines file; a `finish_reason` in it is heeded.
        response: the field that holds what the model wrote.
        gold: the field that holds the right answer: text, a number, or a list of answers.
        out: where to write.
        unboxed: where there is no box, the last number is the answer.
        judge: what judges, called as `verify` is.

    Returns:
        The number of rows by verdict.

    Raises:
        VerifyError: the file or one of its lines cannot be read, or a row lacks a field; or a user's own verifier fails.
    """
    rows = _read(Path(path), (response, gold))
    verdicts = judge(
        [_text(row[response]) for row in rows],
        [_text(row[gold]) for row in rows],
        [row.get("finish_reason") for row in rows],
        unboxed,
    )
    staged = Path(f"{out}.partial")
    try:
        with staged.open("w", encoding="utf-8") as file:
            for row, verdict in zip(rows, verdicts, strict=True):
                told = {"verdict": verdict.verdict, "verdict_reason": verdict.verdict_reason, "answer": verdict.answer}
                file.write(json.dumps(row | told) + "\n")
        os.replace(staged, out)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise VerifyError("The verdicts cannot be written", seen=str(out), rule=str(error), do="pass another --out") from error
    counts = Counter(verdict.verdict for verdict in verdicts)
    return {name: counts[name] for name in ("right", "wrong", "unknown")}


def _read(path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise VerifyError("The responses cannot be read", seen=str(path), rule=str(error), do="pass a JSON lines file in UTF-8") from error
    rows = []
    for position, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_row(line, f"{path}:{position}", fields))
    return rows


def _row(line: str, place: str, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise VerifyError("A line is not JSON", seen=place, rule=str(error), do="mend or remove it") from error
    missing = [name for name in fields if not isinstance(row, dict) or name not in row]
    if missing:
        known = sorted(row) if isinstance(row, dict) else type(row).__name__
        raise VerifyError("A row lacks a field", seen=f"{place}: {known}", rule=f"needs {missing}", do="see --response and --gold")
    return dict(row)


def _text(value: Any) -> str | None:
    """Return a JSON value as an answer: several answers in a list are one list."""
    if value is None or isinstance(value, str):
        return value
    return ", ".join(filter(None, map(_text, value))) if isinstance(value, list) else str(value)
