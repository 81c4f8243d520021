"""The notes of a teacher's engine starts, while the driver clears them and actors are killed as they write."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mixray.errors import StoreError, TeacherError
from mixray.store import Store
from mixray.teachers.attempts import Attempts


@pytest.fixture(params=["local", "s3"])
def attempts(request: pytest.FixtureRequest) -> Attempts:
    store: Store = request.getfixturevalue("store" if request.param == "local" else "s3_store")
    return Attempts(store, f"{store.root}/starts", limit=3)


def cleared_once_listed(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the driver clear the notes between anybody's listing them and what is done with the list."""
    fs = getattr(attempts.store.fs, "fs", attempts.store.fs)
    listed = fs.ls

    def ls(path: str, *arguments: Any, **named: Any) -> Any:
        found = listed(path, *arguments, **named)
        for note in found:
            fs.rm_file(note)
        return found

    monkeypatch.setattr(fs, "ls", ls)


def test_notes_that_the_driver_clears_while_they_are_read_tell_nothing(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts.died(attempts.begin(), RuntimeError("out of memory"))
    assert attempts.num_died() == 1
    with monkeypatch.context() as patch:
        cleared_once_listed(attempts, patch)
        assert attempts.num_died() == 0
    assert attempts.last_words() is None


def test_notes_that_are_gone_are_cleared_too(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts.begin()
    with monkeypatch.context() as patch:
        cleared_once_listed(attempts, patch)
        attempts.clear()
    attempts.clear()
    assert attempts.num_died() == 0


@pytest.mark.parametrize("content", [b"", b'{"err', b"null", b"[]", b"{}", b"\xff"])
def test_a_torn_note_counts_as_a_start_and_not_as_a_death(attempts: Attempts, content: bytes) -> None:
    attempts.store.fs.pipe_file(attempts.begin(), content)
    assert attempts.num_died() == 0
    attempts.died(attempts.begin(), RuntimeError("out of memory"))
    assert (attempts.num_died(), attempts.last_words()) == (1, "RuntimeError: out of memory")
    attempts.begin()
    with pytest.raises(TeacherError, match="3 starts"):
        attempts.begin()


def test_a_note_is_whole_or_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(store, f"{store.root}/starts", limit=2)
    note = Path(attempts.begin())
    before = note.read_bytes()

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left"):
        attempts.died(str(note), RuntimeError("out of memory"))
    assert note.read_bytes() == before


def test_what_a_kill_left_half_written_is_no_start(store: Store) -> None:
    attempts = Attempts(store, f"{store.root}/starts", limit=1)
    Path(attempts.folder).mkdir(parents=True)
    (Path(attempts.folder) / ".0a1b.json.2c3d").touch()
    attempts.begin()
