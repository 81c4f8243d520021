"""Traces that exist already, as a teacher: a file or hub data set becomes a pool like any other.

In: rows of any shape, and which columns hold what. Out: part files of judged traces, and the rows that were set aside with their reasons.
A trace belongs to the problem whose id it names, or whose question it repeats; space between words does not count. Nothing is kept on
the way: a kill costs the judging, which the next run does again.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixray.errors import TeacherError
from mixray.fields import value_at
from mixray.files import raw_rows
from mixray.progress import StageProgress
from mixray.recipe import ImportedTeacher
from mixray.rows import keyed_draw, trace_id
from mixray.store import Artefact
from mixray.teachers import form
from mixray.teachers.parts import Stamp, write_part
from mixray.teachers.tally import Tally
from mixray.teachers.work import Rule

ENGINE = "imported"
PROBLEMS_PER_PART = 500
ROWS_AT_ONCE = 1000
BUCKETS = 64
CONTENT_CHARACTERS = 2000
_MATCHED = pa.schema(
    [
        ("position", pa.int64()),
        ("row", pa.int64()),
        ("response", pa.string()),
        ("finish_reason", pa.string()),
        ("num_response_tokens", pa.int32()),
    ]
)


def write_parts(
    pool: Artefact, name: str, teacher: ImportedTeacher, problems: Artefact, rule: Rule, progress: StageProgress
) -> list[dict[str, Any]]:
    """Write the traces of `teacher` as parts of `pool`; return the rows set aside as {row, reason, content}.

    Raises:
        TeacherError: no trace fits a problem.
        MixrayError: the file cannot be read.
    """
    positions = _positions(problems, by_id=teacher.columns.problem_id is not None)
    set_aside: list[dict[str, Any]] = []
    now, there = time.time(), Tally()
    with tempfile.TemporaryDirectory(prefix="mixray-import-") as folder:
        matched = _matched(teacher, positions, set_aside)
        buckets = _in_buckets(matched, int(problems.outcome["num_problems"]), Path(folder))
        for traces in _with_problems(buckets, problems):
            rows = _judged([_trace(name, teacher, *pair) for pair in traces], rule)
            write_part(pool.store, pool.work_path, rows, Stamp(ENGINE, ENGINE, now, now, now))
            there.add(Tally.of(rows))
            progress.update(there.problems, len(positions), right=f"{there.right / there.traces:.0%}")
    if not there.traces:
        raise TeacherError(
            "No trace fits a problem",
            seen=f"{len(set_aside)} rows of {teacher.traces}; the first: {set_aside[0]['reason'] if set_aside else 'there is none'}",
            rule="a trace names its problem's id, or repeats its question",
            do="check `columns`, and that `problems` are those the traces answer",
        )
    return set_aside


def _positions(problems: Artefact, by_id: bool) -> dict[int, int]:
    """Return where each problem stands, by a digest of its id or question: a few dozen bytes a problem, whatever its length."""
    column = "problem_id" if by_id else "question"
    texts = (text for table in problems.tables([column]) for text in table[column].to_pylist())
    return {_key(text): position for position, text in enumerate(texts)}


def _key(text: str) -> int:
    return keyed_draw("trace of", " ".join(text.split()))


def _matched(teacher: ImportedTeacher, positions: dict[int, int], set_aside: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows that fit a problem; the others go to `set_aside`."""
    for number, row in enumerate(raw_rows(teacher.traces, teacher.split)):
        try:
            yield {"row": number} | _read(row, teacher, positions)
        except (ValueError, TypeError, OverflowError) as reason:
            set_aside.append({"row": number, "reason": str(reason), "content": ascii(row)[:CONTENT_CHARACTERS]})


def _read(row: Any, teacher: ImportedTeacher, positions: dict[int, int]) -> dict[str, Any]:
    columns = teacher.columns
    named = str(value_at(row, columns.problem_id or columns.question))
    position = positions.get(_key(named))
    if position is None:
        raise ValueError(f"no problem has the {'id' if columns.problem_id else 'question'} {ascii(named)[:80]}")
    response = value_at(row, columns.response)
    if not isinstance(response, str):
        raise ValueError(f"`{columns.response}` is no text but {type(response).__name__}")
    if teacher.response_after is not None:
        _, found, response = response.rpartition(teacher.response_after)
        if not found:
            raise ValueError(f"`{columns.response}` does not hold {teacher.response_after!r}")
    finish_reason = value_at(row, columns.finish_reason) if columns.finish_reason else None
    tokens = value_at(row, columns.num_response_tokens) if columns.num_response_tokens else None
    return {
        "position": position,
        "response": form.with_thinking(form.storable(response), teacher.think_tags, False, teacher.thinking == "keep"),
        "finish_reason": None if finish_reason is None else str(finish_reason),
        "num_response_tokens": None if tokens is None else int(tokens),
    }


def _in_buckets(rows: Iterable[dict[str, Any]], num_problems: int, folder: Path) -> list[Path]:
    """Sort rows roughly by problem, on disk, so that the traces of a problem come together whatever the order of the file."""
    paths = [folder / f"{bucket:02d}.parquet" for bucket in range(BUCKETS)]
    rows = iter(rows)
    with ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(path, _MATCHED)) for path in paths]
        while batch := list(itertools.islice(rows, ROWS_AT_ONCE)):
            by_bucket = sorted(batch, key=lambda row: row["position"])
            for bucket, group in itertools.groupby(by_bucket, key=lambda row: row["position"] * BUCKETS // num_problems):
                writers[bucket].write_table(pa.Table.from_pylist(list(group), schema=_MATCHED))
    return paths


def _with_problems(buckets: list[Path], problems: Artefact) -> Iterator[list[tuple[dict[str, Any], dict[str, Any], int]]]:
    """Yield (problem, row, sample) for a few hundred problems at a time, in the order of the problems and, within one, of the file."""
    rows = (row for path in buckets for row in pq.read_table(path).sort_by([("position", "ascending"), ("row", "ascending")]).to_pylist())
    grouped = itertools.groupby(rows, key=lambda row: row["position"])
    numbered = enumerate(problem for table in problems.tables() for problem in table.to_pylist())
    while chunk := [(position, list(traces)) for position, traces in itertools.islice(grouped, PROBLEMS_PER_PART)]:
        out = []
        for position, traces in chunk:
            problem = next(problem for place, problem in numbered if place == position)
            out += [(problem, row, sample) for sample, row in enumerate(traces)]
        yield out


def _trace(name: str, teacher: ImportedTeacher, problem: dict[str, Any], row: dict[str, Any], sample: int) -> dict[str, Any]:
    response = row["response"]
    return {
        "position": row["position"],
        "trace_id": trace_id(problem["problem_id"], name, sample),
        "problem_id": problem["problem_id"],
        "teacher": name,
        "sample": sample,
        "seed": None,
        "question": problem["question"],
        "gold": problem["answer"],
        "subject": problem["subject"],
        "level": problem["level"],
        "response": response,
        "finish_reason": row["finish_reason"],
        "num_response_tokens": row["num_response_tokens"],
        "status": form.status(response, row["finish_reason"]),
        "repetition": form.repetition(response),
        "engine": ENGINE,
    }


def _judged(rows: list[dict[str, Any]], rule: Rule) -> list[dict[str, Any]]:
    return [
        row | {"answer": verdict.answer, "verdict": verdict.verdict, "verdict_reason": verdict.verdict_reason, "error": None}
        for row, verdict in zip(rows, rule.judge(rows), strict=True)
    ]
