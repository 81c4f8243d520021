"""Artefacts are whole or invisible, on a local disk, on buckets of two kinds on loopback and on whatever else fsspec reaches."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import pickle
import shutil
import stat
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from mixray import copies, models
from mixray.commits import MANIFEST
from mixray.errors import StoreError
from mixray.rows import digest, keyed_draw
from mixray.store import Artefact, Store

ROWS = pa.table({"problem_id": ["a", "b"], "right": [True, False]})


@pytest.fixture(params=["local", "s3", "gcs", "fsspec"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param in ("s3", "gcs"):
        return request.getfixturevalue(f"{request.param}_store")
    if request.param == "local":
        return Store(str(tmp_path / "runs"))
    monkeypatch.setitem(fsspec.config.conf, "file", {"auto_mkdir": True})  # as object stores need no folders
    return Store(f"dir::file://{tmp_path}/runs")


def make(store: Store, value: int = 1) -> Artefact:
    artefact = store.artefact("pools", "long", {"value": value})
    with artefact.staging() as staging:
        staging.write_table("part-00000.parquet", ROWS)
        staging.write_json("facts.json", {"value": value})
        staging.outcome = {"num_rows": 2}
    return artefact


def test_a_committed_artefact_is_found_and_read(any_store: Store) -> None:
    artefact = make(any_store)
    again = any_store.artefact("pools", "long", {"value": 1})
    assert again.is_done()
    assert again.read_table().equals(ROWS)
    assert again.read_json("facts.json") == {"value": 1}
    assert again.outcome == {"num_rows": 2}
    assert any_store.folders("pools") == [f"long-{artefact.hash}"]
    assert (again.local_folder() / "facts.json").exists()


@pytest.mark.parametrize("harm", ["cut short", "a file gone", "replaced since"])
def test_a_copy_of_a_remote_artefact_is_whole_whatever_became_of_the_last_one(s3_store: Store, harm: str) -> None:
    artefact = make(s3_store)
    copy = artefact.local_folder()
    if harm == "cut short":
        (copy / "facts.json").write_text("{")
    elif harm == "a file gone":
        (copy / "part-00000.parquet").unlink()
    else:
        with artefact.staging(replace=True) as staging:
            staging.write_json("facts.json", {"value": 2})
    assert artefact.local_folder() == copy
    assert {path.name for path in copy.iterdir()} == {"manifest.json", *(entry["path"] for entry in artefact.manifest()["files"])}
    assert json.loads((copy / "facts.json").read_text()) == artefact.read_json("facts.json")
    assert [path.name for path in copy.parent.iterdir() if path.is_dir()] == [copy.name], "nothing half done lies beside it"


def test_a_student_in_a_remote_storage_is_found_by_its_address_from_any_node(s3_store: Store) -> None:
    student = s3_store.artefact("students", "arm", {})
    with student.staging() as staging:
        staging.write_json("config.json", {"model_type": "qwen2"})
    folder = models.resolve(student.address)
    assert folder == str(student.local_folder())
    assert models.fingerprint(student.address) == models.fingerprint(folder)
    assert copies.origins([folder, "/elsewhere"]) == (student.address,)
    shutil.rmtree(folder)  # as on another node
    assert copies.bring(student.address) == Path(folder)


def test_a_manifest_tells_what_made_it(any_store: Store) -> None:
    upstream = make(any_store)
    below = any_store.artefact("mixtures", "mix", {"alpha": 0.2}, {"hard": upstream})
    with below.staging() as staging:
        staging.write_table("part-00000.parquet", ROWS)
    manifest = below.manifest()
    assert manifest["settings"] == {"alpha": 0.2}
    assert manifest["inputs"] == {"hard": upstream.hash}
    assert [entry["path"] for entry in manifest["files"]] == ["part-00000.parquet"]
    assert manifest["versions"]["mixray"] == version("mixray")
    assert set(manifest["versions"]) == {"python", "mixray", "numpy", "pyarrow", "transformers"}
    assert [(entry["path"], entry.get("rows")) for entry in upstream.manifest()["files"]] == [
        ("facts.json", None), ("part-00000.parquet", ROWS.num_rows),
    ]  # fmt: skip


def test_versions_and_rows_are_told_and_name_nothing(store: Store) -> None:
    assert store.artefact("pools", "long", {"value": 1}).hash == make(store).hash == "f5805b67bf6f"


def test_nothing_is_visible_before_the_commit_or_after_an_error(any_store: Store) -> None:
    artefact = any_store.artefact("pools", "long", {"value": 1})
    with pytest.raises(RuntimeError, match="half way"), artefact.staging() as staging:  # noqa: PT012
        staging.write_table("part-00000.parquet", ROWS)
        assert not artefact.is_done()
        raise RuntimeError("half way")
    assert not artefact.is_done()
    assert any_store.folders("pools") == []


def test_the_second_commit_of_the_same_artefact_changes_nothing(any_store: Store) -> None:
    make(any_store)
    artefact = any_store.artefact("pools", "long", {"value": 1})
    with artefact.staging() as staging:
        staging.write_json("facts.json", {"value": "late"})
    assert artefact.read_json("facts.json") == {"value": 1}
    artefact.verify()


class KilledError(BaseException):
    """A kill, as far as the store can tell."""


@pytest.mark.parametrize("step", range(12))
def test_an_artefact_is_not_lost_to_a_successor_that_never_came(any_store: Store, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before each of the storage's writes in turn: who locks it next finds the old one or the new one, whole, and nothing else."""
    artefact = make(any_store)
    left = step

    def counted(wanted: Callable[..., Any]) -> Callable[..., Any]:
        def counts(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                raise KilledError
            left -= 1
            return wanted(*arguments, **named)

        return counts

    with monkeypatch.context() as patch, contextlib.suppress(KilledError):
        for owner, name in [(Path, "rename"), *((type(any_store.fs), name) for name in ("cp_file", "rm_file", "rm", "put_file"))]:
            if hasattr(owner, name):
                patch.setattr(owner, name, counted(getattr(owner, name)))
        with artefact.staging(replace=True) as staging:
            staging.write_json("facts.json", {"value": 2})
    with artefact.lock():
        assert artefact.is_done()
    artefact.verify()
    assert artefact.read_json("facts.json")["value"] in (1, 2)
    assert any_store.folders("pools") == [artefact.folder]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_noticed_before_use(any_store: Store, damage: str) -> None:
    artefact = make(any_store)
    path = f"{artefact.path}/part-00000.parquet"
    content = bytearray(any_store.fs.cat_file(path))
    content[len(content) // 2] ^= 1
    if damage == "remove":
        any_store.fs.rm_file(path)
    else:
        any_store.fs.pipe_file(path, bytes(content if damage == "flip" else content[:-1]))
    with pytest.raises(StoreError, match=r"not what its manifest says.*run again"):
        any_store.artefact("pools", "long", {"value": 1}).read_table()


def test_an_unfinished_folder_is_redone(store: Store) -> None:
    artefact = store.artefact("pools", "long", {"value": 1})
    Path(artefact.path).mkdir(parents=True)
    (Path(artefact.path) / "part-00000.parquet").write_text("torn")
    assert not artefact.is_done()
    assert make(store).read_table().equals(ROWS)


def test_reading_what_is_not_there_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match=r"not there.*run its stage"):
        store.artefact("pools", "long", {}).read_table()


def test_the_hash_covers_settings_and_inputs(store: Store) -> None:
    one, other = store.artefact("pools", "a", {"x": 1}), store.artefact("pools", "a", {"x": 2})
    names = {store.artefact("mixtures", "m", settings, {"hard": used}).hash for settings in ({}, {"y": 1}) for used in (one, other)}
    assert len(names) == 4
    assert store.artefact("mixtures", "m", {"a": 1, "b": 2}).hash == store.artefact("mixtures", "m", {"b": 2, "a": 1}).hash


def test_handles_travel_to_workers(store: Store) -> None:
    artefact = make(store)
    there = pickle.loads(pickle.dumps(artefact))
    assert there == artefact
    assert there.read_table().equals(ROWS)


def _race(url: str, counter: str) -> None:
    artefact = Store(url).artefact("pools", "long", {"value": 1})
    with artefact.lock():
        if not artefact.is_done():
            with Path(counter).open("a") as file:
                file.write("made\n")
            make(Store(url))
    assert artefact.read_table().equals(ROWS)


def test_two_runs_that_want_the_same_artefact_make_it_once(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=_race, args=(store.url, str(counter))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
    assert [run.exitcode for run in runs] == [0, 0]
    assert counter.read_text() == "made\n"


def test_a_lock_is_waited_for_no_longer_than_asked(any_store: Store) -> None:
    artefact = any_store.artefact("pools", "long", {})
    with artefact.lock(), pytest.raises(StoreError, match="Another run"), artefact.lock(seconds=0.2):
        pass
    with artefact.lock(seconds=5):
        pass


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int | str]:
    """Return a list that grows by the inode of all that is synced, and by a word for each rename of a folder or file, and each removal."""
    steps: list[int | str] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        steps.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def told(owner: Any, name: str, word: str) -> None:
        wanted = getattr(owner, name)

        def tells(*arguments: Any, **named: Any) -> Any:
            steps.append(word)
            return wanted(*arguments, **named)

        monkeypatch.setattr(owner, name, tells)

    monkeypatch.setattr(os, "fsync", synced)
    told(Path, "rename", "renamed")
    told(os, "replace", "replaced")
    told(LocalFileSystem, "rm", "removed")
    return steps


def test_all_of_an_artefact_is_synced_before_it_is_there_and_before_its_parts_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = store.artefact("pools", "long", {})
    store.put(f"{artefact.work_path}/part", b"paid for")
    with artefact.staging() as staging:
        (staging.folder / "inner").mkdir()
        staging.write_table("inner/part-00000.parquet", ROWS)
        staging.write_json("facts.json", {})
        steps = steps_of(monkeypatch)
    target = Path(artefact.path)
    there = [target, *target.rglob("*")]
    assert len(there) == 5
    assert steps[0] == "replaced", "the manifest"
    renamed, removed = steps.index("renamed"), steps.index("removed")
    assert sorted(steps[1:renamed], key=str) == sorted((path.stat().st_ino for path in there), key=str), "each once"
    assert steps[renamed + 1 : removed] == [target.parent.stat().st_ino, Path(store.root).stat().st_ino]


def test_what_another_attempt_committed_first_is_synced_before_the_parts_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = store.artefact("pools", "long", {})
    store.put(f"{artefact.work_path}/part", b"paid for")
    with artefact.staging() as late:
        late.write_json("facts.json", {"value": "late"})
        (Path(artefact.path)).mkdir(parents=True)
        for name in ("facts.json", MANIFEST):
            (Path(artefact.path) / name).write_text("{}")
        steps = steps_of(monkeypatch)
    assert steps[steps.index("renamed") + 1 : steps.index("removed")][0] == Path(artefact.path).parent.stat().st_ino


def test_a_synced_file_and_its_place_outlive_a_power_cut(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(store.root) / "folder" / "file"
    steps = steps_of(monkeypatch)
    store.put(str(path), b"x")
    assert steps == ["replaced"]
    store.put(str(path), b"y", synced=True)
    assert steps[1:] == [path.stat().st_ino, "replaced", path.parent.stat().st_ino]


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_disk_that_syncs_no_folders_does_and_one_that_fails_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool
) -> None:
    fsync = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OSError, match=os.strerror(number)) if is_told else contextlib.nullcontext():
        make(store)
    assert store.artefact("pools", "long", {"value": 1}).is_done() != is_told


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_told_in_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        store = Store(str(disk / "runs"))
        artefact = store.artefact("pools", "long", {})
        with pytest.raises(StoreError, match=r"cannot be written.*No space left.*make room"), artefact.staging() as staging:
            (staging.folder / "big").write_bytes(os.urandom(2 << 20))
        assert not artefact.is_done()
        assert [path for path in disk.rglob("*") if path.is_file()] == []
        assert make(store).read_table().equals(ROWS)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_unreachable_storage_is_told_in_one_message() -> None:
    with pytest.raises(StoreError, match=r"cannot be reached.*--storage"):
        Store("nowhere://bucket/x").artefact("pools", "a", {}).is_done()


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5))
def test_a_digest_ignores_the_order_of_keys(value: dict[str, int | str]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(st.text(max_size=20), st.integers())
def test_draws_are_63_bit_and_depend_on_the_key(text: str, number: int) -> None:
    assert 0 <= keyed_draw(text, number) < 2**63
    assert keyed_draw(text, number) == keyed_draw(text, number)


def test_golden_draw() -> None:
    assert keyed_draw(0, "mixture", "tiny-0") == 1043352801386850192
    assert MANIFEST == "manifest.json"
