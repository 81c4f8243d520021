"""A storage that is slow, busy, or cuts its answers costs time and nothing else; one that is gone ends in one message."""

from __future__ import annotations

import errno
import pickle
import socket
import time
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import fsspec
import pyarrow as pa
import pytest
from flaky_s3 import FAILURES, FlakyS3, flaky_s3
from test_store import ROWS, make

from mixray import passing, steady
from mixray.errors import StoreError
from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.evaluation.journal import Journal
from mixray.rows import keyed_draw
from mixray.store import Store
from mixray.teachers.parts import Parts, Stamp, write_part


@pytest.fixture
def flaky(s3_server: str, s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyS3]:
    """The same S3 server behind a proxy; who asks for a store from here on asks the proxy."""
    monkeypatch.setattr(steady, "BRIEF_SECONDS", 60.0)  # a lease is given back by courtesy, and not on a machine that stands still
    with flaky_s3(s3_server) as proxy:
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": proxy.url})
        yield proxy


@pytest.fixture
def flaky_store(flaky: FlakyS3, s3_store: Store) -> Store:
    return Store(s3_store.url)


def test_nothing_is_lost_on_a_storage_that_fails_every_fifth_request_in_turn_in_each_way(flaky: FlakyS3, flaky_store: Store) -> None:
    flaky.every = 5
    artefact = flaky_store.artefact("pools", "long", {"value": 1})
    answers = [StudentAnswer(Name("sums", f"p{index}", 0), "x", "stop", 7, 0.1) for index in range(3)]
    with artefact.lock(seconds=60):
        with Journal(artefact) as journal:
            for answer in answers:
                journal.add(answer)
                journal.flush()
        assert sorted(Journal(artefact).read().values(), key=lambda answer: answer.name) == answers
        for number in range(3):
            flaky_store.put(f"{artefact.work_path}/{number}", bytes([number]) * 5000)
        make(flaky_store)
    again = Store(flaky_store.url).artefact("pools", "long", {"value": 1})
    assert again.is_done()
    assert again.read_table().equals(ROWS)
    assert pa.concat_tables(again.tables()).equals(ROWS)
    assert (again.local_folder() / "facts.json").exists()
    assert flaky_store.folders("pools") == [artefact.folder]
    assert not flaky_store.fs.exists(artefact.work_path)
    assert [path for path in flaky_store.fs.find(flaky_store.root) if "/.staging/" in path or "/.commits/" in path] == []
    with artefact.lock(seconds=60):  # and its lease was given back
        pass
    assert set(flaky.failures) == set(FAILURES), f"{flaky.requests} requests were too few"


def write(store: Store, folder: str, num_problems: int) -> None:
    for position in range(num_problems):
        row = {"position": position, "problem_id": f"p{position}", "verdict": "right", "num_response_tokens": 1, "status": "ok"}
        write_part(store, folder, [row], Stamp("run", "actor", 0.0, 0.0, 0.0))


def test_the_parts_of_a_pool_are_read_through_all_of_it_also_by_whoever_the_store_travels_to(flaky: FlakyS3, flaky_store: Store) -> None:
    flaky.every = 3
    write(flaky_store, flaky_store.root, 4)
    travelled: Store = pickle.loads(pickle.dumps(flaky_store))  # as to a Ray worker; arrow reads there
    parts = Parts(travelled, travelled.root, 4)
    assert parts.missing().tolist() == []
    assert [table["problem_id"].to_pylist() for table in parts.ordered(2)] == [["p0", "p1"], ["p2", "p3"]]
    assert sum(flaky.failures.values()) > 4


def test_a_part_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(
    flaky: FlakyS3, flaky_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady, "GIVE_UP_SECONDS", 1.0)
    write(flaky_store, flaky_store.root, 1)
    flaky.always = 503
    with pytest.raises(StoreError, match="does not answer"):
        Parts(flaky_store, flaky_store.root, 1)
    flaky.always = 0
    assert Parts(flaky_store, flaky_store.root, 1).missing().tolist() == []


@pytest.mark.parametrize("gone", ["busy for ever", "nobody listens"])
def test_a_dead_storage_ends_in_one_message_in_bounded_time(
    flaky: FlakyS3, flaky_store: Store, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr(steady, "GIVE_UP_SECONDS", 2.0)
    artefact = make(flaky_store)
    flaky.always = 503
    if gone == "nobody listens":  # a store of its own: connections that are open outlive the port
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:1"})
        artefact = Store(flaky_store.url).artefact("pools", "long", {"value": 1})
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"does not answer; seen: .*; rule: tried \d+ times in \d+ s; do: .*run again"):
        artefact.is_done()
    assert time.monotonic() - began < 110


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("operation", ["cat_file", "pipe_file"])
def test_a_storage_that_says_nothing_holds_nobody_for_ever(
    operation: str, silent: str, object_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady, "OPERATION_SECONDS", 2)
    monkeypatch.setattr(steady, "GIVE_UP_SECONDS", 1.0)
    monkeypatch.setitem(fsspec.config.conf, object_store.url.partition(":")[0], {"endpoint_url": silent})
    store = Store(object_store.url)
    began = time.monotonic()
    with pytest.raises(StoreError, match="does not answer"):
        getattr(store.fs, operation)(f"{store.root}/file", *([b"x"] if operation == "pipe_file" else []))
    assert time.monotonic() - began < 60


def test_a_courtesy_waits_a_few_seconds_for_a_dead_storage(flaky: FlakyS3, flaky_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "BRIEF_SECONDS", 1.0)
    flaky.always = 503
    began = time.monotonic()
    with pytest.raises(StoreError, match="does not answer"), steady.briefly():
        flaky_store.fs.cat_file(f"{flaky_store.root}/file")
    assert time.monotonic() - began < 60


def test_what_is_gone_already_is_removed(object_store: Store) -> None:
    object_store.fs.rm_file(f"{object_store.root}/nothing")
    object_store.fs.rm(f"{object_store.root}/nothing", recursive=True)


def test_a_read_through_an_open_file_is_asked_for_again(object_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{object_store.root}/file"
    object_store.put(path, b"0123456789")
    with object_store.fs.open(path) as file:
        ask, failures = type(file)._fetch_range, iter([OSError(errno.EBUSY, "busy")])

        def fetch(self: Any, start: int, end: int) -> bytes:
            for error in failures:
                raise error
            return bytes(ask(self, start, end))

        monkeypatch.setattr(type(file), "_fetch_range", fetch)
    with object_store.fs.open(path) as file:
        file.seek(5)
        assert file.read() == b"56789"
    assert next(failures, None) is None


@pytest.mark.parametrize("status", [403, 404])
def test_what_will_not_pass_is_asked_once(flaky: FlakyS3, flaky_store: Store, status: int) -> None:
    path = f"{flaky_store.root}/file"
    flaky_store.put(path, b"x")
    flaky.always, flaky.requests = status, 0
    with pytest.raises(StoreError if status == 403 else FileNotFoundError, match="let us in.*credentials" if status == 403 else None):
        flaky_store.fs.cat_file(path)
    assert flaky.requests <= 2, "s3fs looks for a missing file twice"


def test_a_bucket_that_is_not_there_is_told_as_such(s3_store: Store) -> None:
    missing = Store(f"s3://no-{keyed_draw(s3_store.url)}/runs")
    with pytest.raises(StoreError, match=r"not there.*make the bucket or check --storage"):
        missing.put(f"{missing.root}/file", b"x")


def test_what_google_forbids_is_told_as_such() -> None:
    def refuse() -> None:
        raise OSError("Forbidden: bucket/file\nno access")

    with pytest.raises(StoreError, match="does not let us in"):
        steady.repeated(None, "cat_file", refuse)


class Forbidden(Exception):
    status = 403


class Refreshing(Exception):
    retryable = True


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (OSError(errno.EBUSY, "SlowDown"), True),
        (OSError(errno.EINVAL, "BadDigest"), False),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://away"), True),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://away"), True),
        (Refreshing(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (Forbidden(), False),
        (ValueError(), False),
    ],
    ids=lambda value: repr(value),
)
def test_what_may_pass(error: Exception, may_pass: bool) -> None:
    assert passing.passes(error) == may_pass


def test_only_one_of_many_makes_a_file_where_the_storage_says_so(object_store: Store, store: Store) -> None:
    for each in (object_store, store):
        made = [each.create(f"{each.root}/.locks/one", str(number).encode()) for number in range(3)]
        assert made == [True, False, False]
        assert each.fs.cat_file(f"{each.root}/.locks/one") == b"0"


def test_whoever_made_a_file_knows_it_also_where_the_answer_was_lost(flaky: FlakyS3, flaky_store: Store) -> None:
    path = f"{flaky_store.root}/decision"
    flaky.lose = "decision"
    assert flaky_store.create(path, b"first")
    assert flaky.lose == ""
    assert not flaky_store.create(path, b"second")


def test_a_storage_that_cannot_refuse_a_second_file_is_found_out(monkeypatch: pytest.MonkeyPatch, s3_store: Store) -> None:
    plain = s3_store.fs.fs
    monkeypatch.setattr(plain, "pipe_file", lambda path, data, mode="overwrite": type(plain).pipe_file(plain, path, data))
    assert s3_store.create(f"{s3_store.root}/one", b"0")
    assert not s3_store.create(f"{s3_store.root}/one", b"1")
    assert s3_store.fs.cat_file(f"{s3_store.root}/one") == b"0"
