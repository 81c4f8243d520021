"""The request cache: whole replies or none, named by what was asked, on local disks and object stores."""

from __future__ import annotations

import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixray.errors import StoreError
from mixray.reply import Reply
from mixray.store import Store
from mixray.teachers.replies import Replies

REPLY = Reply("it is \\boxed{4} \ud800 ½", "two and two", "stop", 11, None)
URL, BODY = "http://127.0.0.1/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "seed": 5}


@pytest.fixture(params=["local", "memory"])
def replies(request: pytest.FixtureRequest, tmp_path: Path) -> Replies:
    return Replies(Store(str(tmp_path / "runs") if request.param == "local" else f"memory://replies{tmp_path}"))


def files(replies: Replies) -> list[str]:
    return list(replies.store.fs.find(f"{replies.store.root}/.replies"))


def test_a_reply_comes_back_as_it_was_to_every_process(replies: Replies) -> None:
    name = replies.name(URL, BODY, 5)
    assert replies.get(name) is None
    replies.put(name, REPLY, 1.5)
    replies.put(name, REPLY, 1.5)
    assert pickle.loads(pickle.dumps(replies)).get(name) == (REPLY, 1.5)
    (path,) = files(replies)
    assert path.endswith(f"/.replies/{name[:2]}/{name}.json")


def test_the_name_covers_all_that_is_asked_and_tells_samples_apart(replies: Replies) -> None:
    name = replies.name(URL, BODY, 5)
    assert name == replies.name(URL, dict(reversed(BODY.items())), 5)
    others = [("http://127.0.0.1/v2", BODY, 5), (URL, BODY | {"temperature": 0.5}, 5), (URL, BODY, 6)]
    assert len({name, *(replies.name(*other) for other in others)}) == 4


@pytest.mark.parametrize(
    "reply", [Reply("it", "", "content_filter", 1, 1), Reply(" \n", "", "stop", 1, 1), Reply("", "", "length", None, None)]
)
def test_what_is_no_whole_answer_is_not_kept(replies: Replies, reply: Reply) -> None:
    replies.put("ab12", reply, 0.1)
    assert not files(replies)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(cut=st.integers(0, 120), tail=st.binary(max_size=5))
def test_a_torn_or_foreign_entry_is_missing_and_written_over(replies: Replies, cut: int, tail: bytes) -> None:
    name = replies.name(URL, BODY, 5)
    replies.put(name, REPLY, 1.5)
    (path,) = files(replies)
    replies.store.fs.pipe_file(path, replies.store.fs.cat_file(path)[:cut] + tail)
    assert replies.get(name) is None
    replies.put(name, REPLY, 2.5)
    assert replies.get(name) == (REPLY, 2.5)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"x"', b'{"seconds": 1.0}', b"\xff", b'{"text": 1, "seconds": 1.0}'])
def test_other_json_is_missing_too(replies: Replies, content: bytes) -> None:
    replies.put("ab12", REPLY, 1.5)
    replies.store.fs.pipe_file(files(replies)[0], content)
    assert replies.get("ab12") is None


def test_the_wrong_types_are_missing(replies: Replies) -> None:
    text = b'{"text": %s, "reasoning": "", "finish_reason": "stop", "num_prompt_tokens": %s, "num_response_tokens": 1, "seconds": 1.0}'
    for values, found in ((b'"four"', b"1"), True), ((b"4", b"1"), False), ((b'"four"', b'"1"'), False), ((b"null", b"1"), False):
        replies.put("ab12", REPLY, 1.5)
        replies.store.fs.pipe_file(files(replies)[0], text % values)
        assert (replies.get("ab12") is not None) == found


def test_readers_and_writers_at_once_see_whole_entries_alone(tmp_path: Path) -> None:
    replies = Replies(Store(str(tmp_path)))
    replies.put("ab12", REPLY, 0.0)
    with ThreadPoolExecutor(8) as threads:
        writes = [threads.submit(replies.put, "ab12", REPLY, float(turn)) for turn in range(200)]
        reads = [threads.submit(replies.get, "ab12") for _ in range(200)]
    assert [write.result() for write in writes] == [None] * 200
    assert all(kept is not None and kept[0] == REPLY for kept in (read.result() for read in reads))
    assert [Path(path).name for path in files(replies)] == ["ab12.json"]


def test_a_full_disk_is_told_in_the_log_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    replies = Replies(Store(str(tmp_path)))
    monkeypatch.setattr(os, "replace", full)
    replies.put("ab12", REPLY, 1.5)
    assert "cannot be kept" in caplog.text
    assert "No space left" in caplog.text
    assert not [path for path in fsspec.filesystem("file").find(str(tmp_path)) if ".replies" in path]


@pytest.mark.parametrize("error", [OSError("Forbidden: 403"), OSError(errno.EIO, "Input/output error"), StoreError("It does not answer")])
def test_a_storage_that_fails_is_told_in_the_log_and_costs_the_cache_alone(
    replies: Replies, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replies.put("ab12", REPLY, 1.5)

    def fails(*_: Any, **__: Any) -> Any:
        raise error

    fs = getattr(replies.store.fs, "fs", replies.store.fs)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "cat_file", fails)
        patch.setattr(fs, "pipe_file", fails)
        patch.setattr(os, "replace", fails)
        assert replies.get("ab12") is None
        replies.put("ab12", REPLY, 2.5)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert caplog.text.count(str(error)) == 2
    assert replies.get("ab12") == (REPLY, 1.5)
