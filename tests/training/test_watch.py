"""Watching: the live file, TensorBoard's files, trackers that are named but not there."""

from __future__ import annotations

import json
import struct
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from tensorboardX.proto.event_pb2 import Event

from mixray import steady
from mixray.errors import MixrayError, StoreError, TrainingError
from mixray.locks import FencedOut
from mixray.recipe import Train
from mixray.store import Store
from mixray.training import fit, state, watch


def record(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "step": step, "loss": 3.0 / step, "grad_norm": 1.0, "learning_rate": 1e-5, "tokens_per_second": 1000.0, "mfu": None,
        "padding_share": 0.01, "peak_memory_bytes": 10**9, "time": 1.7e9 + step,
    } | changes  # fmt: skip


def events_in(folder: Path) -> list[Event]:
    """Read event files as TensorBoard does: length, checksum, event, checksum."""
    found = []
    for path in sorted(folder.glob("events*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_the_live_file_holds_every_step_and_goes_on_where_a_checkpoint_left_it() -> None:
    written: list[bytes] = []
    live = watch.LiveFile(written.append, [record(1), record(2)])
    live.add(record(3))
    live.close()
    assert [json.loads(line)["step"] for line in written[-1].splitlines()] == [1, 2, 3]


def test_the_live_file_is_written_less_often_the_longer_it_is() -> None:
    written: list[bytes] = []
    live = watch.LiveFile(written.append, [])
    for step in range(1, 2001):
        live.add(record(step))
    assert 1 <= len(written) < 20
    live.close()
    assert len(written[-1].splitlines()) == 2000


@pytest.mark.parametrize("storage", ["store", "s3_store", "gcs_store"])
def test_the_last_step_is_shown_whenever_it_is_looked_at_also_while_the_file_is_replaced(
    storage: str, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(storage)
    work_path = f"{store.root}/.work/students/arm"
    assert state.last_record(store, work_path) is None, "before the first step"
    live = watch.LiveFile(lambda records: store.put(f"{work_path}/{state.RECORDS}", records), [])

    def train() -> None:
        for step in range(1, 101):
            live.add(record(step))
            live.close()

    seen = []
    with ThreadPoolExecutor() as pool:
        training = pool.submit(train)
        while not training.done():
            seen.append(state.last_record(store, work_path))
    training.result()
    steps = [shown["step"] for shown in seen if shown]
    assert steps == sorted(steps)
    assert len(set(steps)) > 10
    assert state.last_record(store, work_path) == record(100)


def test_what_is_shown_ends_nothing_where_the_storage_is_away(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "GIVE_UP_SECONDS", 0.0)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:1"})  # nobody listens
    away = Store(s3_store.url)
    with pytest.raises(StoreError, match="does not answer"):
        away.fs.cat_file(f"{away.root}/file")
    assert state.last_record(away, f"{away.root}/.work/students/arm") is None


def test_tensorboard_gets_every_curve_at_its_step_and_time(tmp_path: Path) -> None:
    watch.write_tensorboard(tmp_path, [record(1, mfu=0.5), record(2)])
    values = {
        (event.step, value.tag): (value.simple_value, event.wall_time) for event in events_in(tmp_path) for value in event.summary.value
    }
    assert values[2, "loss"] == (1.5, 1.7e9 + 2)
    assert {tag for step, tag in values if step == 1} == set(watch.CURVES)
    assert (2, "mfu") not in values


def test_steps_taken_again_after_a_restart_replace_those_before(tmp_path: Path) -> None:
    board = watch.TensorBoard(tmp_path, first_step=4)
    board.add(record(5))
    board.close()
    assert any(event.HasField("session_log") and event.step == 4 for event in events_in(tmp_path))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_named_but_not_installed_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not there, should it be
    with pytest.raises(TrainingError, match=rf"train\.{name} names {name}.*pip install {name}"):
        watch.trackers("students/arm-1", Train.model_validate({name: {}}))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_cannot_be_opened_is_told_at_the_beginning_and_left_out_where_a_training_goes_on(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("nobody listens")

    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(init=away, set_experiment=away))
    train = Train.model_validate({name: {}})
    with pytest.raises(ConnectionError):
        watch.trackers("students/arm-1", train)
    assert watch.trackers("students/arm-1", train, goes_on=True) == []
    assert "nobody listens" in caplog.text


class Failing:
    """A sink that fails for a while."""

    def __init__(self, error: Exception, seconds: float = 0.0) -> None:
        self.error: Exception | None = error
        self.seconds = seconds
        self.seen: list[int] = []
        self.tried = 0

    def _fail(self) -> None:
        self.tried += 1
        if self.error is not None:
            time.sleep(self.seconds)
            raise self.error

    def add(self, record: dict[str, Any]) -> None:
        self._fail()
        self.seen.append(record["step"])

    def close(self) -> None:
        self._fail()


@pytest.mark.parametrize("error", [StoreError("The storage does not answer"), RuntimeError("429 Too Many Requests")])
def test_what_is_only_shown_ends_no_training_and_is_told_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "LEFT_ALONE", 0.0)
    sink = Failing(error)
    borne = watch.Borne(sink)
    for step in range(1, 10):
        borne.add(record(step))
    borne.close()
    assert sink.tried == 10
    told = [line.message for line in caplog.records if line.name.startswith("mixray")]
    assert told == [f"Failing fails, and training goes on: {type(error).__name__}: {error}"]
    sink.error = None
    borne.add(record(10))
    assert sink.seen == [10]


def test_a_sink_that_holds_a_training_up_is_left_alone_for_a_while_and_gets_then_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LEFT_ALONE", 10_000.0)
    sink = Failing(TimeoutError(), seconds=0.05)
    borne = watch.Borne(sink)
    for step in range(1, 100):
        borne.add(record(step))
    assert sink.tried == 1
    sink.error = None
    borne.close()
    assert sink.seen == list(range(2, 100))


def test_a_live_file_that_could_not_be_written_has_every_step_once_it_can() -> None:
    written: list[bytes] = []
    away = [StoreError("The storage does not answer")]

    def put(data: bytes) -> None:
        if away:
            raise away.pop()
        written.append(data)

    borne = watch.Borne(watch.LiveFile(put, []))
    for step in range(1, 6):
        borne.add(record(step))
    borne.close()
    assert [json.loads(line)["step"] for line in written[-1].splitlines()] == [1, 2, 3, 4, 5]


def test_another_attempt_that_took_over_ends_the_training_by_what_is_shown_too() -> None:
    borne = watch.Borne(Failing(FencedOut("Another attempt has taken over from this one")))
    with pytest.raises(FencedOut):
        borne.add(record(1))
    with pytest.raises(FencedOut):
        borne.close()


def test_workers_start_again_where_the_storage_failed_them_and_not_where_the_same_steps_would_end_alike() -> None:
    callback = fit._no_second_try()

    def ends(*errors: Exception) -> MixrayError | None:
        try:
            callback.after_exception(None, dict(enumerate(UserExceptionWithTraceback(error, "") for error in errors)))
        except MixrayError as error:
            return error
        return None

    away, fenced, lasting = StoreError("The storage does not answer"), FencedOut("taken over"), TrainingError("The loss is no number")
    assert ends(away) is None
    assert ends(RuntimeError("a worker died"), away) is None
    assert ends(fenced) is fenced
    assert ends(away, lasting) is lasting
    assert ends(fenced, away) is fenced


def test_sinks_are_closed_however_a_training_ends() -> None:
    closed = []

    class Sink:
        def add(self, record: dict[str, Any]) -> None: ...

        def close(self) -> None:
            closed.append(self)

    with pytest.raises(RuntimeError), watch.closing([Sink(), Sink()]):
        raise RuntimeError
    assert len(closed) == 2
