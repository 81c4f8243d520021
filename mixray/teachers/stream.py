"""The stream of a pool: the problems still to be asked, in small blocks, through a pool of actors, as fast as they answer.

In: which problems are missing. Out: a `Tally` for each block as soon as its part is written. Ray Data scales the actors, holds the input
back while they are busy and repeats what an actor or a node took with it; rows never travel through it, only problems and counts.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mixray.errors import TeacherError
from mixray.placement import remote_options
from mixray.ray_data import data_context, map_blocks, own_error
from mixray.recipe import Asked, RemoteTeacher, Teacher
from mixray.rows import REQUEST
from mixray.store import Artefact
from mixray.teachers.actor import TeacherActor
from mixray.teachers.attempts import Attempts
from mixray.teachers.engine import places
from mixray.teachers.parts import file_of
from mixray.teachers.tally import Tally
from mixray.teachers.work import Work

_CPUS_BESIDE_ACTORS = 2
_ROWS_AT_HAND = 4
# What Ray Data writes after the text of an error.
_RAY_DATA_HINTS = ("Failed to ", "To change retry attempts")
# One file is one read task: small enough that none holds the stream up, large enough that there are few.
_REQUESTS_PER_FILE = 4096


def write_requests(problems: Artefact, missing: npt.NDArray[np.int64], folder: str) -> int:
    """Write the request table of the missing problems into a new folder; return the number of files.

    A few thousand problems are in memory at a time.
    """
    store = problems.store
    store.fs.makedirs(folder, exist_ok=True)
    wanted = iter(_chosen(problems, missing))
    number = 0
    while rows := list(itertools.islice(wanted, _REQUESTS_PER_FILE)):
        store.put(f"{folder}/part-{number:05d}.parquet", file_of(pa.Table.from_pylist(rows, schema=REQUEST)))
        number += 1
    return number


def _chosen(problems: Artefact, missing: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    start = 0
    for table in problems.tables():
        end = start + table.num_rows
        inside = missing[(missing >= start) & (missing < end)]
        for position, row in zip(inside.tolist(), table.take(pa.array(inside - start)).to_pylist(), strict=True):
            yield {
                "position": position,
                "problem_id": row["problem_id"],
                "question": row["question"],
                "gold": row["answer"],
                "subject": row["subject"],
                "level": row["level"],
            }
        start = end


def stream(work: Work, requests: str, num_requests: int) -> Generator[Tally, None, None]:
    """Ask what the folder `requests` holds; yield the counts of each block once its part is written.

    Raises:
        TeacherError: the source does not start, or does not keep running.
        MixrayError: what an actor raised on purpose.
    """
    import ray
    from ray.data import ActorPoolStrategy

    teacher = work.teacher
    at_once = teacher.until.right if teacher.until else teacher.num_samples
    rows = max(1, min(teacher.block_rows, num_requests) // at_once)
    # Blocks end with their slowest answer, and lengths have long tails: a block spends most of its time with few answers left. With four
    # times as many answers at hand as the engine has places it kept up with an engine given all at once; with twice as many it lost 5 %.
    calls = math.ceil(_ROWS_AT_HAND * _places(teacher) / (rows * at_once)) + 1
    replicas = teacher.replicas if isinstance(teacher, Teacher) else (1, 1)
    with _data_context(replicas[-1]), _told_as_teacher_errors(work.name, work.attempts):
        asked = ray.data.read_parquet(requests, filesystem=work.store.arrow_fs).repartition(target_num_rows_per_block=rows)
        pool = ActorPoolStrategy(
            min_size=replicas[0],
            max_size=replicas[-1],
            max_concurrent_calls_per_actor=calls,
            max_tasks_in_flight_per_actor=calls + 1,
            enable_true_multi_threading=True,
        )
        answered = map_blocks(asked, TeacherActor, (work,), pool, **resources(teacher), **remote_options(teacher))
        for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield Tally.read(table)


def resources(teacher: Asked) -> dict[str, float]:
    """Return what one actor of a teacher reserves."""
    return {"num_cpus": 1, "num_gpus": teacher.num_gpus if isinstance(teacher, Teacher) else 0}


def _places(teacher: Asked) -> int:
    if isinstance(teacher, RemoteTeacher):
        return teacher.concurrency
    return places(teacher) if isinstance(teacher, Teacher) else 1


@contextlib.contextmanager
def _data_context(most_actors: int) -> Iterator[None]:
    """Set Ray Data up for long answers, for this execution alone."""
    from ray.data import DataContext
    from ray.data.context import AutoscalingConfig

    context = data_context(most_actors + _CPUS_BESIDE_ACTORS)
    # As soon as every place is taken; Ray Data's own threshold lies above what actors with this many calls at once ever reach.
    context.autoscaling_config = AutoscalingConfig(actor_pool_util_upscaling_threshold=1.0)
    context.max_consecutive_actor_init_deaths = 0  # an actor tries again itself, and Ray counts first starts alone
    with DataContext.current(context):
        yield


@contextlib.contextmanager
def _told_as_teacher_errors(name: str, attempts: Attempts) -> Iterator[None]:
    """Turn what Ray raises into what the user can act on; mixray's own errors, raised in actors, come through as they are."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayError as error:
        own = own_error(error)
        if own is not None:
            raise own from error
        last_line = [line for line in str(error).splitlines() if line.strip() and not line.startswith(_RAY_DATA_HINTS)][-1].strip()
        raise TeacherError(
            "A teacher's engine failed",
            seen=last_line if isinstance(error, RayTaskError) else attempts.last_words() or last_line,
            rule=f"teacher {name}",
            do="check the model, its engine settings and the memory, then run again: finished blocks are kept",
        ) from error
