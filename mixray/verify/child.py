"""The process that compares expressions; run as `python -m mixray.verify.child CPU_SECONDS MEMORY_BYTES OWNER [lm-eval]`.

In: JSON lines `[number, how, gold, answer]` on standard input, each sent when the one before is answered. Out: JSON lines
`[number, verdict, reason]` on standard output. Nothing here is worth keeping; its owner (`mixray.verify.pool`) may kill it at any moment.

It is two processes. The keeper loads and warms the libraries, reads nothing, and forks a worker, which is fenced in (`mixray.verify.fence`)
and does the work. A worker that hangs is ended by its own clocks, which count CPU time, so that a verdict does not depend on what else the
machine is doing: an alarm for algebra that can be interrupted, then, for what cannot, a signal nobody handles. The keeper answers in its
place and forks the next, within milliseconds.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import resource
import signal
import struct
import sys
from types import FrameType
from typing import BinaryIO, NoReturn

from mixray.verify import fence, library
from mixray.verify.equal import compare
from mixray.verify.numbers import Opinion
from mixray.verify.symbolic import algebra, warm

KILL_AFTER = 1.5  # of the CPU seconds an answer may take: what the alarm did not reach is killed
QUESTIONS_PER_WORKER = 5_000  # caches grow; a fresh worker costs milliseconds
CRASHED, RETIRED = 1, 3  # exit statuses of a worker; one that has retired wants to be replaced
_PR_SET_PDEATHSIG = 1


class OutOfTime(BaseException):
    """The alarm. Not an Exception, because Math-Verify and sympy swallow those."""


class Asked:
    """The number of the question in work, where keeper and worker both see it; 0 while there is none."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def set(self, number: int) -> None:
        """Write the number down."""
        struct.pack_into("q", self._memory, 0, number)

    def get(self) -> int:
        """Return the number."""
        return int(struct.unpack_from("q", self._memory, 0)[0])


def main() -> None:
    """Keep a worker until standard input ends."""
    cpu_seconds, memory_bytes, owner = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    answers = _claim_output()
    _die_with(owner)
    warm()
    library.warm()
    if "lm-eval" in sys.argv[4:]:  # a development dependency, and slow to load: only where it is asked for
        from mixray.verify import lm_eval_tasks

        lm_eval_tasks.warm()
    gc.collect()
    gc.freeze()  # so that the workers share this memory
    asked, keeper = Asked(), os.getpid()
    _tell(answers, "ready")
    while True:
        worker = os.fork()
        if worker == 0:
            _work(answers, asked, keeper, cpu_seconds, memory_bytes)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        if status != RETIRED and not asked.get():
            sys.exit(status)  # the end, or a worker that cannot even start
        if asked.get():
            _tell(answers, [asked.get(), "unknown", "timeout" if status in (-signal.SIGVTALRM, -signal.SIGXCPU) else "crashed"])
            asked.set(0)


def _work(answers: BinaryIO, asked: Asked, keeper: int, cpu_seconds: float, memory_bytes: int) -> NoReturn:
    """Answer questions until standard input ends, or memory or caches have grown; never returns."""
    status = CRASHED
    try:
        _die_with(keeper)
        signal.signal(signal.SIGPROF, _on_alarm)
        fence.put_up(memory_bytes)
        left = QUESTIONS_PER_WORKER
        while left and (line := sys.stdin.buffer.readline()):
            number, how, gold, answer = json.loads(line)
            asked.set(number)
            opinion = _within(cpu_seconds, how, gold, answer)
            asked.set(0)
            _tell(answers, [number, *opinion])
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > memory_bytes // 2
            left = 0 if grown or opinion.reason == "memory" else left - 1
        status = 0 if left else RETIRED
    finally:
        os._exit(status)


def _within(cpu_seconds: float, how: str, gold: str, answer: str) -> Opinion:
    """Return the opinion, or why there is none within the limits."""
    fence.refused.clear()
    # Nobody handles SIGVTALRM: the kernel ends this process, even inside one long multiplication.
    signal.setitimer(signal.ITIMER_VIRTUAL, KILL_AFTER * cpu_seconds)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        opinion = _judge(how, gold, answer)
    except OutOfTime:
        opinion = Opinion("unknown", "timeout")
    except MemoryError:
        opinion = Opinion("unknown", "memory")
    except RecursionError:
        opinion = Opinion("unknown", "too_deep")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    assert opinion is not None
    return Opinion("unknown", "forbidden") if fence.refused else opinion


def _judge(how: str, gold: str, answer: str) -> Opinion | None:
    if how.startswith("lm-eval:"):
        from mixray.verify import lm_eval_tasks

        return lm_eval_tasks.judge(how.removeprefix(lm_eval_tasks.PREFIX), gold, answer)
    return library.judge(gold, answer) if how == "library" else compare(gold, answer, algebra)


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise OutOfTime


def _claim_output() -> BinaryIO:
    """Keep the pipe for answers alone: whatever a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _tell(answers: BinaryIO, value: object) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()


def _die_with(owner: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:  # it died before the line above
        os._exit(1)


if __name__ == "__main__":
    main()
