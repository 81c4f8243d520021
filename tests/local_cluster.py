"""A Ray cluster of two nodes on loopback, as job tests and benchmarks use it: a head that runs nothing, a worker node, a token.

Its processes are children of this one, with ports and a temporary folder of their own; they are ended by their ids.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
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
START_SECONDS = 120
STOP_SECONDS = 60


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
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # with 0 there is one node; each is given its loopback address below
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    gcs, client, dashboard, *metrics = free_ports(5)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, temp, ignore_errors=True)
        head = ["--head", f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--num-cpus=0"]
        head.append(f"--ray-client-server-port={client}")
        stack.enter_context(_node([*head, f"--temp-dir={temp}"], metrics[0], environment))
        address = f"http://127.0.0.1:{dashboard}"
        _wait(lambda: _answers(address, token.read_text()) is not None, temp)
        stack.enter_context(_node([f"--address=127.0.0.1:{gcs}", f"--num-cpus={num_cpus}"], metrics[1], environment))
        _wait(lambda: bool(_workers(address, token.read_text())), temp)
        (worker,) = _workers(address, token.read_text())
        yield LocalCluster(address, environment | {"RAY_API_SERVER_ADDRESS": address}, metrics, worker, folder)


@contextlib.contextmanager
def _node(options: list[str], metrics_port: int, environment: dict[str, str]) -> Iterator[None]:
    agent, listen = free_ports(2)
    command = [RAY, "start", "--block", "--disable-usage-stats", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1", *options]
    command += [f"--metrics-export-port={metrics_port}", f"--dashboard-agent-grpc-port={agent}", f"--dashboard-agent-listen-port={listen}"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    with open(Path(environment["RAY_TMPDIR"], f"node-{metrics_port}.log"), "w") as log:
        node = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            yield
        finally:
            node.send_signal(signal.SIGTERM)
            try:
                node.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(until: Callable[[], bool], folder: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not until():
        assert time.monotonic() < deadline, "\n".join(path.read_text() for path in Path(folder).glob("node-*.log"))
        time.sleep(0.2)


def _answers(address: str, token: str, path: str = "/api/jobs/") -> bytes | None:
    request = urllib.request.Request(address + path, headers={"Authorization": f"Bearer {token}"})
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(request, timeout=5).read()
    return None


def _workers(address: str, token: str) -> list[str]:
    """Return the ids of the nodes that are up, but for the head's."""
    told = _answers(address, token, "/api/v0/nodes?detail=1")
    nodes = [] if told is None else json.loads(told)["data"]["result"]["result"]
    return [node["node_id"] for node in nodes if node["state"] == "ALIVE" and not node["is_head_node"]]
