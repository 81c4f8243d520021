"""Reading a problem set: rows in, problems and a quarantine out, a part at a time.

What survives a kill: nothing but the finished artefact; reading is quick, so an unfinished one is begun anew. Memory holds a part, a batch
under check and eight bytes for each id, whatever the source's size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mixray.errors import ProblemError
from mixray.files import content_checksum, excerpt, raw_rows
from mixray.functions import UserFunction
from mixray.judged import CHECKED_BY
from mixray.problems.checks import Verify, sift
from mixray.problems.drafts import Draft
from mixray.problems.formats import draft
from mixray.progress import StageProgress
from mixray.quarantine import BadRow, Quarantine, SetAside
from mixray.recipe import ProblemSet
from mixray.rows import PROBLEM, keyed_draw
from mixray.staging import Staging
from mixray.store import Artefact, Store
from mixray.tiny.problems import rows as tiny_rows

PART_ROWS = 10_000
CHECKED_AT_ONCE = 1000


def handle(store: Store, name: str, source: ProblemSet) -> Artefact:
    """Return the artefact of a problem set, done or not.

    Raises:
        SourceError: the source is not there.
        RecipeError: nor is its verifier.
    """
    settings = source.model_dump(mode="json", exclude={"unboxed", "verifier"})
    if source.verifier is not None:
        settings[CHECKED_BY] = UserFunction.named(source.verifier).identity()
    content = None if source.source == "tiny" else content_checksum(source.source)
    return store.artefact("problems", name, settings if content is None else settings | {"content": content})


def run(store: Store, name: str, source: ProblemSet, verify: Verify, progress: StageProgress, own: Verify | None = None) -> Artefact:
    """Read a problem set, or find it read.

    The outcome holds `num_problems`, `num_set_aside` and `set_aside` ({reason: rows}); the rows themselves, each with its reason, are in
    `quarantine.jsonl`, which is there where any row was set aside.

    Args:
        store: where the artefact lies.
        name: its name.
        source: what to read.
        verify: checks that each gold is right against itself and not wrong by the row's own solution.
        progress: told of every batch.
        own: the user's own verifier, whose word counts over `verify`'s.

    Raises:
        SourceError: the source cannot be read.
        ProblemError: every row of it is bad, or there is none.
        VerifyError: the verifier itself fails.
    """
    artefact = handle(store, name, source)
    with artefact.lock():
        if not artefact.is_done():
            with artefact.staging() as staging:
                staging.outcome = _write(staging, read(source, verify, own), source, progress)
    return artefact


def read(source: ProblemSet, verify: Verify, own: Verify | None = None) -> Iterator[dict[str, Any] | SetAside]:
    """Yield each row of a source, in order, as a row of rows.PROBLEM or set aside, until there are `num_problems` good ones.

    Raises:
        SourceError: the source cannot be read.
        VerifyError: the verifier itself fails.
    """
    seen: set[int] = set()
    rows = enumerate(_rows(source))
    while batch := list(itertools.islice(rows, CHECKED_AT_ONCE)):
        drafts = [_draft(number, row, source) for number, row in batch]
        contents = [one.content for one in drafts]
        for (number, _), content, one in zip(batch, contents, sift(drafts, verify, source.format == "gsm8k", own), strict=True):
            if isinstance(one, SetAside):
                yield one
                continue
            key = keyed_draw(one["problem_id"])
            if key in seen:
                yield SetAside(number, "duplicate_id", f"an earlier problem has the id {one['problem_id']!r}", content)
                continue
            seen.add(key)
            yield one
            if len(seen) == source.num_problems:
                return


def _rows(source: ProblemSet) -> Iterator[Any]:
    if source.source == "tiny":
        return tiny_rows(source.split, source.num_problems or 0, source.difficulty, source.seed)
    return raw_rows(source.source, source.split)


def _draft(number: int, row: Any, source: ProblemSet) -> Draft | SetAside:
    try:
        return draft(number, row, source)
    except BadRow as bad:
        return SetAside(number, bad.reason, bad.detail, excerpt(row))


def _write(staging: Staging, rows: Iterator[dict[str, Any] | SetAside], source: ProblemSet, progress: StageProgress) -> dict[str, Any]:
    """Write parts and quarantine; return the outcome."""
    num_problems, quarantine = 0, Quarantine()
    part: list[dict[str, Any]] = []
    for one in rows:
        if isinstance(one, SetAside):
            quarantine.put(one)
            continue
        part.append(one)
        num_problems += 1
        if num_problems % PART_ROWS == 0:
            _write_part(staging, num_problems // PART_ROWS - 1, part)
            part = []
        if num_problems % CHECKED_AT_ONCE == 0:
            progress.update(num_problems, source.num_problems)
    if not num_problems:
        raise _nothing_usable(source, quarantine)
    if part:
        _write_part(staging, num_problems // PART_ROWS, part)
    quarantine.write_into(staging.folder)
    progress.update(num_problems, num_problems)
    return {"num_problems": num_problems} | quarantine.outcome()


def _write_part(staging: Staging, number: int, part: list[dict[str, Any]]) -> None:
    staging.write_table(f"part-{number:05d}.parquet", pa.Table.from_pylist(part, schema=PROBLEM))


def _nothing_usable(source: ProblemSet, quarantine: Quarantine) -> ProblemError:
    if not quarantine.reasons:
        return ProblemError("A problem set is empty", seen=source.source, rule="at least one row", do="check the source and its split")
    return ProblemError(
        "A problem set holds no usable problem",
        seen=f"{source.source}: {quarantine.summary()}",
        rule=f"rows as the format {source.format} has them",
        do="check problems.format, question_field and answer_field",
    )
