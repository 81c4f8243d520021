"""Takes the endpoint down when the driver that brought it up is gone, however it went.

Ray Serve lives on in a cluster that outlives its drivers. In such a cluster an actor that dies with the driver is the lease, and a
detached one watches it: with the lease it ends Serve and itself. A private cluster needs neither: it dies with its driver.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator

NAMESPACE = "mixray"
_CONTROLLER, _SERVE = "SERVE_CONTROLLER_ACTOR", "serve"
POLL_SECONDS = 2.0
MOST_FAILURES = 300
END_SECONDS = 120.0
log = logging.getLogger("mixray.serving")


class Lease:
    """Does nothing; Ray ends it with the driver."""


class Watcher:
    """Ends Serve as soon as the lease is gone."""

    def __init__(self, lease: str) -> None:
        self.lease = lease
        threading.Thread(target=self._watch, daemon=True, name="watch").start()

    def ready(self) -> bool:
        """Tell that the watch has begun."""
        return True

    def _watch(self) -> None:
        import ray

        outlive(lambda: _lives(self.lease), lambda: time.sleep(POLL_SECONDS))
        for _ in range(MOST_FAILURES):
            try:
                if taken_down():
                    break
            except Exception:  # the controller may be on its way back
                log.exception("the endpoint cannot be taken down yet")
            time.sleep(POLL_SECONDS)
        ray.kill(ray.get_runtime_context().current_actor)


def taken_down(seconds: float = END_SECONDS) -> bool:
    """End Serve on this cluster; return whether its controller is known to be gone, which has so many seconds.

    `serve.shutdown` alone is not enough (Ray 2.60): it gives a controller that is busy five seconds to answer, and then returns as if there
    were none; one that answers and does not end in half a minute it leaves behind as well. What is left listens on, and the next
    endpoint of this cluster would meet it.
    """
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(RayError, RayServeException):  # it went while it was asked
            serve.shutdown()
        try:
            if not _lives(_CONTROLLER, _SERVE):
                return True
        except RayError as error:  # the cluster itself is gone, or going
            log.error("whether Ray Serve has ended cannot be seen: %s", error)
            return False
        if time.monotonic() > deadline:
            log.error("Ray Serve's controller did not end in %.0f s", seconds)
            return False
        time.sleep(POLL_SECONDS / 10)


def outlive(lives: Callable[[], bool], pause: Callable[[], None]) -> None:
    """Return when the lease is gone, or when nobody could say for `MOST_FAILURES` looks on end: unwatched, no endpoint may stay up."""
    num_failed = 0
    while num_failed < MOST_FAILURES:
        try:
            if not lives():
                return
            num_failed = 0
        except Exception as error:  # a cluster that is busy or restarts its head says nothing of the lease
            num_failed += 1
            if num_failed == 1:
                log.warning("whether the driver lives cannot be seen now: %r", error)
        pause()
    log.error("whether the driver lives could not be seen %d times on end; the endpoint is taken down", num_failed)


@contextlib.contextmanager
def watched() -> Iterator[str]:
    """Have the endpoint watched for the block; give the name of the lease."""
    import ray

    name = f"lease-{uuid.uuid4().hex}"
    lease = ray.remote(num_cpus=0)(Lease).options(name=name, namespace=NAMESPACE).remote()
    options = {"name": f"watch-{name}", "namespace": NAMESPACE, "lifetime": "detached"}
    watcher = ray.remote(num_cpus=0)(Watcher).options(**options).remote(name)
    ray.get(watcher.ready.remote())
    try:
        yield name
    finally:
        ray.kill(watcher)
        ray.kill(lease)


def cluster_outlives_driver() -> bool:
    """Whether this process has joined a cluster rather than started its own."""
    return bool(os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_JOB_ID"))


def _lives(name: str, namespace: str = NAMESPACE) -> bool:
    import ray

    try:
        ray.get_actor(name, namespace=namespace)
    except ValueError:  # how Ray says that there is no such actor any more
        return False
    return True
