"""A cluster that Ray's own autoscaler makes larger and smaller: a head without processors, and nodes of a fake provider on this machine.

The fake provider starts a real `raylet` for each node. Nothing else is made up: demands, labels, idle times and decisions are Ray's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RAY = str(Path(sys.executable).parent / "ray")
HEAD_ID = "f" * 51 + "00000"  # the fake provider's, of the head's node
HEAD_KIND = "ray.head.default"  # and its name for the head's type
STORE_BYTES = 80 * 2**20
START_SECONDS = 120
_LISTS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands", "head_start_ray_commands",
    "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip


def kind(resources: dict[str, float], labels: dict[str, str], most: int, **further: Any) -> dict[str, Any]:
    """Return a node type as a cluster file has it."""
    resources = {**resources, "object_store_memory": STORE_BYTES}
    return {"resources": resources, "labels": labels, "node_config": {}, "min_workers": 0, "max_workers": most, **further}


@contextlib.contextmanager
def growing(folder: Path, kinds: dict[str, dict[str, Any]], most: int, idle_minutes: float = 5) -> Iterator[tuple[str, dict[str, str]]]:
    """Have the cluster with up to `most` nodes of these types; give its address and the environment of its drivers."""
    temporary = tempfile.mkdtemp(prefix="mr", dir="/tmp")  # short: sockets lie there
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    provider = {
        "type": "external", "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address, "use_node_id_as_ip": True, "disable_node_updaters": True, "disable_launch_config_check": True,
        "launch_multiple": True, "head_node_id": HEAD_ID,
    }  # fmt: skip
    config = {
        "cluster_name": "fake", "max_workers": most, "upscaling_speed": 1.0, "idle_timeout_minutes": idle_minutes, "provider": provider,
        "head_node_type": HEAD_KIND,
        "available_node_types": {HEAD_KIND: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}, **kinds},
        "auth": {}, "docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False, **{name: [] for name in _LISTS},
    }  # fmt: skip
    (folder / "cluster.json").write_text(json.dumps(config))
    environment = {"RAY_TMPDIR": temporary, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    head = _head(folder, address, environment)
    try:
        yield address, environment
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)  # Ray's log monitor can outlive its head
        shutil.rmtree(temporary, ignore_errors=True)


def _head(folder: Path, address: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the head with its autoscaler."""
    fake = {
        "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    }  # fmt: skip
    command = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}", "--num-cpus=0",
               "--num-gpus=0", f"--autoscaling-config={folder / 'cluster.json'}", f"--object-store-memory={STORE_BYTES}",
               "--include-dashboard=false", "--disable-usage-stats"]  # fmt: skip
    path = folder / "head-log"
    with path.open("w") as log:
        head = subprocess.Popen(command, env={**os.environ, **environment, **fake}, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while "Ray runtime started" not in path.read_text():
        assert head.poll() is None, path.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return head
