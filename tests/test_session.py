"""A session's Ray does not change how the program around it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mixray import session
from mixray.errors import ClusterError
from mixray.session import is_private, ray_session

PROGRAM = """
import os, signal
from mixray.session import ray_session

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with ray_session():
        os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("interrupted")
"""


WHERE = """
import sys
import ray
from mixray.session import is_private, ray_session

assert not is_private()
with ray_session():
    assert is_private()
    assert ray.get(ray.remote(is_private).remote())
    sys.stdout.write("both know")
assert not is_private()
"""


def test_a_driver_and_its_workers_know_that_the_cluster_is_their_own() -> None:
    done = subprocess.run([sys.executable, "-c", WHERE], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "both know"), done.stderr


ACTOR = """
import json, logging, sys
from pathlib import Path
import ray
from mixray.ids import run_id
from mixray.session import log_in_actor, logs_folder, ray_session

class Speaker:
    def speak(self):
        for _ in range(2):
            log_in_actor("teacher long")
        logging.getLogger("mixray.teachers").info("up")

with ray_session():
    log_in_actor("nothing: this is no actor")
    ray.get(ray.remote(Speaker).remote().speak.remote())
    (line,) = [line for path in Path(logs_folder()).glob("mixray-*.jsonl") for line in path.read_text().splitlines()]
    told = json.loads(line)
    assert told["run"] == run_id(), told
    sys.stdout.write(f"{told['stage']}, {told['logger']}: {told['text']}")
"""


def test_an_actor_logs_beside_rays_own_logs_with_the_ids_of_its_run_and_stage() -> None:
    done = subprocess.run([sys.executable, "-c", ACTOR], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "teacher long, mixray.teachers: up"), done.stderr


def test_a_session_within_another_uses_its_ray_and_leaves_it_up(ray_cluster: None) -> None:
    import ray

    node = ray.get_runtime_context().get_node_id()
    with ray_session():
        assert ray.get_runtime_context().get_node_id() == node
    assert is_private()
    with pytest.raises(ZeroDivisionError), ray_session():
        raise ZeroDivisionError
    assert ray.get_runtime_context().get_node_id() == node


def test_ray_that_somebody_else_started_in_this_process_is_neither_used_nor_ended(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(session, "_open", [])  # as where no session is
    with pytest.raises(ClusterError, match=r"this process has started Ray itself.*ray\.shutdown\(\)"), ray_session():
        pass
    assert ray.is_initialized()


def test_the_address_of_a_job_server_is_told_from_a_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ClusterError, match=r"job server's; seen: http://127\.0\.0\.1:8265;.*mixray submit"), ray_session():
        pass


def test_sigterm_keeps_the_handler_it_had() -> None:
    """`mixray` ends on it as on Ctrl-C, and says how to go on; Ray's own handler would leave at once."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr
