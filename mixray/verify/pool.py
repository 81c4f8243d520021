"""Child processes that compare expressions and can be killed: the only safe place for algebra on what a model wrote.

In: pairs of gold and answer. Out: an `Opinion` for each, always: an answer that hangs or crashes its child is `unknown` and costs only
its own child. Threads would not do, since neither an alarm nor a kill reaches into one; here each thread only waits for its child, so the
pool works anywhere: in Ray tasks, actor pools, async and threaded actors, Serve replicas, after a fork. Children start when first needed
and die with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Literal

from mixray.errors import VerifyError
from mixray.verify.numbers import Opinion

CPU_SECONDS = 1.0  # of algebra on one answer; others allow 1 to 5, and more changes next to no verdict
WALL_SECONDS = 30.0  # for a child that is stopped or starved rather than busy
START_SECONDS = 120.0  # a child imports sympy, on a busy machine beside engines that start
MEMORY_BYTES = 2 * 2**30
NUM_CHILDREN = 2
MAX_QUESTION_BYTES = 60_000  # less than a pipe holds, so that writing never waits for a child
PAIRS_PER_CHILD = 16  # of a batch that brings up one more child

PIPE_BYTES = 2**20  # as much as Linux gives anybody
CPU_SECONDS_LM_EVAL = 20.0  # its own clocks stop each of up to four steps after 5 s
WALL_SECONDS_LM_EVAL = 120.0

How = str
"""By which policy a child judges: `compare` is ours on two answers, `library` Math-Verify's own on a gold and a whole response,
`lm-eval:<metric>` one of lm-eval's on the same."""
Judge = Literal["mixray", "lm-eval"]
"""What the children of a pool have loaded: those of `mixray` know the first two policies alone."""
_Question = tuple[How, str, str]


class ChildDied(Exception):
    """The child ended by itself, or was ended, before it answered."""


class Child:
    """One process that compares, seen from its owner. Not thread-safe: each belongs to one thread.

    The thread that makes it must live on, since the kernel ends the process with the thread that started it.
    """

    def __init__(self, cpu_seconds: float = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES, judge: Judge = "mixray") -> None:
        # -P and an environment of two variables: what the model wrote must not find keys, nor import from the working folder; and
        # sympy's order of things, so its verdicts, must not change from one child to the next.
        command = [sys.executable, "-P", "-m", "mixray.verify.child", str(cpu_seconds), str(memory_bytes), str(os.getpid()), judge]
        environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONHASHSEED": "0"}
        self.most_bytes, pipe_bytes = (MAX_QUESTION_BYTES, -1) if judge == "mixray" else (PIPE_BYTES - 5_000, PIPE_BYTES)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, pipesize=pipe_bytes
        )
        self.asked = 0
        try:
            self._receive(START_SECONDS)
        except (ChildDied, TimeoutError) as error:
            self.kill()
            raise VerifyError(
                "The process that compares answers does not start",
                seen=f"exit status {self.process.returncode}",
                rule=f"it must be ready within {START_SECONDS:.0f} s",
                do="run `python -c 'import math_verify'`; check the memory limit",
            ) from error

    def ask(self, gold: str, answer: str, seconds: float, how: How = "compare") -> Opinion:
        """Return the child's opinion.

        Raises:
            TimeoutError: it took longer than `seconds`; it must be killed.
            ChildDied: it is gone.
        """
        self.asked += 1
        question = json.dumps([self.asked, how, gold, answer]).encode() + b"\n"
        if len(question) > self.most_bytes:
            return Opinion("unknown", "too_long")
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(question)
            self.process.stdin.flush()
        except OSError as error:
            raise ChildDied from error
        number, verdict, reason = self._receive(seconds)
        if number != self.asked:
            raise ChildDied
        return Opinion(verdict, reason)

    def kill(self) -> None:
        """End the process at once and leave no zombie."""
        self.process.kill()
        with contextlib.suppress(OSError):  # it may have died with a question half written
            self.process.communicate()

    def _receive(self, seconds: float) -> Any:
        assert self.process.stdout is not None
        # poll, not select: a Ray worker may hold more than 1,024 files.
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN | select.POLLHUP)
        if not poll.poll(seconds * 1000):
            raise TimeoutError
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise ChildDied
        return json.loads(line)


class Pool:
    """A few children, each waited for by a thread of its own; any thread may use it."""

    def __init__(
        self,
        num_children: int = NUM_CHILDREN,
        cpu_seconds: float = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
        judge: Judge = "mixray",
    ) -> None:
        self.num_children, self.cpu_seconds, self.wall_seconds, self.judge = num_children, cpu_seconds, wall_seconds, judge
        self._tasks: queue.SimpleQueue[tuple[_Question, Future[Opinion]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    def compare(self, pairs: Sequence[tuple[str, str]], how: How = "compare") -> list[Opinion]:
        """Return an opinion on each (gold, answer); equal pairs are asked once.

        Raises:
            VerifyError: children do not start.
        """
        futures: dict[tuple[str, str], Future[Opinion]] = {}
        for pair in pairs:
            if pair not in futures:
                futures[pair] = Future()
                self._tasks.put(((how, *pair), futures[pair]))
        self._start(1 + self._tasks.qsize() // PAIRS_PER_CHILD)
        return [futures[pair].result() for pair in pairs]

    def close(self) -> None:
        """End the children once they have answered what was asked."""
        with self._starting:
            for _ in self._threads:
                self._tasks.put(None)
            for thread in self._threads:
                thread.join()
            self._threads.clear()

    def _start(self, num_children: int) -> None:
        with self._starting:
            while len(self._threads) < min(num_children, self.num_children):
                name = f"mixray-verify-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._serve, daemon=True, name=name))
                self._threads[-1].start()

    def _serve(self) -> None:
        child: Child | None = None
        while (task := self._tasks.get()) is not None:
            question, future = task
            try:
                child = child or Child(self.cpu_seconds, judge=self.judge)
                opinion, child = self._ask_twice(child, *question)
                future.set_result(opinion)
            except Exception as error:  # told to whoever waits; this thread must outlive it
                future.set_exception(error)
                child = None
        if child:
            child.kill()

    def _ask_twice(self, child: Child, how: How, gold: str, answer: str) -> tuple[Opinion, Child | None]:
        """Ask; where the child dies, ask a fresh one, because the death may not have been the answer's doing."""
        for last in (False, True):
            try:
                return child.ask(gold, answer, self.wall_seconds, how), child
            except TimeoutError:
                child.kill()
                return Opinion("unknown", "timeout"), None
            except ChildDied:
                child.kill()
                if not last:
                    child = Child(self.cpu_seconds, judge=self.judge)
        return Opinion("unknown", "crashed"), None


class _Shared:
    """This process's pools, and who made them: a forked process inherits a pool but not its threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[Judge, Pool] = {}


_shared = _Shared()


def shared_pool(judge: Judge = "mixray") -> Pool:
    """Return this process's pool; no child starts before there is something to compare."""
    with _shared.lock:
        if judge not in _shared.pools:
            limits = (CPU_SECONDS, WALL_SECONDS) if judge == "mixray" else (CPU_SECONDS_LM_EVAL, WALL_SECONDS_LM_EVAL)
            _shared.pools[judge] = Pool(NUM_CHILDREN, *limits, judge)
            atexit.register(_shared.pools[judge].close)
        return _shared.pools[judge]


def _forget_pool() -> None:
    global _shared
    _shared = _Shared()


os.register_at_fork(after_in_child=_forget_pool)
