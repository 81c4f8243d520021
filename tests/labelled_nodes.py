"""Nodes of a real Ray cluster that have roles, come, and go as machines do: with all their processes at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import psutil

STORE_BYTES = 100 * 2**20


@dataclass
class LabelledNodes:
    """A head without processors, and whatever nodes are added."""

    cluster: Any
    of_role: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a driver's process needs to find it."""
        return {"RAY_ADDRESS": self.cluster.address, "RAY_AUTH_MODE": "disabled"}

    def add(self, role: str, num_cpus: int, **resources: float) -> Any:
        """Add a node labelled `mixray/role: ROLE`."""
        node = self.cluster.add_node(num_cpus=num_cpus, object_store_memory=STORE_BYTES, labels={"mixray/role": role}, **resources)
        self.of_role.setdefault(role, []).append(node)
        return node

    def kill(self, role: str) -> Any:
        """Take the oldest node of a role away, as a machine goes whose power is cut; return it."""
        node = self.of_role[role].pop(0)
        for process in processes(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)
        return node


def processes(node: Any) -> list[psutil.Process]:
    """Return what runs on a node, but for its raylet."""
    try:
        return list(psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def titles(node: Any) -> set[str]:
    """Return what the workers of a node call themselves now, such as `ray::RayTrainWorker.run`."""
    found = set()
    for process in processes(node):
        with contextlib.suppress(psutil.Error):
            found |= {word.strip() for word in process.cmdline()[:1] if word.startswith("ray::")}
    return found


@contextlib.contextmanager
def labelled_nodes() -> Iterator[LabelledNodes]:
    """Have the cluster for the block; leave no process behind."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="mx-", dir="/tmp")  # short: sockets lie there
    with patch.dict(os.environ, RAY_AUTH_MODE="disabled", RAY_TMPDIR=folder), contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        stack.callback(cluster.shutdown)
        yield LabelledNodes(cluster)
