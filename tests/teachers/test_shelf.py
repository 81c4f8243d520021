"""Looking at pools and taking them away: found by any name that is clear, sampled alike each time, exported whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow.parquet as pq
import pytest
from asking import RULE, make_problems

from mixray.errors import StoreError, TeacherError
from mixray.progress import StageProgress
from mixray.recipe import ImportedTeacher
from mixray.rows import TRACE
from mixray.store import Artefact, Store
from mixray.teachers import Rule, run, shelf
from mixray.teachers.shelf import Wanted

TEXTS = [r"\boxed{4}", r"\boxed{5}", "no box", "again " * 100 + r"\boxed{4}", 'line\u2028break 🙂 \x00\n"quote" \\boxed{4}']


def make_pool(store: Store, quiet: StageProgress, folder: Path, name: str = "old", rule: Rule = RULE) -> Artefact:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "response": text}) + "\n" for n in range(4) for text in TEXTS))
    problems = make_problems(store, [f"{n}?" for n in range(4)])
    return run(store, name, ImportedTeacher(traces=str(path)), problems, 0, rule, quiet)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """Twenty traces of four problems; two in five are accepted. Read only."""
    from mixray.progress import Display

    folder = tmp_path_factory.mktemp("shelf")
    return make_pool(Store(str(folder / "runs")), Display(quiet=True).stage("test"), folder)


def test_a_pool_is_found_by_its_name_its_hash_and_both(pool: Artefact) -> None:
    for text in ("old", pool.hash, f"old-{pool.hash}", f"pools/old-{pool.hash}"):
        assert shelf.find(pool.store, text) == pool
    assert shelf.pools(pool.store) == [pool]


def test_an_unclear_name_lists_the_pools_it_may_mean(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    pools = [make_pool(store, quiet, tmp_path, rule=Rule(RULE.verify, policy, False)) for policy in ("a", "b")]
    make_pool(store, quiet, tmp_path, "older")
    with pytest.raises(StoreError) as told:
        shelf.find(store, "old")
    assert "Several pools have this name" in str(told.value)
    assert all(f"old-{pool.hash}" in str(told.value) for pool in pools)
    assert "older" not in str(told.value)
    assert shelf.find(store, pools[1].hash) == pools[1]
    assert shelf.find(store, "older").name == "older"


def test_an_unknown_name_is_told_with_the_nearest_one(pool: Artefact) -> None:
    with pytest.raises(StoreError, match=r"no such pool; seen: odl; .*did you mean 'old'\?"):
        shelf.find(pool.store, "odl")
    with pytest.raises(StoreError, match=rf"did you mean 'old-{pool.hash}'\?"):
        shelf.find(pool.store, f"old-{pool.hash[:-1]}")
    with pytest.raises(StoreError, match="holds no pool"):
        shelf.find(Store(f"{pool.store.url}/nowhere"), "old")


def test_what_a_kill_left_beside_a_pool_is_no_pool(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    pool = make_pool(store, quiet, tmp_path)
    shutil.copytree(pool.path, f"{pool.path}.replaced")
    Path(store.root, "pools", "old-000000000000").mkdir()
    assert shelf.pools(store) == [pool]
    assert shelf.find(store, "old") == pool


def test_one_trace_is_shown_by_its_id(pool: Artefact) -> None:
    assert shelf.one(pool, "p2/old/1")["response"] == TEXTS[1]
    with pytest.raises(TeacherError, match="There is no such trace; seen: p2/old/9"):
        shelf.one(pool, "p2/old/9")


def test_wanted_traces_come_in_the_pools_order(pool: Artefact) -> None:
    def ids(**wanted: Any) -> list[str]:
        return [trace["trace_id"] for trace in shelf.traces(pool, Wanted(**wanted))]

    assert len(ids()) == 20
    assert ids(verdict="wrong") == [f"p{n}/old/1" for n in range(4)]
    assert ids(status="looping") == [f"p{n}/old/3" for n in range(4)]
    assert ids(problem="p1", verdict="right") == ["p1/old/0", "p1/old/3", "p1/old/4"]
    assert ids(accepted=True) == [f"p{n}/old/{sample}" for n in range(4) for sample in (0, 4)]
    assert ids(problem="p9") == []
    assert len(ids(accepted=True)) == pool.outcome["accepted"]


def test_a_sample_is_the_same_each_time_and_part_of_a_larger_one(pool: Artefact) -> None:
    def ids(count: int, seed: int = 0, **wanted: Any) -> list[str]:
        return [trace["trace_id"] for trace in shelf.sample(pool, count, Wanted(**wanted), seed)]

    assert ids(5) == ids(5) == ids(20)[:5]
    assert len(set(ids(20))) == len(ids(100)) == 20
    assert ids(20, seed=1) != ids(20)
    assert {id_.rpartition("/")[2] for id_ in ids(3, verdict="unknown")} == {"2"}
    assert ids(3, problem="p9") == []


def test_parquet_is_read_by_pandas(pool: Artefact, tmp_path: Path) -> None:
    assert shelf.export(pool, tmp_path / "a.parquet", "parquet", Wanted()) == 20
    frame = pandas.read_parquet(tmp_path / "a.parquet")
    assert list(frame.columns) == [*TRACE.names, "messages"]
    assert pq.read_table(tmp_path / "a.parquet", columns=TRACE.names).cast(TRACE).equals(pool.read_table())


def test_jsonl_is_one_object_for_each_line_with_the_turns(pool: Artefact, tmp_path: Path) -> None:
    assert shelf.export(pool, tmp_path / "a.jsonl", "jsonl", Wanted()) == 20
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines[:-1]]
    assert lines[-1] == ""
    assert rows[4]["messages"] == [{"role": "user", "content": "0?"}, {"role": "assistant", "content": TEXTS[4]}]
    assert [{name: row[name] for name in TRACE.names} for row in rows] == pool.read_table().to_pylist()
    loaded = datasets.load_dataset("json", data_files=str(tmp_path / "a.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["response"][:5] == TEXTS


def test_a_data_set_is_loaded_from_disk(pool: Artefact, tmp_path: Path) -> None:
    assert shelf.export(pool, tmp_path / "a", "datasets", Wanted()) == 20
    loaded = datasets.load_from_disk(str(tmp_path / "a"))
    assert loaded["trace_id"][:] == pool.read_table()["trace_id"].to_pylist()
    assert loaded[0]["messages"][1] == {"role": "assistant", "content": TEXTS[0]}
    assert not {path.name for path in (tmp_path / "a").iterdir()} & {"cache", "rows.parquet", "out"}
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "datasets"])
def test_only_accepted_traces_may_be_taken_and_none_is_told(kind: shelf.Format, pool: Artefact, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    count = shelf.export(pool, out, kind, Wanted(accepted=True, problem="p3"))
    rows = {
        "parquet": lambda: pq.read_table(out).to_pylist(),
        "jsonl": lambda: [json.loads(line) for line in out.read_bytes().splitlines()],
        "datasets": lambda: datasets.load_from_disk(str(out)).to_list(),
    }[kind]()
    assert [row["trace_id"] for row in rows] == ["p3/old/0", "p3/old/4"]
    assert count == 2
    with pytest.raises(TeacherError, match="No trace of the pool is of this kind"):
        shelf.export(pool, tmp_path / "none", kind, Wanted(problem="p9"))
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "datasets"])
def test_nothing_is_written_over(kind: shelf.Format, pool: Artefact, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(TeacherError, match="nothing is written over"):
        shelf.export(pool, tmp_path / "taken", kind, Wanted())
    assert (tmp_path / "taken").read_text() == "mine"
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "datasets"])
def test_an_export_that_breaks_off_leaves_nothing(kind: shelf.Format, pool: Artefact, tmp_path: Path) -> None:
    copy = Store(str(tmp_path / "runs"))
    shutil.copytree(pool.store.root, copy.root)
    broken = shelf.find(copy, "old")
    part = next(Path(broken.path).glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match="not what its manifest says"):
        shelf.export(broken, tmp_path / "new" / "out", kind, Wanted())
    assert os.listdir(tmp_path / "new") == []


def test_a_place_that_cannot_be_written_is_told(pool: Artefact, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TeacherError, match="A pool cannot be exported"):
        shelf.export(pool, tmp_path / "file" / "out", "jsonl", Wanted())


def test_a_pool_tells_whether_its_rule_counts_unboxed_numbers(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    boxed, unboxed = (make_pool(store, quiet, tmp_path, rule=Rule(RULE.verify, RULE.policy, flag)) for flag in (False, True))
    assert (shelf.counts_unboxed(boxed), shelf.counts_unboxed(unboxed)) == (False, True)
    judged = store.artefact("pools", "old", {"asked": "unknown"}, {"pool": unboxed, "judgements": boxed})
    assert shelf.counts_unboxed(judged)
