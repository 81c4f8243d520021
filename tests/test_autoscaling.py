"""What a cloud would do with `cluster/aws.yaml`: its own node types come when a stage asks for them and go when it is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from growing import growing, kind

pytestmark = pytest.mark.soak
TESTS = Path(__file__).parent
CLUSTER = TESTS.parent / "cluster" / "aws.yaml"
IDLE_SECONDS = 5
"""Instead of the file's minutes: all that is changed of its node types."""


def node_types() -> tuple[dict[str, dict[str, Any]], int]:
    """Return the node types of the cluster file and how many nodes there may be."""
    data = yaml.safe_load(CLUSTER.read_text())
    types = {name: each for name, each in data["available_node_types"].items() if name != data["head_node_type"]}
    kept = ("priority",)
    kinds = {
        name: kind(
            each["resources"], each["labels"], each["max_workers"], idle_timeout_s=IDLE_SECONDS,
            **{key: each[key] for key in kept if key in each},
        )
        for name, each in types.items()
    }  # fmt: skip
    return kinds, data["max_workers"]


def most(history: list[dict[str, Any]], role: str) -> int:
    return max(sum(number for name, number in line["up"].items() if name.startswith(role)) for line in history)


def test_nodes_come_for_a_stage_and_go_after_it(tmp_path: Path, random_student: str) -> None:
    kinds, at_most = node_types()
    with growing(tmp_path, kinds, at_most, idle_minutes=IDLE_SECONDS / 60) as (address, environment):
        path = os.pathsep.join([str(TESTS), str(TESTS / "teachers"), str(TESTS / "training"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(TESTS / "autoscaling_driver.py"), str(tmp_path), random_student]
        driver = subprocess.run(
            command, capture_output=True, text=True, timeout=550,
            env={**os.environ, **environment, "RAY_ADDRESS": address, "PYTHONPATH": path},
        )  # fmt: skip
    history = [json.loads(line) for line in (tmp_path / "nodes.jsonl").read_text().splitlines()]
    print("".join(f"{line['seconds']:6.1f} s  {line['doing']:9} {line['up']}\n" for line in history))
    assert driver.returncode == 0, driver.stderr[-3000:]
    asking, training = ([line for line in history if line["doing"] == doing] for doing in ("asking", "training"))
    assert history[0]["up"] == {}
    assert (most(asking, "teacher"), most(asking, "student")) == (2, 0)
    assert (most(training, "teacher"), most(training, "student")) == (0, 2)
    assert history[-1]["up"] == {}
    markets = {name.split()[1] for line in history for name in line["up"] if " " in name}
    assert markets == {"spot"}, "at the list price only where there are no spot machines"
