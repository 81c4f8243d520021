"""Clusters for tests: nodes that are added, lost and drained, and trainings that join them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_train
from cluster_driver import SNAPSHOT
from growing import RAY

from mixray import training
from mixray.store import Artefact, Store

LABELS = {"mixray/role": "student"}
"""Of every node that can train."""


class Nodes:
    """A head without processors, and nodes of one each that a test adds and takes away."""

    def __init__(self, folder: str) -> None:
        self.environment = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        with self._environment():
            from ray.cluster_utils import Cluster

            self.cluster = Cluster(
                initialize_head=True,
                head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20},
            )

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    def have(self, number: int) -> list[Any]:
        """Return so many nodes, added or taken away as need be."""
        while len(self.cluster.worker_nodes) > number:
            self.lose(next(iter(self.cluster.worker_nodes)))
        with self._environment():
            while len(self.cluster.worker_nodes) < number:
                self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, labels=LABELS)
        return list(self.cluster.worker_nodes)

    def lose(self, node: Any) -> None:
        self.cluster.remove_node(node, allow_graceful=False)

    def drain(self, node: Any, seconds: int) -> None:
        """Tell a node to go, as the provider of a spot machine does through the autoscaler."""
        command = [RAY, "drain-node", "--address", self.cluster.address, "--node-id", node.node_id]
        command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", str(seconds)]
        subprocess.run(command, env={**os.environ, **self.environment}, check=True, timeout=60, capture_output=True)


class Driver:
    """A training in a process of its own, and what its workers have told."""

    def __init__(self, folder: Path, address: str, environment: dict[str, str], **order: Any) -> None:
        self.folder, self.store = folder, Store(str(folder / "store"))
        self.order = {"store": self.store.url, "events": str(folder / "events"), **order}
        (folder / "order.json").write_text(json.dumps({**self.order, "train": order["train"].model_dump(mode="json")}))
        command = [sys.executable, str(Path(__file__).parent / "cluster_driver.py"), str(folder / "order.json")]
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment, "RAY_ADDRESS": address}, stderr=(folder / "log").open("w"), stdout=subprocess.DEVNULL
        )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def events(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in Path(self.order["events"]).read_text().splitlines()]
        except FileNotFoundError:
            return []

    def wait(self, condition: Callable[[], Any], seconds: float = 120) -> float:
        """Wait for a condition, and return how long that took."""
        began = time.monotonic()
        while not condition():
            assert self.process.poll() is None, self.log()[-3000:]
            assert time.monotonic() - began < seconds, self.log()[-3000:]
            time.sleep(0.05)
        return time.monotonic() - began

    def steps(self, size: int) -> list[int]:
        """Return the steps that the first worker of a group of this size has begun."""
        return [event["step"] for event in self.events() if (event["event"], event["rank"], event["size"]) == ("step", 0, size)]

    def has_stored(self) -> bool:
        """Whether a checkpoint counts."""
        return Path(self.student().work_path, SNAPSHOT).exists()

    def end(self, seconds: float = 180) -> int:
        return self.process.wait(seconds)

    def student(self) -> Artefact:
        mixture = test_train.make_mixture(self.store)
        return training.handle(self.store, "arm", mixture, self.order["student"], self.order["train"], 0)
