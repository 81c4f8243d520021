"""A few hundred fuzzed answers; `python tests/bench/fuzz.py` judges 100,000."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parents[1] / "bench" / "fuzz.py"


def test_fuzzed_answers_end_in_a_verdict_in_time_and_kill_nothing() -> None:
    ended = subprocess.run([sys.executable, str(FUZZ), "--count", "500", "--seed", "7"], stdout=subprocess.PIPE, text=True, timeout=300)
    report = json.loads(ended.stdout)
    assert report["rows"] == 500
    assert (report["raised"], report["payloads_that_ran"], report["keepers_died"]) == ([], [], 0)
    assert report["most_cpu_seconds"] < 2  # by the wall a row may take longer where other tests share the machine
    told = {verdict.partition(":")[0] for verdict in report["verdicts"]}
    assert told == {"right", "wrong", "unknown"}
