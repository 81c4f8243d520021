"""The stage that makes a pool: one teacher's traces over a problem set, judged, whatever kind of teacher it is.

In: problems. Out: a `pools` artefact, one TRACE row for each answer, whatever became of it. Blocks are written as soon as they are
judged, so a kill at any moment costs the blocks in flight: the next run asks the problems that no part holds, under the same ids and
seeds, and nothing else. A pool whose answers are there under another policy is judged again, not asked again.
"""

from __future__ import annotations

import contextlib
import functools
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from mixray import metrics
from mixray.errors import TeacherError
from mixray.files import content_checksum
from mixray.judged import JUDGED_BY, leave_note
from mixray.models import fingerprint, folder_fingerprint
from mixray.progress import StageProgress
from mixray.quarantine import Quarantine
from mixray.recipe import PLACEMENT, AnyTeacher, Asked, ImportedTeacher, RemoteTeacher, Teacher
from mixray.store import Artefact, Store
from mixray.teachers import imported, rejudge
from mixray.teachers.attempts import Attempts
from mixray.teachers.breaker import Breaker, TooManyFailures
from mixray.teachers.endpoint import EndpointSource, Key, read_key
from mixray.teachers.engine import Engine, VllmEngine, adapter_folder
from mixray.teachers.figures import Figures, spent
from mixray.teachers.local import LocalSource
from mixray.teachers.parts import FOLDER, Parts
from mixray.teachers.replies import Replies
from mixray.teachers.stream import stream, write_requests
from mixray.teachers.tally import Tally
from mixray.teachers.work import MakeSource, Rule, Work

KIND = "pools"
TRACES_PER_FILE = 2000
BROKEN = "broken"  # in a work folder: the names of runs that the breaker ended
# Settings of the machine, the wallet and the breaker, not of the text: others find the same pool.
_NOT_HASHED = {
    "replicas", "threads", "block_rows", "num_gpus", "max_restarts", "max_failed_share", "price",
    "key_env", "concurrency", "max_tries", "timeout_seconds", "cache", *PLACEMENT,
}  # fmt: skip


def handle(store: Store, name: str, teacher: AnyTeacher, problems: Artefact, seed: int, rule: Rule, kind: str = KIND) -> Artefact:
    """Return the handle of a teacher's pool, made or not."""
    settings = teacher.model_dump(mode="json", exclude=_NOT_HASHED) | {"teacher": name, "seed": seed}
    if isinstance(teacher, Teacher):
        settings |= {
            "model": fingerprint(teacher.model),
            "lora": folder_fingerprint(adapter_folder(teacher.lora)) if teacher.lora else None,
        }
    elif isinstance(teacher, ImportedTeacher):
        settings["content"] = content_checksum(teacher.traces)
    return store.artefact(kind, name, settings | {JUDGED_BY: rule.identity()}, {"problems": problems})


def run(
    store: Store,
    name: str,
    teacher: AnyTeacher,
    problems: Artefact,
    seed: int,
    rule: Rule,
    progress: StageProgress,
    engine: type[Engine] = VllmEngine,
    kind: str = KIND,
) -> Artefact:
    """Return a teacher's pool, made if it is not there.

    Args:
        store: where artefacts lie.
        name: the teacher's name in the recipe.
        teacher: what to ask, and how; or where existing traces lie.
        problems: an artefact of PROBLEM rows.
        seed: of the sampling; each answer derives its own.
        rule: how answers are judged.
        progress: the stage's line.
        engine: what answers on this machine.
        kind: what the answers are: `pools`, or a judge's `judgements`.

    Raises:
        TeacherError: the teacher does not load or run, too many answers failed, or no trace fits a problem.
    """
    pool = handle(store, name, teacher, problems, seed, rule, kind)
    if pool.is_done():
        return pool
    with pool.lock():
        if not pool.is_done():
            _make(pool, name, teacher, problems, seed, rule, progress, engine)
    return pool


def _make(
    pool: Artefact, name: str, teacher: AnyTeacher, problems: Artefact, seed: int, rule: Rule, progress: StageProgress, engine: type[Engine]
) -> None:
    num_problems = int(problems.outcome["num_problems"])
    pool.store.fs.makedirs(f"{pool.work_path}/{FOLDER}", exist_ok=True)
    _take_back_late_failures(pool, num_problems)
    parts = Parts(pool.store, pool.work_path, num_problems)
    resumed = parts.tally()
    set_aside = Quarantine()
    if isinstance(teacher, ImportedTeacher):
        set_aside = imported.write_parts(pool, name, teacher, problems, rule, progress)
    else:
        if rule.own:
            leave_note(pool)
        adopted, _ = rejudge.adopt(pool, teacher, problems, rule, parts)
        resumed.add(adopted)
        resumed.add(rejudge.adopt_unfinished(pool, teacher, problems, rule))
        _ask_missing(pool, name, teacher, problems, seed, rule, progress, engine)
    parts = Parts(pool.store, pool.work_path, num_problems)
    if isinstance(teacher, Asked):
        _refuse_gaps(pool, parts, teacher)
    commit(pool, teacher, parts, {"num_resumed": resumed.traces}, set_aside)


def _ask_missing(
    pool: Artefact, name: str, teacher: Asked, problems: Artefact, seed: int, rule: Rule, progress: StageProgress, engine: type[Engine]
) -> None:
    store, folder = pool.store, pool.work_path
    parts = Parts(store, folder, int(problems.outcome["num_problems"]))
    missing = parts.missing()
    if not len(missing):
        return
    run_id = uuid.uuid4().hex
    most_starts = teacher.max_restarts + (teacher.replicas[-1] if isinstance(teacher, Teacher) else 1)
    attempts = Attempts(store, f"{folder}/starts", most_starts)
    attempts.clear()
    work = Work(name, teacher, seed, rule, source_maker(store, teacher, engine), store, folder, run_id, attempts, pool.fence)
    requests = f"{folder}/requests-{run_id}"
    write_requests(problems, missing, requests)
    there, total = parts.tally(), len(parts.owner)
    progress.update(there.problems, total, state="starting the engine")
    breaker, asked = Breaker(teacher.max_failed_share), Tally()
    with _failures_taken_back(pool, total, run_id, breaker):
        tallies = stream(work, requests, len(missing))
        with contextlib.closing(tallies):
            for tally in tallies:
                attempts.clear()
                asked.add(tally)
                there.add(tally)
                breaker.see(tally)
                facts: dict[str, str | float] = {
                    "right": f"{there.right / there.traces:.0%}",
                    "tokens_per_second": progress.rate(asked.response_tokens),
                }
                progress.update(there.problems, total, **facts)
                metrics.level("mixray_problems_waiting", total - there.problems, teacher=name)
        breaker.check(there)  # the whole pool: of the few answers that a run was killed on, most are long, cut off or looping
    store.fs.rm(requests, recursive=True)


def source_maker(store: Store, teacher: Asked, engine: type[Engine]) -> MakeSource:
    """Return what makes the teacher's source inside an actor.

    Raises:
        TeacherError: a remote teacher's key is not in the environment.
    """
    if isinstance(teacher, RemoteTeacher):
        replies = Replies(store) if teacher.cache else None
        return functools.partial(_remote_source, teacher, read_key(teacher), replies)
    assert isinstance(teacher, Teacher)
    return functools.partial(LocalSource, teacher, engine)


def _remote_source(teacher: RemoteTeacher, key: Key, replies: Replies | None, on_death: Callable[[BaseException], None]) -> EndpointSource:
    return EndpointSource(teacher, key, replies)


@contextlib.contextmanager
def _failures_taken_back(pool: Artefact, num_problems: int, run_id: str, breaker: Breaker) -> Iterator[None]:
    """Where the breaker opens, remove the blocks with failures, or the next run would find the failures done.

    Those of this run alone, as long as the pool as a whole has no more failures than it may: what was asked before is paid for.
    """
    try:
        yield
    except TooManyFailures:
        folder = f"{pool.work_path}/{BROKEN}"
        pool.store.fs.makedirs(folder, exist_ok=True)
        pool.store.fs.pipe_file(f"{folder}/{run_id}", b"broken")
        parts = Parts(pool.store, pool.work_path, num_problems)
        all_of_them = breaker.opens_at(parts.tally())
        parts.remove(part for part in parts.parts if part.tally.failed and (all_of_them or part.stamp.run == run_id))
        raise


def _take_back_late_failures(pool: Artefact, num_problems: int) -> None:
    """Remove what actors of a run that the breaker ended have written since: they finish the blocks they had begun."""
    folder = f"{pool.work_path}/{BROKEN}"
    if not pool.store.fs.exists(folder):
        return
    broken = {path.rstrip("/").rsplit("/", 1)[-1] for path in pool.store.fs.ls(folder, detail=False)}
    parts = Parts(pool.store, pool.work_path, num_problems)
    parts.remove(part for part in parts.parts if part.tally.failed and part.stamp.run in broken)


def _refuse_gaps(pool: Artefact, parts: Parts, teacher: Asked) -> None:
    missing = parts.missing()
    if len(missing):
        raise TeacherError(
            "A pool lacks answers at its end",
            seen=f"{len(missing)} of {len(parts.owner)} problems, such as number {missing[0]}",
            rule="every problem is asked",
            do="run again: the rest is kept",
        )


def commit(pool: Artefact, teacher: AnyTeacher, parts: Parts, more: dict[str, Any], set_aside: Quarantine) -> None:
    """Write the pool from its parts, in order, a file at a time, with its figures."""
    figures = Figures()
    counted = parts.tally()
    most = teacher.most_samples if isinstance(teacher, Asked) else math.ceil(counted.traces / counted.problems)
    with pool.staging() as staging:
        for index, table in enumerate(parts.ordered(max(1, TRACES_PER_FILE // most))):
            figures.add(table)
            staging.write_table(f"part-{index:05d}.parquet", table)
        outcome = figures.outcome()
        set_aside.write_into(staging.folder)
        staging.outcome = outcome | spent((part.stamp for part in parts.parts), teacher, outcome) | set_aside.outcome() | more
