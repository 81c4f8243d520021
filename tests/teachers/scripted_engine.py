"""A teacher that misbehaves on cue: the first word of a question says how. It stands for faults, never for vLLM."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mixray.chat import load_tokenizer
from mixray.recipe import Teacher
from mixray.teachers.engine import Completion
from mixray.teachers.source import BadRequest

FINE = r"it is \boxed{4}"
ENDINGS = {
    "well": (FINE, "stop"),
    "garbage": ("\x00\x01\ufffd]]{{ \\boxed{", "stop"),
    "empty": (" ", "stop"),
    "loop": ("Wait, let me check that again. " * 60 + FINE, "stop"),
    "cut": (f"so far {FINE} but", "length"),
    "wrong": (r"it is \boxed{5}", "stop"),
    "abort": (FINE, "abort"),
}


class ScriptedEngine:
    """Answers one request in each step. `crash` fails and `kill` kills, once each in `engine["folder"]`; `die` always fails.

    `engine["no_start"]` has the numbers of the starts that fail, from 1.
    `sometimes` is right for one seed in three; `refuse` is refused. Each start leaves a file `started-<pid>`, each request a line in it.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.folder = Path(teacher.engine["folder"])
        self.tokenizer = load_tokenizer(teacher.model)
        self.waiting: list[tuple[str, str]] = []
        self.log = (self.folder / f"started-{os.getpid()}").open("a", buffering=1)
        if len(list(self.folder.glob("started-*"))) in teacher.engine.get("no_start", []):
            raise RuntimeError("scripted: does not start")

    def add(self, request_id: str, prompt: list[int], seed: int) -> None:
        text = self.tokenizer.decode(prompt)
        word = text.split("?")[0].split()[-1]
        self.log.write(f"{word} {seed}\n")
        if word == "sometimes":
            word = "wrong" if seed % 3 else "well"
        if word == "refuse":
            raise BadRequest("scripted: refused")
        self.waiting.append((request_id, word))

    def step(self) -> list[Completion]:
        request_id, word = self.waiting.pop(0)
        if word == "die":
            self._wait_for_a_part()
        if word == "die" or (word == "crash" and self._first("crash")):
            raise RuntimeError("scripted: the engine died")
        if word == "kill" and self._first("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        text, finish_reason = ENDINGS.get(word, ENDINGS["well"])
        return [Completion(request_id, text, finish_reason, len(text))]

    def has_unfinished(self) -> bool:
        return bool(self.waiting)

    def death(self) -> str | None:
        return None

    def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()

    def _wait_for_a_part(self) -> None:
        """Let what was answered before be written, wherever a store lies in the folder."""
        last = time.monotonic() + 60
        while not list(self.folder.glob("**/parts/*.parquet")) and time.monotonic() < last:
            time.sleep(0.05)

    def _first(self, name: str) -> bool:
        seen = (self.folder / name).exists()
        (self.folder / name).touch()
        return not seen


class PatientEngine(ScriptedEngine):
    """Answers everything well."""

    def add(self, request_id: str, prompt: list[int], seed: int) -> None:
        self.log.write(f"well {seed}\n")
        self.waiting.append((request_id, "well"))


class SlowEngine(PatientEngine):
    """Takes its time over every answer."""

    def step(self) -> list[Completion]:
        time.sleep(0.1)
        return super().step()


class EngineOfTwo(SlowEngine):
    """Slow too, and answers once another engine has started beside it, or nobody has for five minutes."""

    def step(self) -> list[Completion]:
        last = time.monotonic() + 300
        while len(list(self.folder.glob("started-*"))) < 2 and time.monotonic() < last:
            time.sleep(0.05)
        return super().step()
