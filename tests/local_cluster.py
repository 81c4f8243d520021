"""A Ray cluster of two nodes on loopback, as job tests and benchmarks use it: a head that runs nothing, a worker node, a token.

Its processes are children of this one, with ports and a temporary folder of their own; they are ended by their ids.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))
START_SECONDS = 180
START_ATTEMPTS = 3
STOP_SECONDS = 60
# `ray start` joins no second node where Ray is told to stay on loopback; this does. It ends with its standard input.
NODES = """
import json, sys
from ray.cluster_utils import Cluster

head, worker = json.loads(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args=head)
node = cluster.add_node(**worker)
print("up", node.node_id, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@dataclass
class LocalCluster:
    """Where it is, and what a process needs to speak to it."""

    address: str
    """Of the job server."""
    environment: dict[str, str]
    metrics_ports: list[int]
    """One for each node, the head's first."""
    worker_node: str
    """Its id."""
    folder: Path

    def mixray(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command of mixray's in its folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "mixray.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.folder, env={**self.environment, **variables},
        )  # fmt: skip

    def metrics(self) -> str:
        """Return what every node exports for Prometheus."""
        return "".join(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode() for port in self.metrics_ports)


@contextlib.contextmanager
def local_cluster(folder: Path, num_cpus: int = 4) -> Iterator[LocalCluster]:
    """Have a cluster whose worker node has so many CPUs; `folder` is where commands run."""
    temp = tempfile.mkdtemp(prefix="mj-", dir=os.environ.get("RAY_TMPDIR") or None)  # short: sockets lie in it
    token = Path(temp, "token")
    token.write_text(secrets.token_hex(16))
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": temp,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    dashboard, *metrics = free_ports(3)
    address, store_bytes = f"http://127.0.0.1:{dashboard}", 100_000_000
    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": dashboard}
    nodes = [head, {"num_cpus": num_cpus}]
    for node, port in zip(nodes, metrics, strict=True):
        agent, listen = free_ports(2)
        node |= {"metrics_export_port": port, "metrics_agent_port": agent, "dashboard_agent_listen_port": listen}
        node["object_store_memory"] = store_bytes
    # A node unpacks what travels with a job over what is there: with one folder for both, from under a driver that runs.
    nodes[1]["runtime_env_dir_name"] = "resources_of_the_worker"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, temp, ignore_errors=True)
        worker_node = stack.enter_context(_nodes(nodes, environment))
        _wait(lambda: _answers(address, token.read_text()))
        yield LocalCluster(address, environment | {"RAY_API_SERVER_ADDRESS": address}, metrics, worker_node, folder)


@contextlib.contextmanager
def _nodes(nodes: list[dict[str, object]], environment: dict[str, str]) -> Iterator[str]:
    """Have the nodes up; give the worker node's id."""
    process, worker_node = _started(nodes, environment)
    try:
        yield worker_node
    finally:
        _end(process)


def _started(nodes: list[dict[str, object]], environment: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """Start the nodes, again where that fails: Ray gives a busy machine half a minute and no more."""
    path = Path(environment["RAY_TMPDIR"], "nodes.log")
    for _ in range(START_ATTEMPTS):
        with path.open("w") as log:
            command = [sys.executable, "-c", NODES, json.dumps(nodes)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        assert process.stdout is not None
        told = next((line.split() for line in process.stdout if line.startswith("up ")), None)
        if told is not None:
            return process, told[1]
        _end(process)
    raise AssertionError(path.read_text())


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _answers(address: str, token: str) -> bool:
    request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as reply:
        return bool(reply.status == 200)
    return False
