"""Serve in a cluster that outlives its driver: when the driver is gone, so is the endpoint, and who stands by it is told."""

from __future__ import annotations

import io
import time

import pytest

from mixray.errors import ServingError
from mixray.progress import Display
from mixray.serving.vigil import Vigil, stand_by
from mixray.serving.watch import NAMESPACE, watched


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_serve_ends_with_the_lease_and_not_before() -> None:
    import ray
    from ray import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Nothing:
        pass

    def running() -> bool:
        try:
            return bool(serve.status().applications)
        except ray.exceptions.RayActorError:  # asked while the controller was going
            return False

    serve.start(http_options={"host": "127.0.0.1", "port": 0}, proxy_location="Disabled")
    try:
        serve.run(Nothing.bind(), name="nothing", route_prefix=None)
        with watched() as lease:
            time.sleep(3)
            assert serve.status().applications["nothing"].status == "RUNNING"
            ray.kill(ray.get_actor(lease, namespace=NAMESPACE))  # what Ray does to it when the driver is killed
            deadline = time.monotonic() + 180
            while running() and time.monotonic() < deadline:
                time.sleep(0.5)
            assert not running()
        with pytest.raises(ServingError, match="taken down by somebody else"):
            stand_by(Vigil([], may_sleep=False), Display(io.StringIO()))
    finally:
        serve.shutdown()
