"""Pools under faults: every answer ends in one row, whatever happens to it or to its engine."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from asking import RULE, make_problems, scripted
from scripted_engine import EngineOfTwo, PatientEngine, ScriptedEngine

from mixray import judged
from mixray.errors import TeacherError
from mixray.progress import StageProgress
from mixray.recipe import Teacher, Until
from mixray.rows import TRACE, trace_seed
from mixray.store import Store
from mixray.teachers import Rule, handle, pools, run
from mixray.teachers.breaker import Breaker, TooManyFailures
from mixray.teachers.parts import Parts, Stamp, write_part

WORDS = ["well", "garbage", "empty", "loop", "cut", "abort", "refuse", "crash", "kill"]


@pytest.mark.usefixtures("ray_cluster")
def test_every_answer_ends_in_one_row(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    problems = make_problems(store, [f"{word}? {index}" for index, word in enumerate(WORDS)])
    teacher = scripted(random_student, tmp_path, num_samples=2)
    pool = run(store, "odd", teacher, problems, 0, RULE, quiet, ScriptedEngine)
    rows = pool.read_table()
    assert rows.schema == TRACE
    assert rows["trace_id"].to_pylist() == [f"p{problem}/odd/{sample}" for problem in range(len(WORDS)) for sample in range(2)]
    by_word = {row["subject"]: row for row in rows.to_pylist()}
    assert {word: (row["status"], row["verdict"], row["verdict_reason"]) for word, row in by_word.items()} == {
        "well": ("ok", "right", "same"),
        "garbage": ("garbled", "unknown", "no_answer"),
        "empty": ("empty", "unknown", "empty"),
        "loop": ("looping", "right", "same"),
        "cut": ("truncated", "wrong", "truncated"),
        "abort": ("error", "unknown", "error"),
        "refuse": ("error", "unknown", "error"),
        "crash": ("ok", "right", "same"),
        "kill": ("ok", "right", "same"),
    }
    assert by_word["refuse"]["error"] == "scripted: refused"
    assert by_word["loop"]["repetition"] > 0.9 > by_word["well"]["repetition"]
    assert by_word["well"]["engine"].startswith("scripted ")
    assert len(by_word["well"]["template"]) == 8
    out = pool.outcome
    assert {name: out[name] for name in ("num_problems", "num_traces", "right", "accepted", "num_solved", "truncated")} == {
        "num_problems": 9, "num_traces": 18, "right": 8, "accepted": 6, "num_solved": 3, "truncated": 2,
    }  # fmt: skip
    assert out["statuses"] == {"ok": 6, "truncated": 2, "looping": 2, "garbled": 2, "empty": 2, "error": 4}
    assert {stratum["subject"]: (stratum["traces"], stratum["right"], stratum["solved"]) for stratum in out["strata"]}["loop"] == (2, 2, 0)
    assert not Path(pool.work_path).exists()
    assert run(store, "odd", teacher, problems, 0, RULE, quiet, ScriptedEngine).outcome == out


@pytest.mark.usefixtures("ray_cluster")
def test_a_problem_is_asked_again_only_while_it_needs_to_be(
    store: Store, quiet: StageProgress, random_student: str, tmp_path: Path
) -> None:
    problems = make_problems(store, [*(f"sometimes? {index}" for index in range(20)), "wrong? 20", "well? 21", "refuse? 22"])
    teacher = scripted(random_student, tmp_path, until=Until(right=2, at_most=5))
    rows = run(store, "odd", teacher, problems, 0, RULE, quiet, ScriptedEngine).read_table().to_pylist()
    by_problem: dict[str, list[bool]] = {}
    for row in rows:
        assert row["sample"] == len(by_problem.setdefault(row["problem_id"], []))
        by_problem[row["problem_id"]].append(row["verdict"] == "right")
    for number in range(20):
        luck = [trace_seed(0, "odd", f"p{number}", sample) % 3 == 0 for sample in range(5)]
        needed = next((count for count in range(2, 5) if sum(luck[:count]) == 2), 5)
        assert by_problem[f"p{number}"] == luck[:needed]
    assert [len(by_problem[f"p{number}"]) for number in (20, 21, 22)] == [5, 2, 2]
    starts = list(tmp_path.glob("started-*"))
    assert len(starts) == 1, "one engine for all rounds"
    assert len(starts[0].read_text().splitlines()) == len(rows)


@pytest.mark.usefixtures("ray_cluster")
def test_more_engines_are_started_while_work_waits(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    problems = make_problems(store, [f"well? {index}" for index in range(300)])
    pool = run(store, "odd", scripted(random_student, tmp_path, replicas=(1, 2)), problems, 0, RULE, quiet, EngineOfTwo)
    assert pool.outcome["right"] == 300
    logs = [log.read_text().splitlines() for log in tmp_path.glob("started-*")]
    assert len(logs) == 2
    assert all(logs), "both of them answered"


@pytest.mark.usefixtures("ray_cluster")
def test_a_store_behind_fsspec_works_alike(
    quiet: StageProgress, random_student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "file", {"auto_mkdir": True})  # as object stores need no folders
    store = Store(f"dir::file://{tmp_path}")
    assert not store.is_local
    problems = make_problems(store, ["well? 1", "crash? 2", "well? 3"])
    pool = run(store, "odd", scripted(random_student, tmp_path), problems, 0, RULE, quiet, ScriptedEngine)
    assert pool.read_table()["verdict"].to_pylist() == ["right"] * 3


@pytest.mark.usefixtures("ray_cluster")
def test_a_resumed_pool_asks_only_for_what_is_missing(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    problems = make_problems(store, [*(f"well? {index}" for index in range(6)), "die? 6"])
    teacher = scripted(random_student, tmp_path, max_restarts=1)
    with pytest.raises(TeacherError, match="the engine died"):
        run(store, "odd", teacher, problems, 0, RULE, quiet, ScriptedEngine)
    pool = handle(store, "odd", teacher, problems, 0, RULE)
    assert not pool.is_done()
    parts = Parts(store, pool.work_path, 7)
    written = {row["trace_id"]: row for table in parts.ordered(100) for row in table.to_pylist()}
    assert len(written) in (2, 4, 6), "whole blocks of two"
    for log in tmp_path.glob("started-*"):
        log.unlink()
    again = run(store, "odd", teacher, problems, 0, RULE, quiet, PatientEngine)
    rows = again.read_table().to_pylist()
    assert [row["problem_id"] for row in rows] == [f"p{index}" for index in range(7)]
    assert [row for row in rows if row["trace_id"] in written] == list(written.values())
    assert sum(len(log.read_text().splitlines()) for log in tmp_path.glob("started-*")) == 7 - len(written)
    assert again.outcome["num_resumed"] == len(written)


@pytest.mark.usefixtures("ray_cluster")
def test_a_teacher_that_fails_too_often_is_stopped_and_may_try_again(
    store: Store, quiet: StageProgress, random_student: str, tmp_path: Path
) -> None:
    problems = make_problems(store, [*(f"well? {index}" for index in range(4)), *(f"refuse? {index}" for index in range(2000))])
    teacher = scripted(random_student, tmp_path, block_rows=4, max_failed_share=0.5)
    with pytest.raises(TeacherError, match=r"\d+ of 2\d\d, such as error: 'scripted: refused'"):
        run(store, "odd", teacher, problems, 0, RULE, quiet, ScriptedEngine)
    asked = sum(len(log.read_text().splitlines()) for log in tmp_path.glob("started-*"))
    assert asked < 2004, "the breaker opened before everything was asked"
    assert Parts(store, handle(store, "odd", teacher, problems, 0, RULE).work_path, 2004).tally().right == 4
    # No failure counts as done, not even one that an actor wrote after the end.
    again = run(store, "odd", teacher, problems, 0, RULE, quiet, PatientEngine)
    assert again.outcome["right"] == 2004


def asked_before(work_path: str, store: Store, run_id: str, positions: range, num_failed: int) -> None:
    """Write what a run has asked: a part for each problem, of which the first ones failed."""
    for place in positions:
        failed = place < positions.start + num_failed
        said = {"status": "error", "error": "gone", "verdict": "unknown"} if failed else {"status": "ok", "error": None, "verdict": "right"}
        row = {"trace_id": f"p{place}/odd/0", "problem_id": f"p{place}", "sample": 0, "position": place, "num_response_tokens": 1, **said}
        row |= {"verdict_reason": said["status"]}
        write_part(store, work_path, [row | {"response": None if failed else "4"}], Stamp(run_id, "actor", 0.0, 0.0, 0.0))


@pytest.mark.usefixtures("ray_cluster")
def test_a_pool_that_is_gone_on_with_is_held_against_its_share_as_a_whole(
    store: Store, quiet: StageProgress, random_student: str, tmp_path: Path
) -> None:
    """What was in flight at a kill is what takes longest: of the few answers left most are cut off."""
    problems = make_problems(store, [f"well? {index}" for index in range(40)] + [f"cut? {index}" for index in range(4)])
    teacher = scripted(random_student, tmp_path, max_failed_share=0.5)
    asked_before(handle(store, "odd", teacher, problems, 0, RULE).work_path, store, "earlier", range(40), num_failed=3)
    out = run(store, "odd", teacher, problems, 0, RULE, quiet, ScriptedEngine).outcome
    told = {status: count for status, count in out["statuses"].items() if count}
    assert (out["num_traces"], out["num_resumed"], told) == (44, 40, {"ok": 37, "error": 3, "truncated": 4})


@pytest.mark.parametrize(("num_before", "kept"), [(30, {"earlier": 30, "later": 2}), (6, {"earlier": 3, "later": 2})])
def test_failures_of_former_runs_are_taken_back_only_where_the_whole_pool_fails(
    num_before: int, kept: dict[str, int], store: Store, random_student: str, tmp_path: Path
) -> None:
    """Three of what was asked before failed, six of eight of this run: 9 of 38 are few enough, 9 of 14 are not."""
    problems, num = make_problems(store, [f"well? {index}" for index in range(num_before + 8)]), num_before + 8
    pool = handle(store, "odd", scripted(random_student, tmp_path), problems, 0, RULE)
    asked_before(pool.work_path, store, "earlier", range(num_before), num_failed=3)
    asked_before(pool.work_path, store, "later", range(num_before, num), num_failed=6)
    with pytest.raises(TooManyFailures), pools._failures_taken_back(pool, num, "later", Breaker(0.5)):
        raise TooManyFailures("Too many")
    assert Counter(part.stamp.run for part in Parts(store, pool.work_path, num).parts) == kept


@pytest.mark.usefixtures("ray_cluster")
def test_a_teacher_that_does_not_start_is_told(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    teacher = Teacher(model=random_student, engine={"folder": str(tmp_path), "no_start": [1, 2, 3]})
    with pytest.raises(TeacherError, match="scripted: does not start"):
        run(store, "odd", teacher, make_problems(store, ["well?"]), 0, RULE, quiet, ScriptedEngine)
    assert len(list(tmp_path.glob("started-*"))) == 3


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("no_start", [pytest.param([1, 2], marks=pytest.mark.soak, id="at first"), pytest.param([2, 3], id="after a kill")])
def test_a_start_may_fail_twice(no_start: list[int], store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    """As when a device is still held by the process that was killed on it: Ray by itself gives a restarted actor no second try."""
    teacher = Teacher(model=random_student, engine={"folder": str(tmp_path), "no_start": no_start}, block_rows=1)
    pool = run(store, "odd", teacher, make_problems(store, ["well? 1", "kill? 2", "well? 3"]), 0, RULE, quiet, ScriptedEngine)
    assert pool.read_table()["verdict"].to_pylist() == ["right"] * 3
    assert len(list(tmp_path.glob("started-*"))) >= 4


@pytest.mark.usefixtures("ray_cluster")
def test_another_policy_judges_again_and_asks_nothing(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    problems = make_problems(store, ["well? 1", "cut? 2", "wrong? 3"])
    teacher = scripted(random_student, tmp_path)
    first = run(store, "odd", teacher, problems, 0, RULE, quiet, ScriptedEngine)
    for log in tmp_path.glob("started-*"):
        log.unlink()
    other = Rule(RULE.verify, "another", unboxed=True)
    second = run(store, "odd", teacher, problems, 0, other, quiet, ScriptedEngine)
    assert second.hash != first.hash
    assert not list(tmp_path.glob("started-*"))
    assert second.read_table().equals(first.read_table())
    assert second.outcome["seconds"] == pytest.approx(first.outcome["seconds"])
    assert judged.sibling(second) == first


def test_the_hash_follows_the_text_and_not_the_machine(store: Store, random_student: str) -> None:
    problems = make_problems(store, ["well?"])
    base = Teacher(model=random_student)

    def hash_of(teacher: Teacher, seed: int = 0) -> str:
        return handle(store, "t", teacher, problems, seed, RULE).hash

    same = [{"replicas": (1, 4)}, {"threads": 7}, {"block_rows": 1}, {"num_gpus": 1}, {"max_restarts": 0}]
    other = [{"temperature": 0.5}, {"max_tokens": 5}, {"system_prompt": "Be brief."}, {"num_samples": 2}, {"engine": {"dtype": "bfloat16"}}]
    assert {hash_of(base.model_copy(update=change)) for change in same} == {hash_of(base)}
    assert len({hash_of(base), hash_of(base, seed=1), *(hash_of(base.model_copy(update=change)) for change in other)}) == 2 + len(other)
    assert json.dumps(handle(store, "t", base, problems, 0, RULE).made_by)
