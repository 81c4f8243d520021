"""Takes the endpoint down when the driver that brought it up is gone, however it went.

Ray Serve lives on in a cluster that outlives its drivers. In such a cluster an actor that dies with the driver is the lease, and a
detached one watches it: with the lease it ends Serve and itself. A private cluster needs neither: it dies with its driver.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator

NAMESPACE = "mixray"
POLL_SECONDS = 2.0


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
        from ray import serve

        while _lives(self.lease):
            time.sleep(POLL_SECONDS)
        serve.shutdown()
        ray.kill(ray.get_runtime_context().current_actor)


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


def _lives(lease: str) -> bool:
    import ray

    try:
        ray.get_actor(lease, namespace=NAMESPACE)
    except ValueError:  # how Ray says that there is no such actor any more
        return False
    return True
