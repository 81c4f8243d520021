"""Two attempts of one job end in one result: real processes that race, stand still, are taken over from, and go on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import contenders
import psutil
import pytest
from test_store import ROWS, make

from mixray import locks
from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.evaluation.journal import Journal
from mixray.locks import FencedOut
from mixray.store import Artefact, Store
from mixray.teachers.parts import Parts, Stamp, write_part
from mixray.training import attempts

STALE_SECONDS = 1.0


def content(store: Store) -> dict[str, bytes]:
    """Return every file a reader may see."""
    store.fs.invalidate_cache()
    return {path: store.fs.cat_file(path) for path in store.fs.find(f"{store.root}/pools")}


def wait_until_stopped(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stopped_and_revived(store: Store, folder: Path, point: str) -> tuple[subprocess.Popen[str], str, str]:
    """Let one attempt stand still at a point, a second one take over, and the first go on; return what each of them said."""
    first = contenders.begin("make", store.url, folder, STALE_SECONDS, point)
    wait_until_stopped(first)
    with contenders.begin("make", store.url, folder, STALE_SECONDS) as second:
        out, error = second.communicate(timeout=300)
        assert second.returncode == 0, error
    artefact = contenders.artefact_of(store, "one")
    artefact.verify()
    before = content(store)
    first.send_signal(signal.SIGCONT)
    told, error = first.communicate(timeout=300)
    assert first.returncode == 0, error
    assert content(store) == before, "who was taken over from has touched nothing"
    artefact.verify()
    return first, told.strip(), out.strip()


@pytest.mark.parametrize(("point", "whose"), [("computed", "second"), ("staged", "second"), ("copying", "first")])
def test_a_writer_that_stood_still_while_another_took_over_ends_with_the_others_result(
    object_store: Store, tmp_path: Path, point: str, whose: str
) -> None:
    first, told, told_by_second = stopped_and_revived(object_store, tmp_path, point)
    assert told == told_by_second, "both hold the same to be the artefact, and it is of one of them alone"
    assert (told == str(first.pid)) == (whose == "first"), "what was decided before is finished by whoever comes"
    object_store.fs.invalidate_cache()
    assert [path for path in object_store.fs.find(object_store.root) if "/.staging/" in path or "/.commits/" in path] == []


def test_a_disk_that_other_machines_have_is_taken_over_from_as_well(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXRAY_TEST_SHARED", "1")
    first, told, told_by_second = stopped_and_revived(store, tmp_path, "computed")
    assert told == told_by_second != str(first.pid)


def test_on_a_folder_of_one_machine_the_second_waits_for_a_writer_that_stands_still(store: Store, tmp_path: Path) -> None:
    first = contenders.begin("make", store.url, tmp_path, 0.2, "computed")
    wait_until_stopped(first)
    with contenders.begin("make", store.url, tmp_path, 0.2) as second:
        with pytest.raises(subprocess.TimeoutExpired):
            second.communicate(timeout=3)
        first.send_signal(signal.SIGCONT)
        told = {process.communicate(timeout=300)[0].strip() for process in (first, second)}
    assert told == {str(first.pid)}
    assert len(list(tmp_path.glob("computed-*"))) == 1


def test_processes_that_want_the_same_at_once_end_with_one_result_with_and_without_locks(object_store: Store, tmp_path: Path) -> None:
    told = contenders.race(object_store, tmp_path, "mixed", rounds=4, num_processes=3)
    assert told["failures"] == []
    assert all(told["one_result"])
    assert told["computed"] == [1, 3, 1, 3]


def take_over(artefact: Artefact) -> None:
    fence = artefact.fence
    assert fence is not None
    later = locks.Fence(fence.store, fence.folder, fence.number + 1, "another")
    assert artefact.store.create(locks._record(later), locks._told(later))


def test_a_record_that_is_just_being_replaced_takes_nobody_over(object_store: Store) -> None:
    """A bucket mounted as a folder may show it empty for a moment."""
    artefact = object_store.artefact("pools", "long", {})
    with artefact.lock():
        fence = artefact.fence
        assert fence is not None
        object_store.put(locks._record(fence), b"")
        fence.check()


def test_who_was_taken_over_from_writes_no_part_no_answer_and_no_artefact(object_store: Store) -> None:
    artefact = object_store.artefact("pools", "long", {})
    row = {"position": 0, "problem_id": "p0", "verdict": "right", "num_response_tokens": 1, "status": "ok"}
    stamp = Stamp("run", "actor", 0.0, 0.0, 0.0)
    told = pytest.raises(FencedOut, match=r"Another attempt has taken over.*attempt 2 of another.*nothing is lost")
    with told, artefact.lock():
        journal = Journal(artefact)
        take_over(artefact)
        with pytest.raises(FencedOut):
            write_part(object_store, artefact.work_path, [row], stamp, artefact.fence)
        journal.add(StudentAnswer(Name("sums", "p0", 0), "x", "stop", 7, 0.1))
        with pytest.raises(FencedOut):
            journal.flush()
        make(object_store, 7)  # another artefact is not this attempt's
        with artefact.staging() as staging:
            staging.write_table("part-00000.parquet", ROWS)
    assert Parts(object_store, artefact.work_path, 1).missing().tolist() == [0]
    assert Journal(artefact).read() == {}
    assert not artefact.is_done()


def test_a_dead_holders_lease_is_taken_over_and_numbers_never_come_twice(object_store: Store) -> None:
    artefact = object_store.artefact("pools", "long", {})
    record = f"{object_store.root}/.locks/{artefact.kind}-{artefact.folder}.leases/000007.json"
    object_store.put(record, b'{"owner": "dead", "renewed_at": 0, "renewals": 3, "released": false, "process": null}')
    for number in (8, 9):
        with artefact.lock(seconds=10):
            assert artefact.fence is not None
            assert artefact.fence.number == number
            object_store.fs.invalidate_cache()
            assert not object_store.fs.exists(record)
    assert artefact.fence is None


def test_a_killed_holder_of_the_same_machine_is_not_waited_for(object_store: Store, tmp_path: Path) -> None:
    first = contenders.begin("make", object_store.url, tmp_path, 600.0, "computed")
    wait_until_stopped(first)
    first.kill()
    first.wait()
    with contenders.begin("make", object_store.url, tmp_path, 600.0) as second:
        out, error = second.communicate(timeout=300)
    assert out.strip() == str(second.pid), error


def test_a_training_goes_on_from_the_newest_attempt_that_has_a_checkpoint(object_store: Store) -> None:
    work, fs = f"{object_store.root}/work", object_store.fs
    listed = b'{"latest_checkpoint_result": {"checkpoint_dir_name": "checkpoint_5"}}'
    for name, snapshot in {"train-000001": listed, "train-000002": listed, "train-000003": b'{"latest_checkpoint_result": null}'}.items():
        object_store.put(f"{work}/{name}/{attempts.SNAPSHOT}", snapshot)
    object_store.put(f"{work}/training.jsonl", b"")
    assert attempts.last_checkpoint(object_store, work, "train-000004") == f"{work}/train-000002/checkpoint_5"
    fs.invalidate_cache()
    assert not fs.exists(f"{work}/train-000001")
    assert attempts.last_checkpoint(object_store, work, "train-000002") is None
