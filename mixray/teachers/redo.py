"""`mixray verify --redo`: a pool's verdicts anew by the present policy, without asking anybody.

In: a pool, made or not. Out: the pool with the verdicts of today, and what changed. The former verdicts stay in place until the new ones
are whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mixray.errors import StoreError
from mixray.judged import sibling
from mixray.progress import StageProgress
from mixray.quarantine import Quarantine
from mixray.recipe import AnyTeacher, Asked
from mixray.store import Artefact
from mixray.teachers.figures import Figures, judged_anew
from mixray.teachers.parts import Parts
from mixray.teachers.pools import commit
from mixray.teachers.rejudge import Changes, adopt, changed, rejudged
from mixray.teachers.work import Rule


@dataclass
class Redone:
    """What judging again came to."""

    num_traces: int = 0
    changes: Changes = field(default_factory=Changes)
    readers: list[str] = field(default_factory=list)
    """Artefacts that were made from verdicts the pool no longer has."""


def judge_again(pool: Artefact, teacher: AnyTeacher, problems: Artefact, rule: Rule, progress: StageProgress) -> Redone:
    """Give a pool the verdicts of the present policy, from answers that are there.

    Where the pool is there under another policy, the new one is made beside it. Where it is there under this policy and verdicts change
    all the same, as when answers ran out of time on a busy machine, it is replaced.

    Raises:
        StoreError: there are no answers, or some problems would have to be asked further.
    """
    with pool.lock():
        return _replaced(pool, rule, progress) if pool.is_done() else _beside(pool, teacher, problems, rule)


def _beside(pool: Artefact, teacher: AnyTeacher, problems: Artefact, rule: Rule) -> Redone:
    num_problems = int(problems.outcome["num_problems"])
    other = sibling(pool)
    adopted, changes = adopt(pool, teacher, problems, rule, Parts(pool.store, pool.work_path, num_problems))
    parts = Parts(pool.store, pool.work_path, num_problems)
    if other is None or not parts.parts:
        raise StoreError("There are no answers to judge again", seen=pool.label, do="make the pool first: `mixray run`")
    missing = len(parts.missing())
    if missing and isinstance(teacher, Asked):  # what was imported need not answer every problem
        raise StoreError(
            "Some problems would be asked further under this policy", seen=f"{missing} of {num_problems}", do="`mixray run` asks them"
        )
    commit(pool, teacher, parts, {"num_resumed": adopted.traces}, Quarantine.of(other))
    return Redone(parts.tally().traces, changes)


def _replaced(pool: Artefact, rule: Rule, progress: StageProgress) -> Redone:
    redone, total = Redone(), pool.outcome["num_traces"]
    for table in pool.tables():
        redone.changes += changed(table, rejudged(table, rule))
        redone.num_traces += table.num_rows
        progress.update(redone.num_traces, total)
    if not redone.changes:
        return redone
    figures = Figures()
    with pool.staging(replace=True) as staging:
        for index, table in enumerate(pool.tables()):
            again = rejudged(table, rule)
            figures.add(again)
            staging.write_table(f"part-{index:05d}.parquet", again)
        Quarantine.of(pool).write_into(staging.folder)
        staging.outcome = judged_anew(pool.outcome, figures)
    redone.readers = pool.store.readers(pool)
    return redone
