"""Pools under faults: every request ends in one row, whatever happens to it or to its engine."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.cloudpickle
import scripted_engine
from scripted_engine import PatientEngine, ScriptedEngine

from mixray.errors import TeacherError
from mixray.progress import StageProgress
from mixray.recipe import Teacher
from mixray.rows import PROBLEM, TRACE
from mixray.store import Artefact, Store
from mixray.teachers import handle, run
from mixray.verify import Judge

ray.cloudpickle.register_pickle_by_value(scripted_engine)  # Ray's workers do not have the tests on their path


def make_problems(store: Store, questions: list[str]) -> Artefact:
    rows = [
        {"problem_id": f"p{index}", "question": question, "answer": "4", "subject": "s", "level": 1}
        for index, question in enumerate(questions)
    ]
    artefact = store.artefact("problems", "asked", {"questions": questions})
    with artefact.staging() as staging:
        staging.write_table("part-00000.parquet", pa.Table.from_pylist(rows, schema=PROBLEM))
    return artefact


def scripted(model: str, folder: Path, **settings: object) -> Teacher:
    return Teacher(model=model, block_rows=2, engine={"folder": str(folder), "max_num_seqs": 2}, **settings)


@pytest.mark.usefixtures("ray_cluster")
def test_every_request_ends_in_one_row(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    questions = [f"{word}? {index}" for index, word in enumerate(["well", "garbage", "empty", "loop", "abort", "refuse", "crash", "kill"])]
    problems = make_problems(store, questions)
    teacher = scripted(random_student, tmp_path, num_samples=2)
    pool = run(store, "odd", teacher, problems, 0, Judge, False, quiet, ScriptedEngine)
    rows = pool.read_table()
    assert rows.schema == TRACE
    assert rows["trace_id"].to_pylist() == [f"p{problem}/odd/{sample}" for problem in range(8) for sample in range(2)]
    by_word = {row["question"].split("?")[0]: row for row in rows.to_pylist()}
    assert {word: (row["status"], row["verdict"], row["verdict_reason"]) for word, row in by_word.items()} == {
        "well": ("ok", "right", "same"),
        "garbage": ("ok", "unknown", "no_answer"),
        "empty": ("empty", "unknown", "empty"),
        "loop": ("truncated", "wrong", "truncated"),
        "abort": ("error", "unknown", "error"),
        "refuse": ("error", "unknown", "error"),
        "crash": ("ok", "right", "same"),
        "kill": ("ok", "right", "same"),
    }
    assert by_word["refuse"]["error"] == "scripted: refused"
    assert {name: pool.outcome[name] for name in ("num_traces", "right", "truncated", "empty", "errors")} == {
        "num_traces": 16,
        "right": 6,
        "truncated": 2,
        "empty": 2,
        "errors": 4,
    }
    assert not Path(pool.work_path).exists()
    assert run(store, "odd", teacher, problems, 0, Judge, False, quiet, ScriptedEngine).outcome == pool.outcome


@pytest.mark.usefixtures("ray_cluster")
def test_a_store_behind_fsspec_works_alike(
    quiet: StageProgress, random_student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "file", {"auto_mkdir": True})  # as object stores need no folders
    store = Store(f"dir::file://{tmp_path}")
    assert not store.is_local
    problems = make_problems(store, ["well? 1", "crash? 2", "well? 3"])
    pool = run(store, "odd", scripted(random_student, tmp_path), problems, 0, Judge, False, quiet, ScriptedEngine)
    assert pool.read_table()["verdict"].to_pylist() == ["right"] * 3


@pytest.mark.usefixtures("ray_cluster")
def test_a_resumed_pool_asks_only_for_what_is_missing(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    problems = make_problems(store, [*(f"well? {index}" for index in range(6)), "die? 6"])
    teacher = scripted(random_student, tmp_path, max_restarts=1)
    with pytest.raises(TeacherError, match="the engine died"):
        run(store, "odd", teacher, problems, 0, Judge, False, quiet, ScriptedEngine)
    pool = handle(store, "odd", teacher, problems, 0, False)
    written = {row["trace_id"]: row for row in read_parts(pool)}
    assert not pool.is_done()
    assert len(written) in (4, 6)  # the block of the fatal question holds at most one other
    rows = run(store, "odd", teacher, problems, 0, Judge, False, quiet, PatientEngine).read_table().to_pylist()
    assert [row["problem_id"] for row in rows] == [f"p{index}" for index in range(7)]
    assert [row for row in rows if row["trace_id"] in written] == list(written.values())


def read_parts(pool: Artefact) -> list[dict[str, object]]:
    parts = sorted(Path(pool.work_path, "parts").glob("*.parquet"))
    return sorted((row for part in parts for row in pq.read_table(part).to_pylist()), key=lambda row: row["trace_id"])


@pytest.mark.usefixtures("ray_cluster")
def test_a_teacher_that_fails_too_often_is_refused_and_may_try_again(
    store: Store, quiet: StageProgress, random_student: str, tmp_path: Path
) -> None:
    problems = make_problems(store, ["refuse? 1", "refuse? 2", "well? 3"])
    teacher = scripted(random_student, tmp_path)
    with pytest.raises(TeacherError, match=r"2 of 3, such as: scripted: refused"):
        run(store, "odd", teacher, problems, 0, Judge, False, quiet, ScriptedEngine)
    assert not Path(handle(store, "odd", teacher, problems, 0, False).work_path).exists()


@pytest.mark.usefixtures("ray_cluster")
def test_a_teacher_that_does_not_start_is_told(store: Store, quiet: StageProgress, random_student: str) -> None:
    teacher = Teacher(model=random_student, engine={"no_start": True})
    with pytest.raises(TeacherError, match="scripted: does not start"):
        run(store, "odd", teacher, make_problems(store, ["well?"]), 0, Judge, False, quiet, ScriptedEngine)


def test_the_hash_follows_the_text_and_not_the_machine(store: Store, random_student: str) -> None:
    problems = make_problems(store, ["well?"])
    base = Teacher(model=random_student)

    def hash_of(teacher: Teacher, seed: int = 0) -> str:
        return handle(store, "t", teacher, problems, seed, False).hash

    same = [{"replicas": (1, 4)}, {"threads": 7}, {"block_rows": 1}, {"num_gpus": 1}, {"max_restarts": 0}]
    other = [{"temperature": 0.5}, {"max_tokens": 5}, {"system_prompt": "Be brief."}, {"num_samples": 2}, {"engine": {"dtype": "bfloat16"}}]
    assert {hash_of(base.model_copy(update=change)) for change in same} == {hash_of(base)}
    assert len({hash_of(base), hash_of(base, seed=1), *(hash_of(base.model_copy(update=change)) for change in other)}) == 2 + len(other)
    assert json.dumps(handle(store, "t", base, problems, 0, False).made_by)
