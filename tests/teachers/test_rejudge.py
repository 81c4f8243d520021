"""Verdicts anew: by the present policy, from answers that are there, with nobody asked, and never without a whole pool to fall back on."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asking import RULE, make_problems

from mixray.errors import StoreError
from mixray.judged import leave_note
from mixray.progress import StageProgress
from mixray.recipe import AnyTeacher, ImportedTeacher, RemoteTeacher, Until
from mixray.rows import TRACE, trace_id
from mixray.store import Artefact, Store
from mixray.teachers import Redone, Rule, handle, judge_again, rejudge, run
from mixray.teachers.figures import Figures, spent
from mixray.teachers.parts import Part, Parts, Stamp, looked_at, write_part

ANSWERS = {"p0": ["4", "5", "4"], "p1": ["5", "5"], "p3": ["6"]}
QUESTIONS = ["zero?", "one?", "two?", "three?"]


@dataclass(frozen=True)
class Said:
    verdict: str
    verdict_reason: str
    answer: str | None


class Judge:
    """Holds the answers it is given for right; counts what it was shown."""

    def __init__(self, *right: str, breaks_after: int | None = None) -> None:
        self.right, self.breaks_after, self.seen = right, breaks_after, 0

    def __call__(self, responses: Any, golds: Any, reasons: Any, unboxed: bool) -> list[Said]:
        self.seen += len(responses)
        if self.breaks_after is not None and self.seen > self.breaks_after:
            raise RuntimeError("killed here")
        return [Said("right" if text in self.right else "wrong", "told", text) for text in responses]

    def rule(self, policy: str = "first") -> Rule:
        return Rule(self, policy, unboxed=False)


@pytest.fixture
def problems(store: Store) -> Artefact:
    return make_problems(store, QUESTIONS)


@pytest.fixture
def teacher(tmp_path: Path) -> ImportedTeacher:
    rows = [{"id": problem, "response": text} for problem, texts in ANSWERS.items() for text in texts]
    path = tmp_path / "old.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"id": "p9", "response": "4"}]))
    return ImportedTeacher(traces=str(path), columns={"problem_id": "id"}, price={"response_per_million_tokens": 1})


def redo(teacher: AnyTeacher, problems: Artefact, rule: Rule, quiet: StageProgress, name: str = "old") -> tuple[Artefact, Redone]:
    pool = handle(problems.store, name, teacher, problems, 0, rule)
    return pool, judge_again(pool, teacher, problems, rule, quiet)


def verdicts(pool: Artefact) -> list[str]:
    return pool.read_table()["verdict"].to_pylist()


def test_another_policy_makes_a_second_pool_beside_the_first(problems: Artefact, teacher: ImportedTeacher, quiet: StageProgress) -> None:
    first = run(problems.store, "old", teacher, problems, 0, Judge("4").rule(), quiet)
    second, redone = redo(teacher, problems, Judge("4", "6").rule("second"), quiet)
    assert (redone.num_traces, redone.changes, redone.readers) == (6, Counter({("wrong", "right"): 1}), [])
    assert verdicts(first) == ["right", "wrong", "right", "wrong", "wrong", "wrong"]
    assert verdicts(second) == ["right", "wrong", "right", "wrong", "wrong", "right"]
    assert second.outcome["right"] == 3
    assert second.outcome["set_aside"] == first.outcome["set_aside"] == {"unknown_problem": 1}
    assert Path(second.path, "quarantine.jsonl").read_text() == Path(first.path, "quarantine.jsonl").read_text()
    same = [name for name in TRACE.names if name not in ("verdict", "verdict_reason", "answer")]
    assert second.read_table(same).equals(first.read_table(same))


def test_the_same_policy_with_other_verdicts_replaces_the_pool(problems: Artefact, teacher: ImportedTeacher, quiet: StageProgress) -> None:
    first = run(problems.store, "old", teacher, problems, 0, Judge("4").rule(), quiet)
    read_from = {"mixture": first}
    for kind, name in (("mixtures", "mix"), ("students", "s")):
        reader = problems.store.artefact(kind, name, {}, read_from)
        with reader.staging() as staging:
            staging.write_json("made.json", {})
        read_from = {"mixture": reader}
    before = first.outcome
    second, redone = redo(teacher, problems, Judge("5").rule(), quiet)
    assert second == first
    assert redone.changes == Counter({("right", "wrong"): 2, ("wrong", "right"): 3})
    assert [label.partition("/")[0] for label in redone.readers] == ["mixtures"], "what was made from the mixture is not the pool's to name"
    assert verdicts(first) == ["wrong", "right", "wrong", "right", "right", "wrong"]
    first.verify()
    out = first.outcome
    assert (out["right"], out["num_solved"], out["cost"], out["set_aside"]) == (3, 2, before["cost"], before["set_aside"])
    assert Path(first.path, "quarantine.jsonl").exists()
    assert sorted(path.name for path in Path(first.path).parent.iterdir()) == [f"old-{first.hash}"]


def test_the_same_verdicts_again_change_nothing(problems: Artefact, teacher: ImportedTeacher, quiet: StageProgress) -> None:
    pool = run(problems.store, "old", teacher, problems, 0, Judge("4").rule(), quiet)
    before = {path: path.stat().st_mtime_ns for path in Path(pool.path).iterdir()}
    _, redone = redo(teacher, problems, Judge("4").rule(), quiet)
    assert (redone.num_traces, redone.changes, redone.readers) == (6, Counter(), [])
    assert {path: path.stat().st_mtime_ns for path in Path(pool.path).iterdir()} == before


@pytest.mark.parametrize("breaks_after", [3, 6, 9])
def test_a_pool_stays_until_its_successor_is_whole(
    breaks_after: int, problems: Artefact, teacher: ImportedTeacher, quiet: StageProgress
) -> None:
    pool = run(problems.store, "old", teacher, problems, 0, Judge("4").rule(), quiet)
    before = pool.read_table()
    with pytest.raises(RuntimeError, match="killed here"):
        redo(teacher, problems, Judge("5", breaks_after=breaks_after).rule(), quiet)
    assert pool.read_table().equals(before)
    _, redone = redo(teacher, problems, Judge("5").rule(), quiet)
    assert redone.changes.total() == 5


def test_a_pool_killed_while_it_gave_way_is_judged_again_from_what_was_moved_aside(
    problems: Artefact, teacher: ImportedTeacher, quiet: StageProgress
) -> None:
    pool = run(problems.store, "old", teacher, problems, 0, Judge("4").rule(), quiet)
    shutil.move(pool.path, f"{pool.path}.replaced")  # as between the two renames
    assert not pool.is_done()
    _, redone = redo(teacher, problems, Judge("5").rule(), quiet)
    assert redone.num_traces == 6
    assert verdicts(pool) == ["wrong", "right", "wrong", "right", "right", "wrong"]


def test_a_second_pool_that_was_killed_on_the_way_goes_on(
    problems: Artefact, teacher: ImportedTeacher, quiet: StageProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(problems.store, "old", teacher, problems, 0, Judge("4").rule(), quiet)
    rule = Judge("4", "6").rule("second")
    with monkeypatch.context() as patched:
        patched.setattr("mixray.teachers.redo.commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            redo(teacher, problems, rule, quiet)
    second, redone = redo(teacher, problems, rule, quiet)
    assert (redone.num_traces, redone.changes) == (6, Counter({("wrong", "right"): 1}))
    assert second.outcome["num_traces"] == 6
    assert not Path(second.work_path).exists()


def test_without_answers_there_is_nothing_to_judge(problems: Artefact, teacher: ImportedTeacher, quiet: StageProgress) -> None:
    with pytest.raises(StoreError, match="There are no answers to judge again"):
        redo(teacher, problems, RULE, quiet)


# An asked pool, written as `pools.commit` would have: until one is right, at most three.
ASKED = RemoteTeacher(endpoint="http://127.0.0.1/v1", model="m", temperature=1, until=Until(right=1, at_most=3))


def asked_pool(problems: Artefact, answers: dict[str, list[str]], rule: Rule) -> Artefact:
    pool = handle(problems.store, "far", ASKED, problems, 0, rule)
    rows = [
        {
            "trace_id": trace_id(problem, "far", sample),
            "problem_id": problem,
            "sample": sample,
            "response": text,
            "gold": "4",
            "finish_reason": "stop",
            "status": "ok",
        }
        for problem, texts in answers.items()
        for sample, text in enumerate(texts)
    ]
    rule.judge(rows)
    table = pa.Table.from_pylist(rows, schema=TRACE)
    figures = Figures()
    figures.add(table)
    with pool.staging() as staging:
        staging.write_table("part-00000.parquet", table)
        stamp = Stamp("run", "actor", actor_started=0, first_asked=10, written=110)
        staging.outcome = figures.outcome() | spent([stamp], ASKED, figures.outcome()) | {"num_set_aside": 0, "set_aside": {}}
    return pool


def test_each_problem_keeps_the_answers_it_would_have_got_under_the_new_policy(problems: Artefact, quiet: StageProgress) -> None:
    answers = {"p0": ["5", "5", "4"], "p1": ["4"], "p2": ["6", "6", "6"], "p3": ["5", "4"]}
    asked_pool(problems, answers, Judge("4").rule())
    second, redone = redo(ASKED, problems, Judge("4", "5").rule("second"), quiet, "far")
    kept = Counter(second.read_table()["problem_id"].to_pylist())
    assert kept == {"p0": 1, "p1": 1, "p2": 3, "p3": 1}
    assert redone.num_traces == 6
    assert redone.changes == Counter({("wrong", "right"): 3})
    assert second.outcome["seconds"] == pytest.approx(100)
    assert second.outcome["replica_seconds"] == pytest.approx(110)


def test_problems_that_would_be_asked_further_are_told_and_the_others_kept(problems: Artefact, quiet: StageProgress) -> None:
    answers = {"p0": ["5", "5", "4"], "p1": ["4"], "p2": ["6", "6", "6"], "p3": ["5", "4"]}
    first = asked_pool(problems, answers, Judge("4").rule())
    rule = Judge("6").rule("second")
    for _ in range(2):
        with pytest.raises(StoreError, match="asked further under this policy; seen: 2 of 4"):
            redo(ASKED, problems, rule, quiet, "far")
    pool = handle(problems.store, "far", ASKED, problems, 0, rule)
    assert Parts(problems.store, pool.work_path, 4).missing().tolist() == [1, 3], "`mixray run` asks only these"
    assert first.is_done()


def test_an_adoption_that_was_killed_for_a_day_takes_no_longer(
    problems: Artefact, quiet: StageProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked_pool(problems, {"p0": ["4"], "p1": ["4"], "p2": ["4"], "p3": ["4"]}, Judge("4").rule())
    stamps = []
    for now in (1e9, 1e9 + 86_400):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        stamps.append(rejudge._stamp(first))
    assert spent(stamps, ASKED, first.outcome)["seconds"] == 100


@pytest.mark.parametrize("ends", ["never", "before its parts are listed", "before they are read"])
def test_an_unfinished_pool_that_ends_while_it_is_adopted_fails_nobody(
    problems: Artefact, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    store, rule = problems.store, Judge("4").rule("second")
    other, pool = (handle(store, "far", ASKED, problems, 0, each) for each in (Judge("5").rule("first"), rule))
    leave_note(other)
    for position in (0, 2):
        row = {"position": position, "problem_id": f"p{position}", "response": "4", "gold": "4", "num_response_tokens": 1}
        row |= {"finish_reason": "stop", "status": "ok", "verdict": "wrong"}
        write_part(store, other.work_path, [row], Stamp("run", "actor", 0, 10, 110))

    def seen(store: Store, folder: str, ours: bool) -> list[Part]:
        if ends == "before its parts are listed":
            other.clear_work()
        parts = looked_at(store, folder, ours)
        if ends == "before they are read":
            other.clear_work()
        return parts

    monkeypatch.setattr(rejudge, "looked_at", seen)
    adopted = rejudge.adopt_unfinished(pool, ASKED, problems, rule)
    assert (adopted.traces, adopted.right) == ((2, 2) if ends == "never" else (0, 0))
