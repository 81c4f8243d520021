"""Sources of problems: the tiny world, files and hub data sets, read into one schema.

In: a `ProblemSet` of the recipe. Out: an artefact of kind `problems` with the good rows and, beside
them, every row that was set aside and why.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from mixray.errors import ProblemError
from mixray.progress import StageProgress
from mixray.recipe import ProblemSet
from mixray.rows import PROBLEM, digest
from mixray.store import Artefact, Store
from mixray.tiny.problems import problems as tiny_problems

LONGEST_CHARACTERS = 100_000


def handle(store: Store, name: str, source: ProblemSet) -> Artefact:
    """Return the artefact of a problem set, done or not."""
    settings = source.model_dump(mode="json", exclude={"unboxed"})
    if source.source != "tiny" and not source.source.startswith("hf:"):
        settings["content"] = _checksum(source.source)
    return store.artefact("problems", name, settings)


def run(store: Store, name: str, source: ProblemSet, progress: StageProgress) -> Artefact:
    """Read a problem set, or find it read.

    Raises:
        ProblemError: the source cannot be read, or every row of it is bad.
    """
    artefact = handle(store, name, source)
    with artefact.lock():
        if artefact.is_done():
            return artefact
        good, bad = read(source)
        with artefact.staging() as staging:
            staging.write_table("part-00000.parquet", good)
            if bad:
                staging.write_json("quarantine.json", bad)
            staging.outcome = {"num_problems": good.num_rows, "num_set_aside": len(bad)}
        progress.update(good.num_rows, good.num_rows)
    return artefact


def read(source: ProblemSet) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the PROBLEM rows of a source, and the rows set aside as {row, reason, content}."""
    if source.source == "tiny":
        return tiny_problems(source.split, source.num_problems or 0, source.difficulty, source.seed), []
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, row in enumerate(_rows(source)):
        if source.num_problems is not None and len(good) == source.num_problems:
            break
        try:
            problem = _problem(row, source)
            if problem["problem_id"] in seen:
                raise ValueError(f"the id {problem['problem_id']!r} occurs twice")
        except ValueError as reason:
            bad.append({"row": number, "reason": str(reason), "content": ascii(row)[:2000]})
            continue
        seen.add(problem["problem_id"])
        good.append(problem)
    if not good:
        raise ProblemError(
            "A problem set holds no usable problem",
            seen=f"{source.source}: {bad[0]['reason'] if bad else 'no rows'}",
            rule=f"rows with `{source.question_field}` and `{source.answer_field}`",
            do="check question_field and answer_field",
        )
    return pa.Table.from_pylist(good, schema=PROBLEM), bad


def _problem(row: Any, source: ProblemSet) -> dict[str, Any]:
    """Return one PROBLEM row; a ValueError tells why it is set aside."""
    if not isinstance(row, dict):
        raise ValueError("the row is not a mapping")
    question, answer = (_text(row, name) for name in (source.question_field, source.answer_field))
    level = row.get("level")
    return {
        "problem_id": str(row.get("problem_id") or row.get("id") or f"p-{digest(question, 12)}"),
        "question": question,
        "answer": answer,
        "subject": str(row.get("subject") or row.get("type") or ""),
        "level": level if isinstance(level, int) else int("".join(filter(str.isdigit, str(level or ""))) or 0),
    }


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise ValueError(f"`{name}` is missing")
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if not text.strip() or text == "nan":
        raise ValueError(f"`{name}` is empty")
    if len(text) > LONGEST_CHARACTERS:
        raise ValueError(f"`{name}` has {len(text)} characters, at most {LONGEST_CHARACTERS}")
    if "\0" in text:
        raise ValueError(f"`{name}` holds a NUL byte")
    text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return text


def _rows(source: ProblemSet) -> Iterator[Any]:
    if source.source.startswith("hf:"):
        import datasets

        try:
            yield from datasets.load_dataset(source.source.removeprefix("hf:"), split=source.split)
        except (OSError, ValueError, ConnectionError) as error:
            raise ProblemError("A hub data set cannot be loaded", seen=source.source, rule=str(error).splitlines()[0]) from error
        return
    try:
        with fsspec.open(source.source, "rb") as file:
            yield from _parsed(source.source, file.read())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ProblemError("A problem file cannot be read", seen=source.source, rule=str(error), do="check problems.source") from error


def _parsed(name: str, content: bytes) -> Iterable[Any]:
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(content)).to_pylist()
    text = content.decode("utf-8", errors="surrogateescape")
    if name.endswith(".csv"):
        return csv.DictReader(io.StringIO(text))
    if name.endswith((".jsonl", ".json")):
        return (_json(line) for line in text.split("\n") if line.strip())
    raise ProblemError("A problem file is of an unknown kind", seen=name, rule=".jsonl, .csv or .parquet")


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def _checksum(source: str) -> str:
    try:
        fs, path = fsspec.url_to_fs(source)
        if "file" in fs.protocol:
            import hashlib

            with fs.open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        return str(fs.checksum(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ProblemError("A problem file cannot be read", seen=source, rule=str(error), do="check the recipe's `source`") from error
