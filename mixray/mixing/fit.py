"""The stage that measures: how well each accepted trace of a pool fits a student, beside the pool and reused by every mixture.

In: an artefact of kind `pools` (rows.TRACE) and a student. Out: an artefact of kind `fits` (FIT), one row per accepted trace, in the
pool's order. `actor.py` has the formulas. What survives a kill: nothing unfinished; the next run measures the pool from its start.

A trace longer than `max_tokens` is not measured: its measures are null, and it is counted. Mixtures drop it by its length anyway. Where
they cut it (`train.too_long`), what is left of it is measured.

The same pool and student give the same file on the same kind of machine, whatever else it does and however many actors it has room for:
a trace's block, and so the batch it is measured in, follows from the pool alone. Another kind (GPU for CPU) rounds differently: the last
digits may differ, and where two of a token's logits all but tie, its rank by one. The artefact's hash names none of it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mixray import models, rows
from mixray.errors import MixtureError
from mixray.mixing.actor import CLIP, Fit, FitActor
from mixray.placement import remote_options, resources_of_nodes
from mixray.progress import StageProgress
from mixray.ray_data import errors_told, in_order, map_blocks, room_for_actors
from mixray.recipe import Train
from mixray.store import Artefact, Store

FIT = pa.schema(
    [
        ("trace_id", pa.string()),
        ("problem_id", pa.string()),
        ("num_loss_tokens", pa.int32()),
        ("perplexity", pa.float64()),  # null where the trace is longer than max_tokens
        ("rank_surprisal", pa.float64()),  # null there, too
    ]
)
BLOCK_ROWS = 64
_ACTOR_ROWS = 256  # for fewer, another actor would not have started in time
COLUMNS = ["trace_id", "question", "response", "verdict", "status"]


@dataclass(frozen=True)
class Reading:
    """Which student reads, how, and on which nodes."""

    source: str
    student_prompt: str
    max_tokens: int
    train: Train
    cuts: bool


def handle(store: Store, pool: Artefact, model: str, student_prompt: str, max_tokens: int, cuts: bool = False) -> Artefact:
    """Return the handle of a pool's fits to a student, done or not; on which machine they are measured does not change it."""
    settings = {"model": models.fingerprint(model), "student_prompt": student_prompt, "clip": CLIP, "max_tokens": max_tokens}
    if cuts:
        settings["too_long"] = "cut"
    return store.artefact("fits", pool.name, settings, {"pool": pool})


def run(
    store: Store, pool: Artefact, model: str, student_prompt: str, max_tokens: int, progress: StageProgress, train: Train | None = None,
    cuts: bool = False,
) -> Artefact:  # fmt: skip
    """Measure a pool's accepted traces, or find them measured. Ray must be up.

    Args:
        store: where artefacts lie.
        pool: the traces.
        model: the student (folder, `tiny:` name or hub id).
        student_prompt: the user turn, with `{question}`.
        max_tokens: longer traces are not measured.
        progress: the stage's line on the terminal.
        train: how it is trained, where that is known: it reads on the same nodes, on GPUs where those have some.
        cuts: of longer traces the first `max_tokens` are measured.

    Raises:
        MixtureError: the student's logits are not finite, or an actor did not keep running.
        MixrayError: the student cannot be loaded, has no chat template, or one that cannot be trained.
    """
    artefact = handle(store, pool, model, student_prompt, max_tokens, cuts)
    with artefact.lock():
        if artefact.is_done():
            return artefact
        started = time.monotonic()
        traces = _accepted(pool)
        reading = Reading(models.resolve(model), student_prompt, max_tokens, train or Train(), cuts)
        measured = _measured(pool, len(traces), reading, progress)
        if measured.keys() != traces.keys():
            raise MixtureError("Some traces were not measured", seen=f"{len(measured)} of {len(traces)}", rule=pool.label)
        table = [_row(problem_id, measured[trace_id]) for trace_id, problem_id in traces.items()]
        with artefact.staging() as staging:
            staging.write_table("fits.parquet", pa.Table.from_pylist(table, schema=FIT))
            staging.outcome = _outcome(table) | {"seconds": round(time.monotonic() - started, 3)}
    return artefact


def _accepted(pool: Artefact) -> dict[str, str]:
    """Return the problem of each accepted trace, in the pool's order."""
    return {
        row["trace_id"]: row["problem_id"]
        for table in pool.tables(["trace_id", "problem_id", "verdict", "status"])
        for row in table.to_pylist()
        if rows.accepted(row)
    }


def _row(problem_id: str, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the FIT row of a MEASURED one."""
    if measured["mean_surprisal"] is None:
        return {"problem_id": problem_id, "perplexity": None, "rank_surprisal": None, **measured}
    fit = Fit(measured["mean_surprisal"], measured["mean_rank"])
    return {"problem_id": problem_id, "perplexity": fit.perplexity, "rank_surprisal": fit.rank_surprisal, **measured}


def _outcome(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what there is to tell; the means are over the measured traces, each counting once.

    `pool_rank_surprisal` is the ratio of a whole data set as the paper has it (appendix A.8): the mean of the traces' mean ranks over the
    mean of their mean surprisals, which no single trace can dominate.
    """
    fits = [row for row in table if row["perplexity"] is not None]
    outcome: dict[str, Any] = {
        "num_traces": len(table),
        "num_measured": len(fits),
        "num_too_long": len(table) - len(fits),
        "tokens": sum(row["num_tokens"] for row in fits),
        "loss_tokens": sum(row["num_loss_tokens"] for row in fits),
    }
    if not fits:
        return outcome
    means = {name: statistics.fmean(row[name] for row in fits) for name in ("perplexity", "rank_surprisal", "mean_surprisal", "mean_rank")}
    pool = Fit(means["mean_surprisal"], means["mean_rank"])
    return outcome | {
        "mean_perplexity": means["perplexity"],
        "mean_rank_surprisal": means["rank_surprisal"],
        "pool_rank_surprisal": pool.rank_surprisal,
    }


def _measured(pool: Artefact, num_traces: int, reading: Reading, progress: StageProgress) -> dict[str, dict[str, Any]]:
    """Return the measures of each accepted trace by its id."""
    measured: dict[str, dict[str, Any]] = {}
    tokens = 0
    for block in _blocks(pool, num_traces, reading) if num_traces else ():
        for row in block.to_pylist():
            measured[row["trace_id"]] = row
            tokens += row["num_tokens"]
        progress.update(len(measured), num_traces, tokens_per_second=progress.rate(tokens))
    return measured


def _blocks(pool: Artefact, num_traces: int, reading: Reading) -> Iterator[pa.Table]:
    """Yield blocks of MEASURED rows in the pool's order."""
    import ray
    from ray.data import ActorPoolStrategy

    paths = sorted(f"{pool.path}/{entry['path']}" for entry in pool.manifest()["files"] if entry["path"].endswith(".parquet"))
    # A cluster that grows may have no node yet.
    on_gpu = reading.train.use_gpu or any(node.get("GPU", 0) >= 1 for node in resources_of_nodes(reading.train))
    actors = min(room_for_actors(reading.source, 1 if on_gpu else 0, placed=reading.train), math.ceil(num_traces / _ACTOR_ROWS))
    with in_order(actors), errors_told(MixtureError, "A pool could not be measured", f"student {reading.source}"):
        # Exact blocks in the pool's order: what is measured side by side must not depend on the cluster. What is not accepted goes
        # along to the actor, which has mixray imported: a filter of its own would import it in every process that reads.
        traces = ray.data.read_parquet(paths, columns=COLUMNS, filesystem=pool.store.arrow_fs)
        measured = map_blocks(
            traces.repartition(target_num_rows_per_block=BLOCK_ROWS, strict=True),
            FitActor,
            (reading.source, reading.student_prompt, reading.max_tokens, on_gpu, reading.cuts),
            ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=1,
            num_gpus=1 if on_gpu else 0,
            **remote_options(reading.train),
        )
        yield from measured.iter_batches(batch_size=None, batch_format="pyarrow")
