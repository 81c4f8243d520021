"""What the owner of an endpoint hears while it stands, from what Ray Serve says of it; and who watches when the owner is gone."""

from __future__ import annotations

import pytest
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview, ServeStatus

from mixray.errors import ServingError
from mixray.serving import watch
from mixray.serving.adapters import Group
from mixray.serving.app import APP_NAME
from mixray.serving.vigil import SILENCE_SECONDS, Vigil

ENGINES = [Group("tiny.short", "folder"), Group("shared-1", "folder", {"one": "a", "two": "b"})]


def told(message: str = "", **running: int) -> ServeStatus:
    """Return what Serve says of students with so many replicas."""
    deployments = {
        f"StudentServer:{name.replace('__', '-')}": DeploymentStatusOverview(
            status="HEALTHY" if number else "UNHEALTHY", status_trigger="UNSPECIFIED", replica_states={"RUNNING": number} if number else {},
            message=message,
        )
        for name, number in running.items()
    }  # fmt: skip
    application = ApplicationStatusOverview(ApplicationStatus.RUNNING, "", 0.0, deployments)
    return ServeStatus(applications={APP_NAME: application})


def test_a_student_that_goes_is_told_once_and_once_when_it_is_back() -> None:
    vigil = Vigil(ENGINES, may_sleep=False)
    looks = [
        told(tiny_short=1, shared__1=1),
        told("Traceback\nRuntimeError: out of memory", tiny_short=0, shared__1=1),
        told("x", tiny_short=0, shared__1=1),
        told(tiny_short=1, shared__1=1),
    ]
    assert [vigil.news(look) for look in looks] == [
        [], ["tiny.short: gone (RuntimeError: out of memory); Ray Serve tries to bring it back"], [], ["tiny.short: back"],
    ]  # fmt: skip


def test_students_of_one_engine_are_told_by_their_names() -> None:
    (line,) = Vigil(ENGINES, may_sleep=False).news(told("no memory", shared__1=0))
    assert line.startswith("one, two: gone (no memory)")


def test_a_student_that_may_sleep_is_not_missed() -> None:
    asleep = told(tiny_short=1)
    asleep.applications[APP_NAME].deployments["StudentServer:tiny_short"].replica_states = {}
    assert Vigil(ENGINES, may_sleep=True).news(asleep) == []
    assert Vigil(ENGINES, may_sleep=False).news(asleep) == ["tiny.short: gone (no replica runs); Ray Serve tries to bring it back"]


def test_an_endpoint_that_was_deleted_is_not_stood_by() -> None:
    with pytest.raises(ServingError, match="taken down by somebody else"):
        Vigil(ENGINES, may_sleep=False).news(ServeStatus())


def test_serve_may_be_silent_for_a_while() -> None:
    vigil = Vigil(ENGINES, may_sleep=False)
    vigil.silence(TimeoutError(), 0)
    vigil.silence(TimeoutError(), SILENCE_SECONDS - 1)
    vigil.news(told(tiny_short=1))
    vigil.silence(TimeoutError(), SILENCE_SECONDS + 1)
    with pytest.raises(ServingError, match="does not answer any more"):
        vigil.silence(TimeoutError(), 2 * SILENCE_SECONDS + 1)


def test_only_a_driver_that_is_gone_ends_the_watch_and_what_cannot_be_seen_is_looked_at_again() -> None:
    signs = iter([True, RuntimeError("the head restarts"), TimeoutError(), True, False, True])
    seen = []

    def lives() -> bool:
        sign = next(signs)
        seen.append(sign)
        if isinstance(sign, Exception):
            raise sign
        return sign

    watch.outlive(lives, lambda: None)
    assert seen[-1] is False
    assert len(seen) == 5


def test_a_driver_that_nobody_can_see_is_not_waited_for_without_end() -> None:
    looks = []

    def lives() -> bool:
        looks.append(1)
        raise RuntimeError("no head")

    watch.outlive(lives, lambda: None)
    assert len(looks) == watch.MOST_FAILURES
