"""Another run's unfinished answers: adopted while they are there, and left out where that run is done in the meantime."""

from __future__ import annotations

from typing import Any

import pytest

from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.evaluation.journal import Journal
from mixray.judged import JUDGED_BY, leave_note, unfinished
from mixray.store import Artefact, Store


def scores(store: Store, policy: str) -> Artefact:
    return store.artefact("scores", "arm", {"asked": "alike", JUDGED_BY: policy})


def begun(store: Store, policy: str) -> Artefact:
    """Return scores that have one answer so far."""
    artefact = scores(store, policy)
    leave_note(artefact)
    with Journal(artefact) as journal:
        journal.add(StudentAnswer(Name("sums", policy, 0), "x", "stop", 7, 0.1))
    return artefact


def gone_once_listed(artefact: Artefact, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an artefact's run be done, and its work removed, between anybody's listing it and what is done with the list."""
    fs = getattr(artefact.store.fs, "fs", artefact.store.fs)
    lists = getattr(fs, how)

    def listed(*arguments: Any, **named: Any) -> Any:
        found = lists(*arguments, **named)
        fs.rm(artefact.work_path, recursive=True)
        return found

    monkeypatch.setattr(fs, how, listed)


@pytest.mark.parametrize("kind", ["store", "s3_store"])
def test_unfinished_scores_whose_run_is_done_meanwhile_are_left_out(
    request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = request.getfixturevalue(kind)
    first, second = begun(store, "first"), begun(store, "second")
    assert {each.hash for each in unfinished(scores(store, "third"))} == {first.hash, second.hash}
    with monkeypatch.context() as patch:
        gone_once_listed(first, "glob", patch)
        assert [each.hash for each in unfinished(scores(store, "third"))] == [second.hash]


@pytest.mark.parametrize("kind", ["store", "s3_store"])
def test_answers_whose_run_is_done_meanwhile_are_not_there(
    request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = request.getfixturevalue(kind)
    first = begun(store, "first")
    assert len(Journal(first).read()) == 1
    with monkeypatch.context() as patch:
        gone_once_listed(first, "ls", patch)
        assert Journal(first).read() == {}
    assert Journal(first).read() == {}, "nor is the folder"
