"""One Ray cluster for the whole session: starting one per test would cost more than the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mixray.session import ray_session


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A private local Ray cluster, shared by every test that asks for it."""
    with ray_session():
        yield
