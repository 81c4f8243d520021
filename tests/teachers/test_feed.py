"""The thread between an engine and those who ask it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mixray.errors import TeacherError
from mixray.recipe import Teacher
from mixray.store import Store
from mixray.teachers.attempts import Attempts
from mixray.teachers.engine import Completion, engine_arguments, places
from mixray.teachers.feed import Feed
from mixray.teachers.source import BadRequest


class SlowFirst:
    """Ends requests from the last to the first: the first asked is the last to end."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.released = threading.Event()
        self.closed = False

    def add(self, request_id: str, prompt: list[int], seed: int) -> None:
        if not prompt:
            raise BadRequest("an empty prompt")
        self.running.append(request_id)

    def step(self) -> list[Completion]:
        if len(self.running) == 1 and not self.released.wait(0.01):
            return []
        return [Completion(self.running.pop(), "text", "stop", 1)]

    def has_unfinished(self) -> bool:
        return bool(self.running)

    def death(self) -> str | None:
        return None

    def close(self) -> None:
        self.closed = True


def test_a_slow_request_holds_up_no_other_and_later_ones_join() -> None:
    engine = SlowFirst()
    feed = Feed(lambda: engine, lambda error: None)
    slow = feed.ask([1], seed=0)
    for _ in range(3):
        assert feed.ask([1], seed=0).result(timeout=10).text == "text"
    assert not slow.done()
    engine.released.set()
    assert slow.result(timeout=10).seconds > 0
    feed.close()
    assert engine.closed


def test_a_refused_request_ends_alone() -> None:
    engine = SlowFirst()
    engine.released.set()
    feed = Feed(lambda: engine, lambda error: None)
    refused, fine = feed.ask([], seed=0), feed.ask([1], seed=0)
    with pytest.raises(BadRequest, match="empty prompt"):
        refused.result(timeout=10)
    assert fine.result(timeout=10).finish_reason == "stop"
    feed.close()


def test_an_engine_that_does_not_start_says_so() -> None:
    def make() -> SlowFirst:
        raise OSError("no such model")

    with pytest.raises(OSError, match="no such model"):
        Feed(make, lambda error: None)


@pytest.mark.parametrize(
    ("step", "death", "told"),
    [("raise RuntimeError('broken')", "None", "broken"), ("time.sleep(60)", "'its process is gone'", "its process is gone")],
    ids=["raises", "waits for ever"],
)
def test_an_engine_that_fails_takes_its_process_with_it(tmp_path: Path, step: str, death: str, told: str) -> None:
    code = f"""
import time
from pathlib import Path
from mixray.teachers.feed import Feed
class Broken:
    def add(self, request_id, prompt, seed): pass
    def has_unfinished(self): return True
    def step(self): {step}
    def death(self): return {death}
    def close(self): pass
Feed(Broken, lambda error: Path({str(tmp_path / "note")!r}).write_text(str(error)))
time.sleep(300)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert told in ended.stderr
    assert (tmp_path / "note").read_text() == told


def test_starts_without_progress_come_to_an_end(store: Store) -> None:
    attempts = Attempts(store, f"{store.root}/starts", limit=2)
    attempts.died(attempts.begin(), RuntimeError("out of memory"))
    attempts.begin()
    with pytest.raises(TeacherError, match="out of memory"):
        attempts.begin()
    attempts.clear()
    attempts.begin()
    assert attempts.last_words() is None


def test_places_follow_the_recipe() -> None:
    assert places(Teacher(model="x", engine={"max_num_seqs": 8})) == 8
    assert places(Teacher(model="x")) == places(Teacher(model="x", num_gpus=1)) == engine_arguments(Teacher(model="x"))["max_num_seqs"]
