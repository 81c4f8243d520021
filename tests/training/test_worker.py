"""A worker of Ray Train: what it shows may fail."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray.train
from test_watch import record

from mixray.errors import StoreError
from mixray.recipe import Train
from mixray.store import Store
from mixray.training.job import Job
from mixray.training.worker import RayHost


@pytest.fixture
def job(store: Store, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job of a worker that is alone."""
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
