"""A pool and then a training on the cluster that RAY_ADDRESS names: `python autoscaling_driver.py FOLDER MODEL`.

What is up goes to `FOLDER/nodes.jsonl`, a line for each change: `{seconds, doing, up}`, where `up` counts nodes by role and market.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import ray
import test_train
from asking import RULE, make_problems, scripted
from scripted_engine import SlowEngine

from mixray import progress, teachers, training
from mixray.session import ray_session
from mixray.store import Store

NUM_PROBLEMS = 160
GONE_SECONDS = 120
LOOK_SECONDS = 0.2
TEACHER = {"mixray/role": "teacher"}
STUDENT = {"mixray/role": "student"}


def nodes_up() -> Counter[str]:
    """Count the nodes that are up, the head left out."""
    labels = [node["Labels"] for node in ray.nodes() if node["Alive"]]
    return Counter(f"{label['mixray/role']} {label.get('ray.io/market-type', '')}".strip() for label in labels if "mixray/role" in label)


class Watch(threading.Thread):
    """Looks at the nodes all the time."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.doing, self.up = path, "nothing", Counter[str]()

    def run(self) -> None:
        began, before = time.monotonic(), None
        while True:
            self.up = nodes_up()
            told = {"doing": self.doing, "up": dict(self.up)}
            if told != before:
                with self.path.open("a") as lines:
                    lines.write(json.dumps({"seconds": round(time.monotonic() - began, 1), **told}) + "\n")
                before = told
            time.sleep(LOOK_SECONDS)

    def wait_for_none(self, role: str) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        while any(name.startswith(role) for name in self.up):
            assert time.monotonic() < deadline, f"{self.up} {GONE_SECONDS} s after the last of them had work"
            time.sleep(LOOK_SECONDS)


def main(folder: Path, model: str) -> None:
    """Ask, train, and wait after each until its nodes are gone."""
    store, watch = Store(f"{folder}/store"), Watch(folder / "nodes.jsonl")
    with ray_session(), progress.Display() as display:
        watch.start()
        watch.doing = "asking"
        teacher = scripted(model, folder, num_gpus=4, replicas=(2, 2), labels=TEACHER, accelerator_type="L40S")
        problems = make_problems(store, [f"well? {number}" for number in range(NUM_PROBLEMS)])
        pool = teachers.run(store, "far", teacher, problems, 0, RULE, display.stage("teacher far"), SlowEngine)
        assert pool.outcome["right"] == NUM_PROBLEMS
        watch.doing = "asked"
        watch.wait_for_none("teacher")
        watch.doing = "training"
        train = test_train.SETTINGS.model_copy(update={"cpus_per_worker": 48, "labels": STUDENT, "node_wait_minutes": 3})
        student = training.run(store, "arm", test_train.make_mixture(store), model, train, 0, display.stage("train"))
        assert student.is_done()
        watch.doing = "trained"
        watch.wait_for_none("")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
