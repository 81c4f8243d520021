"""`mixray run` of a small recipe whose stages have nodes of their own: what tests and the soak of whole runs start, kill and look at."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from labelled_nodes import LabelledNodes, titles

NUM_PROBLEMS, NUM_ASKED = 96, 16
MOST_WAIT_SECONDS = 300
RECIPE = f"""
name: placed
problems: {{source: tiny, split: train, num_problems: {NUM_PROBLEMS}, difficulty: [2, 3], seed: 1}}
teachers:
  long: &teacher
    {{model: "tiny:long", max_tokens: 384, block_rows: 4, replicas: [1, 2], max_restarts: 50, labels: {{mixray/role: teacher}},
      engine: {{max_model_len: 768, max_num_seqs: 4}}}}
  short: {{<<: *teacher, model: "tiny:short", replicas: 1}}
mixtures: {{mix: {{hard: long, easy: short, alpha: 0.2}}}}
students: {{student-s: {{model: "tiny:student-s"}}}}
train:
  {{epochs: 2, learning_rate: 1.0e-3, batch_rows: 4, max_tokens: 512, packs_multiple: 2, micro_batch_tokens: 1024, zero_stage: 2,
    workers: 2, dtype: float32, checkpoint_every_steps: 5, max_failures: 50, labels: {{mixray/role: student}}}}
serve: {{port: 0, max_model_len: 768, kv_cache_bytes: 67108864, labels: {{mixray/role: student}}}}
evaluate:
  benchmarks: {{tiny: {{source: tiny, split: test, num_problems: {NUM_ASKED}, difficulty: [2, 3], seed: 2}}}}
  max_tokens: 384
  concurrency: 4
"""


class Run:
    """The run on a cluster, again and again where it is killed, and what it has written so far."""

    def __init__(self, folder: Path, nodes: LabelledNodes) -> None:
        self.storage, self.folder, self.nodes = folder / "runs", folder, nodes
        (folder / "placed.yaml").write_text(RECIPE)
        self.start()

    def start(self) -> None:
        """Start the command, for the first time or once more."""
        self.log = self.folder / f"log-{len(list(self.folder.glob('log-*')))}"
        command = [sys.executable, "-m", "mixray.cli", "run", str(self.folder / "placed.yaml"), "--storage", str(self.storage)]
        environment = {**os.environ, **self.nodes.environment}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)

    def wait(self, until: Callable[[], Any]) -> float:
        """Wait until something holds while the command runs; return how long that took."""
        began = time.monotonic()
        while not until():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < began + MOST_WAIT_SECONDS, self.log.read_text()[-3000:]
            time.sleep(0.1)
        return time.monotonic() - began

    def end(self) -> Path:
        """Wait for the command's end and return the report's folder."""
        out, _ = self.process.communicate(timeout=MOST_WAIT_SECONDS)
        assert self.process.returncode == 0, self.log.read_text()[-3000:]
        return Path(out.strip().splitlines()[-1])

    def found(self, pattern: str) -> list[Path]:
        """Return what matches in the storage."""
        return list(self.storage.glob(pattern))

    def trace_ids(self, teacher: str) -> list[str]:
        """Return the ids of a finished pool's traces."""
        (pool,) = self.found(f"pools/{teacher}-*")
        return [value for path in pool.glob("*.parquet") for value in pq.read_table(path, columns=["trace_id"])["trace_id"].to_pylist()]


def works(node: Any, what: str) -> bool:
    """Whether a worker of a node calls itself so."""
    return any(what in title for title in titles(node))
