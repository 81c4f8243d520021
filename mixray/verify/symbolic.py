"""The child process that compares expressions with Math-Verify; run as `python -m mixray.verify.symbolic`.

In: a JSON line `{"gold", "answer"}` on standard input. Out: a JSON line `[verdict, reason]` on standard output. It holds nothing worth
keeping: its owner (`mixray.verify.pool`) kills it when an answer takes too long and starts another.

What a model wrote is parsed here, so the process is fenced in: no environment, bounded memory, no files to write, no sockets and no
children, an alarm for algebra that can be interrupted and a limit, kept by the kernel, for what cannot. Both count CPU time, so that a
verdict does not depend on what else the machine is doing. It dies with its owner.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import math
import os
import resource
import signal
import sys
import time
from types import FrameType
from typing import Any, TextIO

from mixray.verify.equal import ROUNDED_DIGITS, Opinion

_PR_SET_PDEATHSIG = 1
_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "shutil.", "ctypes.")


class OutOfTime(BaseException):
    """The alarm. Not an Exception, because Math-Verify and sympy swallow those."""


def main() -> None:
    """Answer questions until standard input ends."""
    cpu_seconds, memory_bytes, owner = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    answers = _claim_output()
    _die_with(owner)
    compare("x+1", "1+x")  # loads what sympy loads late, before the fence goes up and the clock runs
    _fence(memory_bytes)
    signal.signal(signal.SIGPROF, _on_alarm)
    _tell(answers, "ready")
    for line in sys.stdin:
        question = json.loads(line)
        _tell(answers, _within(cpu_seconds, question["gold"], question["answer"]))


def compare(gold: str, answer: str) -> Opinion:
    """Return whether Math-Verify holds `answer` equal to `gold`."""
    import math_verify

    one, other = _parse(gold), _parse(answer)
    if not one:
        return Opinion("unknown", "gold_unreadable")
    if not other:
        return Opinion("unknown", "answer_unreadable")
    if not math_verify.verify(list(one), list(other), timeout_seconds=None):
        return Opinion("wrong", "different")
    return Opinion("right", "equivalent") if _same_magnitude(one[0], other[0]) else Opinion("wrong", "different_number")


@functools.lru_cache(maxsize=256)  # the samples of one problem share its gold
def _parse(text: str) -> tuple[Any, ...]:
    import math_verify

    return tuple(math_verify.parse(f"\\boxed{{{text}}}", fallback_mode="no_fallback", parsing_timeout=None))


def _same_magnitude(one: Any, other: Any) -> bool:
    """Undo a rounding of Math-Verify, which takes any two numbers near zero (1/2^99 and 1/2^98) for equal."""
    import sympy

    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr) and one.is_number and other.is_number):
        return True
    with contextlib.suppress(ArithmeticError, AttributeError, TypeError, ValueError):  # no number after all: nothing to undo
        one_value, other_value = (complex_or_real.evalf(2 * ROUNDED_DIGITS) for complex_or_real in (one, other))
        if one_value == 0 or other_value == 0:
            return True
        ratio = one_value / other_value
        return any(bool(abs(ratio * scale - 1) < 10**-ROUNDED_DIGITS) for scale in (1, 100, sympy.Rational(1, 100)))
    return True


def _within(cpu_seconds: int, gold: str, answer: str) -> Opinion:
    # Nobody handles SIGXCPU: the kernel ends this process, even inside one long multiplication.
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + 2 * cpu_seconds, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        return compare(gold, answer)
    except OutOfTime:
        return Opinion("unknown", "timeout")
    except MemoryError:
        return Opinion("unknown", "memory")
    except RecursionError:
        return Opinion("unknown", "too_deep")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise OutOfTime


def _claim_output() -> TextIO:
    """Keep the pipe for answers alone: whatever a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _tell(answers: TextIO, value: object) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _die_with(owner: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:  # it died before the line above
        sys.exit(1)


def _fence(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.dont_write_bytecode = True
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN) or (event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        raise PermissionError(f"{event} is not for a verifier")


if __name__ == "__main__":
    main()
