"""A pool as one student counts it: every accepted trace with its length in tokens and what mixing asks of it.

In: an artefact of kind `pools` (rows.TRACE), a tokenizer, how its traces are taught. Out: an artefact of kind `candidates`
(CANDIDATE), made once for all mixtures: a further alpha counts no token and reads no text but that of its own rows. What survives a
kill: nothing unfinished. Where there is a Ray cluster, row groups are counted on it, in order.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixray import chat, models
from mixray.mixing.likeness import likeness
from mixray.mixing.views import Lesson
from mixray.progress import StageProgress
from mixray.rows import accepted, keyed_draw
from mixray.store import Artefact, Store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CANDIDATE = pa.schema(
    [
        ("row", pa.int64()),  # where the trace lies in its pool
        ("problem_id", pa.string()),
        ("problem_key", pa.uint64()),
        ("question_key", pa.uint64()),
        ("trace_key", pa.uint64()),
        ("likeness", pa.uint64()),  # of what is taught, so that repeated answers are seen
        ("sample", pa.int32()),
        ("subject", pa.string()),
        ("level", pa.int32()),
        ("num_characters", pa.int32()),  # of what is taught, blanks around it apart
        ("num_tokens", pa.int32()),
        ("num_loss_tokens", pa.int32()),
        ("repetition", pa.float64()),
        ("foreign", pa.float64()),  # 0 to 1: letters of scripts that the question has not
        ("pass_rate", pa.float64()),  # of the problem: the share of its samples in this pool that are accepted
    ]
)
_COLUMNS = ["trace_id", "problem_id", "sample", "question", "response", "subject", "level", "verdict", "status", "repetition"]
_ROWS_AT_ONCE = 1000
RULE = 1
"""Goes up when a pool would be counted otherwise."""


def handle(store: Store, pool: Artefact, lesson: Lesson, tokenizer_source: str) -> Artefact:
    """Return the handle of a pool's candidates for students with this tokenizer, done or not."""
    settings = {"rule": RULE, "lesson": lesson.settings(), "tokenizer": models.tokenizer_fingerprint(tokenizer_source)}
    return store.artefact("candidates", pool.name, settings, {"pool": pool})


def run(store: Store, pool: Artefact, lesson: Lesson, tokenizer_source: str, progress: StageProgress) -> Artefact:
    """Count one pool, or find it counted."""
    artefact = handle(store, pool, lesson, tokenizer_source)
    with artefact.lock():
        if artefact.is_done():
            return artefact
        pool.verify()
        source = models.resolve(tokenizer_source)
        tables = []
        for number, table in enumerate(_counted(pool, lesson, source)):
            tables.append(table)
            progress.update(number + 1)
        found = _with_pass_rates(pa.concat_tables(tables), pool)
        with artefact.staging() as staging:
            staging.write_table("candidates.parquet", found)
            staging.outcome = {"num_candidates": found.num_rows, "num_tokens": pc.sum(found["num_tokens"]).as_py() or 0}
    return artefact


def _counted(pool: Artefact, lesson: Lesson, source: str) -> Iterator[pa.Table]:
    import ray

    groups = pool.row_groups()
    if not ray.is_initialized():
        tokenizer = chat.load_tokenizer(source)
        yield from (count(pool.read_row_group(path, group, _COLUMNS), start, lesson, tokenizer) for path, group, start in groups)
        return
    task = ray.remote(num_cpus=1)(_count_group)
    waiting = [task.remote(pool, path, group, start, lesson, source) for path, group, start in groups]
    while waiting:
        yield ray.get(waiting.pop(0))


def _count_group(pool: Artefact, path: str, group: int, start: int, lesson: Lesson, source: str) -> pa.Table:
    return count(pool.read_row_group(path, group, _COLUMNS), start, lesson, chat.load_tokenizer(source))


def count(traces: pa.Table, start: int, lesson: Lesson, tokenizer: PreTrainedTokenizerBase) -> pa.Table:
    """Return the accepted of some traces, of which the first is the pool's row `start`, as CANDIDATE rows but for the pass rates."""
    tables = [CANDIDATE.empty_table()]
    for first in range(0, traces.num_rows, _ROWS_AT_ONCE):
        rows = enumerate(traces.slice(first, _ROWS_AT_ONCE).to_pylist(), start + first)
        found = [_candidate(trace, row, lesson, tokenizer) for row, trace in rows if accepted(trace)]
        tables.append(pa.Table.from_pylist(found, schema=CANDIDATE))
    return pa.concat_tables(tables)


def _candidate(trace: dict[str, Any], row: int, lesson: Lesson, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    messages = lesson.messages(trace["question"], trace["response"])
    taught = messages[-1]["content"]
    encoded = chat.encode(tokenizer, messages)
    return {
        "row": row,
        "problem_id": trace["problem_id"],
        "problem_key": keyed_draw(trace["problem_id"]),
        "question_key": keyed_draw(trace["question"]),
        "trace_key": keyed_draw(trace["trace_id"]),
        "likeness": likeness(taught),
        "sample": trace["sample"],
        "subject": trace["subject"],
        "level": trace["level"],
        "num_characters": len(taught.strip()),
        "num_tokens": len(encoded.ids),
        "num_loss_tokens": encoded.num_loss_tokens,
        "repetition": trace["repetition"] or 0.0,
        "foreign": foreign(trace["question"], taught),
    }


def foreign(question: str, text: str) -> float:
    """Return the share of a text's letters that are of scripts the question has none of; Latin and Greek are at home in any.

    Teachers slip into another language in the middle of long thoughts; such a trace teaches a student to do the same.
    """
    if text.isascii():
        return 0.0
    home = {_script(letter) for letter in question} | {"LATIN", "GREEK", "MATHEMATICAL"}
    letters = [letter for letter in text if letter.isalpha()]
    return sum(_script(letter) not in home for letter in letters if not letter.isascii()) / len(letters) if letters else 0.0


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNNAMED").split()[0].split("-")[0]


def _with_pass_rates(found: pa.Table, pool: Artefact) -> pa.Table:
    """Fill `pass_rate` in, from all traces of the pool, accepted or not."""
    asked = pa.concat_tables(list(pool.tables(["problem_id"])))["problem_id"].combine_chunks().value_counts()
    samples = dict(zip(asked.field("values").to_pylist(), asked.field("counts").to_pylist(), strict=True))
    right = found["problem_id"].combine_chunks().value_counts()
    rates = {item["values"]: item["counts"] / samples[item["values"]] for item in right.to_pylist()}
    column = pa.array(np.fromiter((rates[item] for item in found["problem_id"].to_pylist()), np.float64, found.num_rows))
    return found.set_column(found.schema.get_field_index("pass_rate"), "pass_rate", column)
