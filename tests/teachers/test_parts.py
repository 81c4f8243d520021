"""The part files of a growing pool: a damaged one is asked for again, and one that cannot be read now is left alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from mixray.errors import StoreError
from mixray.store import Store
from mixray.teachers.parts import FOLDER, Parts, Stamp, looked_at, write_part, written

STAMP = Stamp("run", "actor", 0.0, 0.0, 0.0)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that is read through fsspec, like a bucket."""
    monkeypatch.setitem(fsspec.config.conf, "file", {"auto_mkdir": True})
    return Store(f"dir::file://{tmp_path}/runs")


def part_of(store: Store, position: int) -> str:
    """Write the part of one problem; return where it lies."""
    before = set(store.fs.find(store.root))
    row = {"position": position, "problem_id": f"p{position}", "verdict": "right", "status": "ok", "num_response_tokens": 1}
    write_part(store, store.root, [row], STAMP)
    (path,) = set(store.fs.find(store.root)) - before
    return path


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), OSError(errno.ESTALE, "Stale file handle"), OSError("Forbidden: 403")], ids=str
)
def test_a_part_that_cannot_be_read_now_is_an_error_and_stays(elsewhere: Store, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    path = part_of(elsewhere, 0)
    content = elsewhere.fs.cat_file(path)

    def refused(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "_open", refused)
        for look in (lambda: Parts(elsewhere, elsewhere.root, 1), lambda: written(elsewhere, elsewhere.root, [0])):
            with pytest.raises((OSError, StoreError), match=str(error).replace("[", r"\[")):
                look()
    assert elsewhere.fs.cat_file(path) == content
    assert Parts(elsewhere, elsewhere.root, 1).missing().tolist() == []


def test_a_part_on_a_disk_that_cannot_be_read_now_is_an_error_and_stays(store: Store) -> None:
    path = Path(part_of(store, 0))
    aside = path.rename(path.parent.parent / "aside")
    path.symlink_to(path)  # a link that leads nowhere but to itself
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        Parts(store, store.root, 1)
    assert path.is_symlink()
    aside.rename(path)
    assert Parts(store, store.root, 1).missing().tolist() == []


def test_a_reading_that_fails_once_costs_nothing(elsewhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    part_of(elsewhere, 0)
    opened, failures = LocalFileSystem._open, [OSError(errno.EMFILE, "Too many open files")]

    def fails_once(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return opened(*arguments, **named)

    monkeypatch.setattr(LocalFileSystem, "_open", fails_once)
    assert Parts(elsewhere, elsewhere.root, 1).missing().tolist() == []
    assert not failures


@pytest.mark.parametrize("kind", ["local", "elsewhere"])
@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_damaged_part_is_removed_by_its_own_run_alone(request: pytest.FixtureRequest, kind: str, kept: int) -> None:
    store: Store = request.getfixturevalue("store" if kind == "local" else kind)
    path = part_of(store, 0)
    store.fs.pipe_file(path, store.fs.cat_file(path)[:kept])
    whole = part_of(store, 1)
    assert [part.path for part in looked_at(store, store.root, ours=False)] == [whole]
    assert store.fs.exists(path), "another run may be writing it anew"
    assert Parts(store, store.root, 2).missing().tolist() == [0]
    assert [each.rpartition("/")[2] for each in store.fs.ls(f"{store.root}/{FOLDER}", detail=False)] == [whole.rpartition("/")[2]]


def test_a_part_that_goes_while_it_is_looked_at_is_not_there(store: Store) -> None:
    path = Path(part_of(store, 0))
    path.unlink()
    path.symlink_to(path.parent / "gone")  # listed, and not to be opened
    assert looked_at(store, store.root) == []
