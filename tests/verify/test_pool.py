"""Children that hang, crash or are orphaned cost only their own answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mixray.verify.pool import Child, ChildDied, Pool

HANGING = (r"(x+y+z+1)^{90}", r"(x+y+z+2)^{90}")  # small enough for the guard, large enough for minutes
HANGING_IN_C = ("3^{10^8}", r"\boxed{3}")  # arithmetic of which Math-Verify, without our guard, is not afraid
PLAIN = (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(num_children=2)
    yield pool
    pool.close()


def test_a_hanging_answer_is_unknown_and_others_are_unaffected(pool: Pool) -> None:
    opinions = pool.compare([HANGING, PLAIN, HANGING, ("x+1", "1+x")])
    assert [opinion.reason for opinion in opinions] == ["timeout", "equivalent", "timeout", "equivalent"]
    assert pool.compare([HANGING_IN_C], "library")[0].reason == "timeout"


def test_it_works_off_the_main_thread(pool: Pool) -> None:
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(pool.compare([PLAIN])[0].verdict))
    thread.start()
    thread.join()
    assert seen == ["right"]


def test_a_child_killed_by_others_is_replaced_and_the_answer_still_judged(pool: Pool) -> None:
    pool.compare([PLAIN])
    children = [child for child in psutil.Process().children() if "mixray.verify.child" in child.cmdline()]
    assert children
    for child in children:
        child.send_signal(signal.SIGKILL)
    assert pool.compare([PLAIN])[0].verdict == "right"


def worker_of(child: Child) -> psutil.Process:
    """The process that does the work; it is forked once the keeper has said that it is ready."""
    deadline = time.monotonic() + 60
    while not (workers := psutil.Process(child.process.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return workers[0]


def test_a_stopped_worker_is_killed_at_the_limit_with_its_keeper() -> None:
    child = Child()
    worker = worker_of(child)
    worker.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        child.ask(*PLAIN, seconds=0.5)
    child.kill()
    assert child.process.returncode == -signal.SIGKILL
    assert psutil.wait_procs([worker], timeout=60)[1] == []


def test_a_stopped_keeper_answers_until_its_worker_is_gone_and_then_is_slow() -> None:
    child = Child()
    worker = worker_of(child)
    child.process.send_signal(signal.SIGSTOP)
    assert child.ask(*PLAIN, seconds=30).verdict == "right"
    worker.send_signal(signal.SIGKILL)
    with pytest.raises(TimeoutError):
        child.ask(*PLAIN, seconds=0.5)
    child.kill()
    assert child.process.returncode == -signal.SIGKILL


def test_a_pool_with_a_stopped_worker_says_timeout_and_goes_on() -> None:
    before = psutil.Process().children()
    pool = Pool(num_children=1, wall_seconds=60.0)
    pool.compare([PLAIN])
    (keeper,) = set(psutil.Process().children()) - set(before)
    keeper.children()[0].send_signal(signal.SIGSTOP)
    pool.wall_seconds = 1.0
    assert pool.compare([PLAIN])[0] == ("unknown", "timeout")
    pool.wall_seconds = 60.0
    assert pool.compare([PLAIN])[0].verdict == "right"
    pool.close()


def test_a_child_that_is_gone_is_told_from_one_that_is_slow() -> None:
    child = Child()
    child.process.send_signal(signal.SIGKILL)
    with pytest.raises(ChildDied):
        child.ask(*PLAIN, seconds=30)
    child.kill()


def test_a_child_does_not_see_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXRAY_API_KEY", "secret")
    child = Child()
    with open(f"/proc/{child.process.pid}/environ", "rb") as file:
        assert b"secret" not in file.read()
    child.kill()


@pytest.mark.parametrize("wrap", ["{}", r"\text{{{}}}", "$({})$", "1+({})"])
def test_what_a_model_wrote_is_not_run(pool: Pool, tmp_path: Path, wrap: str) -> None:
    canary = tmp_path / "canary"
    payload = wrap.format(f"__import__('pathlib').Path('{canary}').touch()")
    pool.compare([("3", payload), (payload, "3")])
    assert not canary.exists()


def test_children_die_with_their_owner() -> None:
    code = """
import sys, time
from mixray.verify.pool import Pool
pool = Pool(num_children=1)
pool.compare([("x+1", "1+x")])
print("up", flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    children = psutil.Process(owner.pid).children()
    assert len(children) == 1
    owner.kill()
    owner.communicate()
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert gone
