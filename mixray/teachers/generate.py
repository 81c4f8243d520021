"""The stage that makes a pool: every problem asked of one teacher, every answer judged, in one stream.

In: problems. Out: a `pools` artefact, one TRACE row for each request, whatever became of it. The request table lies on disk and each block
of rows is written as soon as it is judged, under Ray Data's row checkpoints, so a kill at any moment costs the blocks in flight: the next
run asks what is not yet written, under the same ids and seeds, and nothing else.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixray.errors import MixrayError, TeacherError
from mixray.models import fingerprint
from mixray.progress import StageProgress
from mixray.recipe import Teacher
from mixray.rows import TRACE, request_rows
from mixray.store import Artefact, Store
from mixray.teachers.actor import TeacherActor
from mixray.teachers.attempts import Attempts
from mixray.teachers.engine import Engine, VllmEngine, places
from mixray.teachers.parts import Parts, watched

KIND = "pools"
ROWS_PER_FILE = 100_000
# Settings of the machine, not of the text: another number of them finds the same pool.
_NOT_HASHED = {"replicas", "threads", "block_rows", "num_gpus", "max_restarts", "max_error_share"}
# A start can fail for what passes, a busy device or a lost node; more than twice in a row is no accident.
_START_DEATHS = 2
_TASKS_AT_ONCE = 2


def handle(store: Store, name: str, teacher: Teacher, problems: Artefact, seed: int, unboxed: bool) -> Artefact:
    """Return the handle of a teacher's pool, made or not."""
    settings = teacher.model_dump(mode="json", exclude=_NOT_HASHED | {"model"})
    settings |= {"teacher": name, "model": fingerprint(teacher.model), "seed": seed, "unboxed": unboxed}
    return store.artefact(KIND, name, settings, {"problems": problems})


def run(
    store: Store,
    name: str,
    teacher: Teacher,
    problems: Artefact,
    seed: int,
    judge: type,
    unboxed: bool,
    progress: StageProgress,
    engine: type[Engine] = VllmEngine,
) -> Artefact:
    """Ask `teacher` every problem and return its pool; a pool that is there already is returned at once.

    Args:
        store: where artefacts lie.
        name: the teacher's name in the recipe.
        teacher: what to ask, and how.
        problems: an artefact of PROBLEM rows.
        seed: of the sampling; each request derives its own.
        judge: a class whose instances fill in verdicts, `judge(unboxed=...)(pa.Table) -> pa.Table`.
        unboxed: whether a number without a box is an answer.
        progress: the stage's line.
        engine: what answers.

    Raises:
        TeacherError: the teacher does not load or run, too many requests failed, or rows are missing at the end.
    """
    pool = handle(store, name, teacher, problems, seed, unboxed)
    if pool.is_done():
        return pool
    with pool.lock():
        if not pool.is_done():
            requests = request_rows(problems.read_table(), name, teacher.num_samples, seed)
            _make(pool, teacher, requests, judge, unboxed, progress, engine)
    return pool


def _make(
    pool: Artefact, teacher: Teacher, requests: pa.Table, judge: type, unboxed: bool, progress: StageProgress, engine: type[Engine]
) -> None:
    parts = Parts(pool.store, f"{pool.work_path}/parts")
    parts.refresh()
    there = parts.rows()
    started = time.monotonic()
    if set(requests["trace_id"].to_pylist()) - set(there["trace_id"].to_pylist()):
        _write_requests(pool, requests)
        attempts = Attempts(pool.store, f"{pool.work_path}/starts", teacher.max_restarts + teacher.replicas[-1])
        attempts.clear()
        with watched(parts, requests.num_rows, progress, attempts), _told_as_teacher_errors(teacher, attempts):
            _stream(pool, teacher, judge, unboxed, engine, attempts)
        parts.refresh()
    rows = _in_order(requests, parts.rows(), pool)
    outcome = _outcome(rows, there.num_rows, time.monotonic() - started)
    _refuse_failures(pool, teacher, rows, outcome)
    with pool.staging() as staging:
        for index, start in enumerate(range(0, rows.num_rows, ROWS_PER_FILE)):
            staging.write_table(f"part-{index:05d}.parquet", rows.slice(start, ROWS_PER_FILE))
        staging.outcome = outcome


def _write_requests(pool: Artefact, requests: pa.Table) -> None:
    pool.store.fs.makedirs(pool.work_path, exist_ok=True)
    pq.write_table(requests, f"{pool.work_path}/requests.parquet", filesystem=pool.store.arrow_fs)


def _stream(pool: Artefact, teacher: Teacher, judge: type, unboxed: bool, engine: type[Engine], attempts: Attempts) -> None:
    """Read, ask, judge, write: one block after another through the actors, many at a time."""
    import ray
    from ray.data import ActorPoolStrategy

    # Blocks end with their slowest row: with twice as many rows at hand as there are places, those that are done leave none empty.
    calls = math.ceil(2 * places(teacher) / teacher.block_rows) + 1
    filesystem = pool.store.arrow_fs
    with _data_context(pool, teacher):
        (
            ray.data.read_parquet(f"{pool.work_path}/requests.parquet", filesystem=filesystem)
            .repartition(target_num_rows_per_block=teacher.block_rows)
            .map_batches(
                TeacherActor,
                batch_size=None,
                batch_format="pyarrow",
                fn_constructor_args=(teacher, engine, attempts),
                compute=ActorPoolStrategy(
                    min_size=teacher.replicas[0],
                    max_size=teacher.replicas[-1],
                    max_concurrent_calls_per_actor=calls,
                    max_tasks_in_flight_per_actor=calls,
                    enable_true_multi_threading=True,
                ),
                num_cpus=1,
                num_gpus=teacher.num_gpus,
            )
            .map_batches(
                judge,
                batch_size=None,
                batch_format="pyarrow",
                fn_constructor_kwargs={"unboxed": unboxed},
                compute=ActorPoolStrategy(min_size=1, max_size=teacher.replicas[-1]),
                num_cpus=0,  # idle but for the few answers that need algebra
            )
            .write_parquet(f"{pool.work_path}/parts", filesystem=filesystem)
        )


@contextlib.contextmanager
def _data_context(pool: Artefact, teacher: Teacher) -> Iterator[None]:
    """Set Ray Data up for long answers and row checkpoints, for this execution alone."""
    from ray.data import DataContext, ExecutionResources
    from ray.data.checkpoint import CheckpointConfig

    context = DataContext.get_current().copy()
    checkpoints = CheckpointConfig(
        "trace_id", f"{pool.work_path}/checkpoints", override_filesystem=pool.store.arrow_fs, delete_checkpoint_on_success=False
    )
    checkpoints.checkpoint_actor_pool_max_size = 1  # ten would take every CPU of a small machine
    context.checkpoint_config = checkpoints
    context.execution_no_progress_timeout_s = -1
    context.max_consecutive_actor_init_deaths = _START_DEATHS
    # Each further process spends seconds on imports that the engine waits for; reading and writing take next to nothing.
    context.execution_options.resource_limits = ExecutionResources(cpu=teacher.replicas[-1] + _TASKS_AT_ONCE)
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with DataContext.current(context):
        yield


@contextlib.contextmanager
def _told_as_teacher_errors(teacher: Teacher, attempts: Attempts) -> Iterator[None]:
    """Turn what Ray raises into what the user can act on; mixray's own errors, raised in actors, come through as they are."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        own = _own_error(error)
        if own is not None:
            raise own from error
        last_line = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        raise TeacherError(
            "A teacher's engine failed",
            seen=attempts.last_words() or last_line,
            rule=f"model {teacher.model}",
            do="check the model, its engine settings and the memory, then run again: finished rows are kept",
        ) from error


def _own_error(error: BaseException) -> MixrayError | None:
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MixrayError):
            return link
        link = getattr(link, "cause", None) or link.__cause__
    return None


def _in_order(requests: pa.Table, rows: pa.Table, pool: Artefact) -> pa.Table:
    """Return the rows in the order of the requests, each once."""
    place = {trace_id: index for index, trace_id in enumerate(rows["trace_id"].to_pylist())}
    asked = requests["trace_id"].to_pylist()
    missing, strangers = [item for item in asked if item not in place], place.keys() - set(asked)
    if missing or strangers:
        raise TeacherError(
            "A pool is not what was asked for",
            seen=f"{len(missing)} rows missing, {len(strangers)} unknown, such as {(missing or sorted(strangers))[0]}",
            rule="one row for each request",
            do=f"remove {pool.work_path} and run again",
        )
    return rows.take([place[item] for item in asked]).cast(TRACE)


def _outcome(rows: pa.Table, num_resumed: int, seconds: float) -> dict[str, Any]:
    verdicts, statuses = (Counter(rows[name].to_pylist()) for name in ("verdict", "status"))
    response_tokens = rows["num_response_tokens"].to_pylist()
    return {
        "num_traces": rows.num_rows,
        "num_resumed": num_resumed,
        **{name: verdicts[name] for name in ("right", "wrong", "unknown")},
        "truncated": statuses["truncated"],
        "empty": statuses["empty"],
        "errors": statuses["error"],
        "prompt_tokens": sum(rows["num_prompt_tokens"].to_pylist()),
        "response_tokens": sum(response_tokens),
        "mean_response_tokens": sum(response_tokens) / max(rows.num_rows, 1),
        "seconds": seconds,
        "tokens_per_second": sum(response_tokens) / seconds if seconds > 0 else 0.0,
    }


def _refuse_failures(pool: Artefact, teacher: Teacher, rows: pa.Table, outcome: dict[str, Any]) -> None:
    if outcome["errors"] <= teacher.max_error_share * rows.num_rows:
        return
    sample = next(error for error, status in zip(rows["error"].to_pylist(), rows["status"].to_pylist(), strict=True) if status == "error")
    pool.clear_work()  # or the next run would find the failures done
    raise TeacherError(
        "Too many of a teacher's answers failed",
        seen=f"{outcome['errors']} of {rows.num_rows}, such as: {sample}",
        rule=f"at most {teacher.max_error_share:.0%} (max_error_share)",
        do="mend the cause, or raise max_error_share",
    )
