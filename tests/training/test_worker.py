"""A worker of Ray Train: what it shows may fail, and attempts on one machine leave each other's checkpoints alone."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray.train
from test_watch import record

from mixray import locks
from mixray.errors import StoreError
from mixray.locks import Fence, FencedOut
from mixray.recipe import Train
from mixray.store import Store
from mixray.training.job import Job
from mixray.training.worker import RayHost


@pytest.fixture
def job(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job of a worker that is alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray.train, "get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1))
    return Job(store.absolute_url, "students/arm-1", "arm", "t", "p", f"{store.root}/.work/students/arm-1", "m", "s", Train(), 0)


def test_a_worker_goes_on_where_the_live_file_cannot_be_written(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("The storage does not answer")

    monkeypatch.setattr(Store, "put", refuse)
    sinks = RayHost(job).sinks([])
    assert len(sinks) == 3
    for sink in sinks:
        sink.add(record(1, num_tokens=7))
        sink.close()


def attempt(job: Job, number: int) -> Job:
    """The same job with a lease's number, which is taken now."""
    store = Store(job.store_url)
    fence = Fence(store, f"{store.root}/.locks/students-arm-1.leases", number, f"attempt {number}")
    assert store.create(locks._record(fence), locks._told(fence))
    return replace(job, fence=fence)


def checkpoint_of(host: RayHost) -> Path:
    """A checkpoint that is being uploaded."""
    file = host.scratch / "step-5" / "state.json"
    file.parent.mkdir(parents=True)
    file.touch()
    return file


def test_an_attempt_that_was_taken_over_from_removes_nothing_of_the_others_when_it_starts_again(job: Job) -> None:
    first = attempt(job, 1)
    RayHost(first)
    second = attempt(job, 2)
    under_upload = checkpoint_of(RayHost(second))
    with pytest.raises(FencedOut):
        RayHost(first)
    assert under_upload.exists()


def test_an_attempt_that_learns_too_late_that_it_was_taken_over_from_removes_nothing_of_the_others(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = attempt(job, 1), attempt(job, 2)
    under_upload = checkpoint_of(RayHost(second))
    monkeypatch.setattr(Fence, "check", lambda fence: None)  # as if the other began right after
    RayHost(first)
    assert under_upload.exists()


@pytest.mark.parametrize("leased", [False, True])
def test_what_killed_workers_left_on_a_machine_is_removed(job: Job, leased: bool) -> None:
    killed = attempt(job, 1) if leased else job
    left = checkpoint_of(RayHost(killed))
    RayHost(killed)
    assert not left.exists()
    if leased:
        left = checkpoint_of(RayHost(killed))
        RayHost(attempt(job, 2))
        assert not left.exists()
