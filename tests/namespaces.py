"""Nodes of a Ray cluster in network namespaces of their own, joined by a bridge that only they see; a link of it can be cut.

Nothing of it is reachable from outside, nor from this machine's own network. A cut link carries no packet in either direction and tells
nobody, as where a switch fails: connections stay open, and wait.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))
STORE_BYTES = 80 * 2**20
START_SECONDS = 90
NETWORK, PORT = "10.77.0", 6379
# Ray's own are 3 s, 10 s and five misses: a node counts as gone after the better part of a minute.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "3000", "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}  # fmt: skip


def may_have_namespaces() -> bool:
    """Whether this process may make network namespaces and bridges."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    probe = ["unshare", "-n", "ip", "link", "add", "br0", "type", "bridge"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@dataclass
class Partitionable:
    """A head without processors and worker nodes, numbered from 1, each behind a link."""

    mark: str
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]]

    @property
    def address(self) -> str:
        return f"{NETWORK}.1:{PORT}"

    def inside(self, number: int, command: list[str]) -> list[str]:
        """Return a command as it is run in a node's namespace; 0 is the head's."""
        return ["ip", "netns", "exec", f"{self.mark}-{number}", *command]

    def cut(self, number: int) -> None:
        """Cut a node's link."""
        _ip("-n", f"{self.mark}-0", "link", "set", f"v{number}", "nomaster")

    def mend(self, number: int) -> None:
        """Mend it again."""
        _ip("-n", f"{self.mark}-0", "link", "set", f"v{number}", "master", "br0")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def partitionable(num_nodes: int, labels: str, folder: Path) -> Iterator[Partitionable]:
    """Have the cluster for the block, its nodes with two processors, one GPU by name and these labels each; leave nothing behind."""
    temporary = tempfile.mkdtemp(prefix="mx", dir="/tmp")  # short: sockets lie there
    mark = Path(temporary).name
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")}
    environment = {**kept, **HEALTH, "RAY_TMPDIR": temporary, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    made = Partitionable(mark, environment, [])
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        for number in range(num_nodes + 1):
            _ip("netns", "add", f"{mark}-{number}")
            stack.callback(_ip, "netns", "del", f"{mark}-{number}")
            _link(mark, number)
        for number in range(num_nodes + 1):
            made.nodes.append(_start(made, number, labels, folder / f"node-{number}.log"))
            stack.callback(_end, made.nodes[-1])
        yield made


def _link(mark: str, number: int) -> None:
    hub, own = f"{mark}-0", f"{mark}-{number}"
    _ip("-n", own, "link", "set", "lo", "up")
    if number == 0:
        device = "br0"
        _ip("-n", hub, "link", "add", device, "type", "bridge")
    else:
        device = "eth0"
        _ip("link", "add", f"v{number}", "netns", hub, "type", "veth", "peer", "name", device, "netns", own)
        _ip("-n", hub, "link", "set", f"v{number}", "master", "br0", "up")
    _ip("-n", own, "addr", "add", f"{NETWORK}.{number + 1}/24", "dev", device)
    _ip("-n", own, "link", "set", device, "up")


def _start(made: Partitionable, number: int, labels: str, path: Path) -> subprocess.Popen[bytes]:
    """Start a node; the head's is number 0."""
    role = ["--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false"]
    if number:
        role = [f"--address={made.address}", "--num-cpus=2", "--num-gpus=1", f"--labels={labels}"]
    command = [RAY, "start", "--block", f"--node-ip-address={NETWORK}.{number + 1}", f"--object-store-memory={STORE_BYTES}", *role]
    with path.open("w") as log:
        node = subprocess.Popen(made.inside(number, command), env=made.environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while "Ray runtime started" not in path.read_text():
        assert node.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)
    return node


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        node.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()
