"""A session's Ray does not change how the program around it ends."""

from __future__ import annotations

import subprocess
import sys

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


def test_sigterm_keeps_the_handler_it_had() -> None:
    """`mixray` ends on it as on Ctrl-C, and says how to go on; Ray's own handler would leave at once."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr
