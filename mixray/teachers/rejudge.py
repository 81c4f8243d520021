"""Verdicts anew on answers that are there: nothing is asked again because a policy changed.

In: a pool, or a sibling of it whose answers were asked alike and judged otherwise. Out: the parts of the new pool, or the pool itself
with new verdicts. A kill in between costs the judging, never an answer: the old pool stays until the new one is whole.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixray.errors import StoreError
from mixray.judged import sibling, unfinished
from mixray.recipe import AnyTeacher, Asked, ImportedTeacher
from mixray.rows import TRACE, keyed_draw
from mixray.store import Artefact
from mixray.teachers.parts import PART, Parts, Stamp, looked_at, write_part
from mixray.teachers.tally import Tally
from mixray.teachers.work import Rule

Changes = Counter[tuple[str, str]]
"""How many verdicts went from one to another."""


def adopt(pool: Artefact, teacher: AnyTeacher, problems: Artefact, rule: Rule, parts: Parts) -> tuple[Tally, Changes]:
    """Write a sibling's answers, judged by `rule`, as parts of `pool`; return what was adopted, and which verdicts changed.

    Where answers are asked until enough are right, each problem keeps those it would have got under this rule; a problem that would
    have been asked further is left to be asked, and so is one that the sibling's problem set, checked by another verifier, lacks. What
    `parts` holds stays as it is: an adoption that was killed goes on.
    """
    other = sibling(pool)
    adopted, changes = Tally(), Changes()
    if other is None:
        return adopted, changes
    stamp = _stamp(other)
    places = _places(problems)
    same_problems = other.made_by["inputs"] == pool.made_by["inputs"]
    for table in other.tables():
        rows, again = [], rejudged(table, rule)
        changes += changed(table, again)
        for problem_id, traces in itertools.groupby(again.to_pylist(), key=lambda row: row["problem_id"]):
            position = places.get(keyed_draw(problem_id))
            if position is None and not same_problems:
                continue
            if position is None:
                raise StoreError("A pool holds a problem its problem set lacks", seen=f"{other.label}: {problem_id}")
            if parts.owner[position] < 0:
                rows += [row | {"position": position} for row in _due(list(traces), teacher)]
        if rows:
            write_part(pool.store, pool.work_path, rows, stamp, pool.fence)
            adopted.add(Tally.of(rows))
    return adopted, changes


def adopt_unfinished(pool: Artefact, teacher: Asked, problems: Artefact, rule: Rule) -> Tally:
    """Write what unfinished pools hold that were asked alike, judged by `rule`, as parts of `pool`; return what was adopted.

    Their own runs may be at them, and remove a part as soon as it was looked at.
    """
    adopted, store = Tally(), pool.store
    others = unfinished(pool)
    places = _places(problems) if others else {}
    for other in others:
        missing = set(Parts(store, pool.work_path, len(places)).missing().tolist())
        for part in looked_at(store, other.work_path, ours=False):
            if part.tally.failed:
                continue  # another asking may fare better
            try:
                table = pq.read_table(part.path, schema=PART, filesystem=store.arrow_fs).drop_columns("position").cast(TRACE)
            except FileNotFoundError:
                continue
            rows = []
            for problem_id, traces in itertools.groupby(rejudged(table, rule).to_pylist(), key=lambda row: row["problem_id"]):
                position = places.get(keyed_draw(problem_id))
                if position in missing:
                    rows += [row | {"position": position} for row in _due(list(traces), teacher)]
            if rows:
                write_part(store, pool.work_path, rows, part.stamp, pool.fence)
                missing -= {row["position"] for row in rows}
                adopted.add(Tally.of(rows))
    return adopted


def _places(problems: Artefact) -> dict[int, int]:
    """Return where each problem stands, by a digest of its id."""
    problem_ids = (problem_id for table in problems.tables(["problem_id"]) for problem_id in table["problem_id"].to_pylist())
    return {keyed_draw(problem_id): place for place, problem_id in enumerate(problem_ids)}


def _due(traces: list[dict[str, Any]], teacher: AnyTeacher | Asked) -> list[dict[str, Any]]:
    """Return the traces this teacher's rule of asking would have led to, or none where it would have asked for more."""
    if isinstance(teacher, ImportedTeacher) or teacher.until is None:
        return traces
    right = 0
    for index, trace in enumerate(traces):
        right += trace["verdict"] == "right"
        if right == teacher.until.right:
            return traces[: index + 1]
    ended = len(traces) >= teacher.until.at_most or traces[-1]["response"] is None
    return traces if ended else []


def _stamp(other: Artefact) -> Stamp:
    """Return a stamp that carries over what the answers took when they were asked; one moment for all, also after a kill."""
    out = other.outcome
    return Stamp(f"rejudged {other.hash}", other.hash, -out["replica_seconds"], -out["seconds"], 0.0)


def rejudged(table: pa.Table, rule: Rule) -> pa.Table:
    """Return TRACE rows with the verdicts `rule` gives them; a judge's opinions are dropped."""
    rows = table.select(["response", "gold", "finish_reason"]).to_pylist()
    rule.judge(rows)
    for name in ("answer", "verdict", "verdict_reason"):
        table = _with(table, name, [row[name] for row in rows])
    for name in ("rule_verdict", "rule_reason", "judge_verdict"):
        table = _with(table, name, [None] * table.num_rows)
    return table


def _with(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), pa.array(values, pa.string()))


def changed(before: pa.Table, after: pa.Table) -> Changes:
    """Return how many verdicts went from what to what."""
    pairs = zip(before["verdict"].to_pylist(), after["verdict"].to_pylist(), strict=True)
    return Counter(pair for pair in pairs if pair[0] != pair[1])
