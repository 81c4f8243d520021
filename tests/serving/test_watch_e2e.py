"""Serve in a cluster that outlives its driver: when the driver is gone, so is the endpoint, and who stands by it is told."""

from __future__ import annotations

import io
import threading
import time

import psutil
import pytest
from processes import processes
from waiting import until

from mixray.errors import ServingError
from mixray.progress import Display
from mixray.serving.vigil import Vigil, stand_by
from mixray.serving.watch import NAMESPACE, taken_down, watched


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
        except (ray.exceptions.RayError, ray.serve.exceptions.RayServeException):  # asked while the controller was going
            return False

    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 0}, proxy_location="Disabled")
        serve.run(Nothing.bind(), name="nothing", route_prefix=None)
        with watched() as lease:
            time.sleep(3)
            assert serve.status().applications["nothing"].status == "RUNNING"
            ray.kill(ray.get_actor(lease, namespace=NAMESPACE))  # what Ray does to it when the driver is killed
            assert until(lambda: not running(), 180)
        with pytest.raises(ServingError, match="taken down by somebody else"):
            stand_by(Vigil([], may_sleep=False), Display(io.StringIO()))
    finally:
        taken_down()


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_serve_ends_also_where_its_controller_does_not_answer_for_a_while() -> None:
    """`serve.shutdown` gives it five seconds and then returns as if there were nothing to end."""
    from ray import serve

    serve.start(http_options={"host": "127.0.0.1", "port": 0}, proxy_location="Disabled")
    (controller,) = processes("ServeController")
    controller.suspend()
    timer = threading.Timer(8, controller.resume)
    timer.start()
    try:
        assert taken_down()
    finally:
        timer.join()
    assert serve.status().applications == {}
    assert psutil.wait_procs([controller], timeout=60)[1] == []
