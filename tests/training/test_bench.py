"""Measuring how fast a machine trains: the real loop, alone or in a gang, without Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from mixray.training import bench, made_up
from mixray.training.flops import Flops

SMALL = ["--shape", "tiny", "--tokens", "64", "--packs", "2", "--warmup", "1", "--steps", "2", "--json"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def python(*arguments: str) -> str:
    """Run Python in a session of its own: the workers of a launcher that hangs end with it."""
    started = subprocess.Popen([sys.executable, *arguments], stdout=-1, stderr=-1, text=True, env=ENVIRONMENT, start_new_session=True)
    try:
        printed, told = started.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        raise
    assert started.returncode == 0, told[-3000:]
    return printed


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """What a small run prints, in a process of its own: DeepSpeed bears one process group in a process's life."""
    found: dict[str, Any] = json.loads(python("-m", "mixray.training.bench", *SMALL))
    return found


def test_neither_the_loop_nor_its_measurement_knows_ray() -> None:
    code = "import sys, mixray.training.loop, mixray.training.alone, mixray.training.bench; print('ray' in sys.modules, end='')"
    assert python("-c", code).endswith("False")


def test_figures_belong_together(figures: dict[str, Any]) -> None:
    assert (figures["shape"], figures["workers"], figures["steps"]) == ("tiny", 1, 2)
    assert 0 < figures["step_seconds_low"] <= figures["step_seconds"] <= figures["step_seconds_high"]
    flops = Flops.of(made_up.empty_model(made_up.config_of("tiny", 64)), frozen=False)
    # So short rows have hardly anything to attend to: operations a token are those of the weights.
    per_token = figures["tflops_per_worker"] * 1e12 / figures["tokens_per_second"]
    assert 6 * flops.body < per_token < 6.6 * (flops.body + flops.head)


def test_a_peak_nobody_wrote_down_gives_no_share(figures: dict[str, Any]) -> None:
    known = torch.cuda.is_available() and figures["peak_tflops"] is not None
    assert (figures["mfu"] is None) == (not known)
    assert ("MFU not known" in bench.show(figures)) == (not known)


def test_a_peak_that_is_told_gives_one() -> None:
    told = json.loads(python("-m", "mixray.training.bench", *SMALL, "--zero", "0", "--peak-tflops", "2"))
    assert told["mfu"] == pytest.approx(told["tflops_per_worker"] / 2)
    assert told["zero_stage"] == 0
    assert "2 TFLOP/s" in bench.show(told)


def test_a_gang_of_torchrun_prints_once() -> None:
    printed = python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mixray.training.bench", *SMALL)
    told = json.loads(printed)
    assert told["workers"] == 2


@pytest.mark.parametrize(
    ("setting", "told"), [("optimizer", "has no value"), ("optimizer=none-such", "optimizer"), ("no_such=1", "no_such"), ("a=[", "YAML")]
)
def test_wrong_settings_are_refused(setting: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([*SMALL, "--set", setting]) == 2
    assert told in capsys.readouterr().err


def test_weights_of_chance_fill_no_disk(tmp_path: Any) -> None:
    from mixray.recipe import Train
    from mixray.training.student import load_student

    config = made_up.config_of("tiny", 64)
    made_up.write_model(tmp_path, config)
    weights = sum(parameter.numel() for parameter in made_up.empty_model(config).parameters())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < weights / 10
    torch.manual_seed(0)
    student = load_student(str(tmp_path), Train(dtype="float32"))
    spread = float(student.model.get_input_embeddings().weight.detach().std())
    assert spread == pytest.approx(config.initializer_range, rel=0.05)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_lengths_are_a_mixtures(alpha: float) -> None:
    drawn = made_up.lengths(alpha, 20_000)
    assert drawn.max() <= made_up.CAP
    assert np.mean(drawn > 1_800) == pytest.approx(alpha * 0.91 + (1 - alpha) * 0.01, abs=0.02)
    assert (made_up.lengths(alpha, 20_000, made_up.CAP // 16) <= drawn // 16 + 4).all()
