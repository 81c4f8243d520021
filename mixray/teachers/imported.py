"""Traces that exist already, as a teacher: a file or hub data set becomes a pool like any other.

In: rows of any shape, and which columns hold what. Out: part files of judged traces, and the rows that were set aside with their reasons:

    not_json, not_csv, ragged, not_text, too_long   the row cannot be read
    missing_column                                  it lacks a column that `columns` names, or holds null there
    unknown_problem                                 no problem has this id or question
    no_response                                     the response is no text, or lacks the text of `response_after`
    bad_count                                       its number of tokens is none

A trace belongs to the problem whose id it names, or whose question it repeats; space between words does not count. Rows that repeat each
other stay: each is one more sample. Nothing is kept on the way: a kill costs the judging, which the next run does again. Memory holds a
few dozen bytes for each problem and the traces of one bucket, a 64th of the problems.
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

from mixray import form
from mixray.errors import TeacherError
from mixray.fields import NoSuchField, value_at
from mixray.files import Unreadable, excerpt, raw_rows
from mixray.progress import StageProgress
from mixray.quarantine import BadRow, Quarantine, SetAside
from mixray.recipe import ImportedTeacher
from mixray.rows import MOST_TOKENS, keyed_draw, trace_id
from mixray.store import Artefact
from mixray.teachers.parts import Stamp, write_part
from mixray.teachers.tally import Tally
from mixray.teachers.work import Rule

ENGINE = "imported"
TRACES_PER_PART = 1000
ROWS_AT_ONCE = 1000
BUCKETS = 64
_MATCHED = pa.schema(
    [
        ("position", pa.int64()),
        ("row", pa.int64()),
        ("response", pa.string()),
        ("finish_reason", pa.string()),
        ("num_response_tokens", pa.int32()),
    ]
)


def write_parts(pool: Artefact, name: str, teacher: ImportedTeacher, problems: Artefact, rule: Rule, progress: StageProgress) -> Quarantine:
    """Write the traces of `teacher` as parts of `pool`; return the rows set aside.

    Raises:
        TeacherError: no trace fits a problem.
        MixrayError: the file cannot be read.
    """
    positions = _positions(problems, by_id=teacher.columns.problem_id is not None)
    set_aside, there, now = Quarantine(), Tally(), time.time()
    with tempfile.TemporaryDirectory(prefix="mixray-import-") as folder:
        matched = _matched(teacher, positions, set_aside, progress)
        buckets = _in_buckets(matched, int(problems.outcome["num_problems"]), Path(folder))
        for traces in _with_problems(buckets, problems):
            rows = [_trace(name, teacher, *pair) for pair in traces]
            rule.judge(rows)
            write_part(pool.store, pool.work_path, rows, Stamp(ENGINE, ENGINE, now, now, now), pool.fence)
            there.add(Tally.of(rows))
            progress.update(there.problems, len(positions), right=f"{there.right / there.traces:.0%}")
    if not there.traces:
        raise TeacherError(
            "No trace fits a problem",
            seen=f"{teacher.traces}: {set_aside.summary() or 'it has no rows'}",
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


def _matched(
    teacher: ImportedTeacher, positions: dict[int, int], set_aside: Quarantine, progress: StageProgress
) -> Iterator[dict[str, Any]]:
    """Yield rows that fit a problem; the others go to `set_aside`."""
    for number, row in enumerate(raw_rows(teacher.traces, teacher.split)):
        if number % ROWS_AT_ONCE == 0:
            progress.update(number, None, state="reading")
        try:
            yield {"row": number} | _read(row, teacher, positions)
        except BadRow as bad:
            set_aside.put(SetAside(number, bad.reason, bad.detail, excerpt(row)))


def _read(row: Any, teacher: ImportedTeacher, positions: dict[int, int]) -> dict[str, Any]:
    if isinstance(row, Unreadable):
        raise BadRow(row.reason, row.detail)
    columns = teacher.columns
    named = str(_present(row, columns.problem_id or columns.question))
    position = positions.get(_key(named))
    if position is None:
        raise BadRow("unknown_problem", f"no problem has the {'id' if columns.problem_id else 'question'} {ascii(named)[:200]}")
    response = _response(_present(row, columns.response), columns.response, teacher.response_after)
    return {
        "position": position,
        "response": form.with_thinking(form.storable(response), teacher.think_tags, False, teacher.thinking == "keep"),
        "finish_reason": _finish_reason(_present(row, columns.finish_reason, null=True)) if columns.finish_reason else None,
        "num_response_tokens": _count(_present(row, columns.num_response_tokens, null=True)) if columns.num_response_tokens else None,
    }


def _present(row: Any, path: str, null: bool = False) -> Any:
    try:
        value = value_at(row, path)
    except NoSuchField as error:
        raise BadRow("missing_column", str(error)) from None
    if value is None and not null:
        raise BadRow("missing_column", f"`{path}` is null")
    return value


def _response(value: Any, path: str, after: str | None) -> str:
    if not isinstance(value, str):
        raise BadRow("no_response", f"`{path}` is no text but {type(value).__name__}")
    if after is None:
        return value
    _, found, response = value.rpartition(after)
    if not found:
        raise BadRow("no_response", f"`{path}` does not hold {after!r}")
    return response


def _finish_reason(value: Any) -> str | None:
    """Return stop, length, or None where nobody knows; anything else as it is, which is a failure."""
    reason = "" if value is None else str(value).strip()
    return form.FINISH_REASONS.get(reason, reason) or None


def _count(value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        count = int(value)
    except (ValueError, TypeError, OverflowError):
        count = -1
    if not 0 <= count <= MOST_TOKENS:
        raise BadRow("bad_count", f"{ascii(value)[:80]} is no number of tokens")
    return count


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
    """Yield (problem, row, sample) for a thousand traces or so at a time, in the order of the problems and, within one, of the file."""
    rows = (row for path in buckets for row in pq.read_table(path).sort_by([("position", "ascending"), ("row", "ascending")]).to_pylist())
    grouped = itertools.groupby(rows, key=lambda row: row["position"])
    numbered = enumerate(problem for table in problems.tables() for problem in table.to_pylist())
    chunk: list[tuple[dict[str, Any], dict[str, Any], int]] = []
    for position, traces in grouped:
        problem = next(problem for place, problem in numbered if place == position)
        chunk += [(problem, row, sample) for sample, row in enumerate(traces)]
        if len(chunk) >= TRACES_PER_PART:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _trace(name: str, teacher: ImportedTeacher, problem: dict[str, Any], row: dict[str, Any], sample: int) -> dict[str, Any]:
    response, ended = row["response"], row["finish_reason"]
    failed = ended not in ("stop", "length", None)
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
        "finish_reason": "error" if failed else ended,
        "num_response_tokens": row["num_response_tokens"],
        "status": "error" if failed else form.status(response, ended),
        "error": f"it was ended: {ascii(ended)[:80]}" if failed else None,
        "repetition": form.repetition(response),
        "engine": ENGINE,
    }
