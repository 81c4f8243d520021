"""Processor time is that of a process and all that it starts."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

import pytest

from mixray.laboratory import meter
from mixray.laboratory.meter import kept, metered, spent
from mixray.store import Store

BUSY = "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 1.0: pass\ntime.sleep(3)"


def test_a_child_that_has_ended_counts_and_one_that_sleeps_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "SECONDS", 0.1)
    with metered() as told:
        children = [subprocess.Popen([sys.executable, "-c", code]) for code in (BUSY, "import time; time.sleep(1)")]
        for child in children:
            child.wait()
    assert 1.0 <= told.seconds < 6.0


def test_what_was_spent_before_does_not_count() -> None:
    began = time.process_time()
    while time.process_time() - began < 3:
        pass
    with metered() as told:
        pass
    assert told.seconds < 2


def test_what_a_recipe_took_in_a_storage_is_kept_there_over_runs_that_were_broken_off(store: Store) -> None:
    assert spent(store, "lab/shifts") == 0.0
    for error in (KeyboardInterrupt, None):
        with contextlib.suppress(KeyboardInterrupt), kept(store, "lab/shifts"):
            began = time.process_time()
            while time.process_time() - began < 0.3:
                pass
            if error:
                raise error
    assert 0.5 <= spent(store, "lab/shifts") < 5.0
    assert spent(store, "lab/mix") == 0.0
