"""How each arm was trained: figures of the whole training, and its curve thinned until it can be drawn.

In: artefacts of kind `students`: what their manifest says came out and, where it is there, `training.jsonl` with one line per optimiser
step. Out: plain dictionaries without NaN. A student merged from others, or trained before steps were logged, has no log and no curve.

A curve has at most MOST_POINTS points, each standing for equally many consecutive steps: its loss is their mean over trained tokens, its
gradient norm the greatest of them, so that no spike is lost, its learning rate that of the last. The smoothed loss is a centred running
mean over trained tokens, of one in SMOOTHED_PARTS of all steps, taken before thinning; at the ends it takes the steps there are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixray.errors import MixrayError, StoreError
from mixray.report.answers import Arm
from mixray.store import Artefact

Column = NDArray[np.float64]

LOG = "training.jsonl"
COLUMNS = (
    "step", "loss", "grad_norm", "learning_rate", "num_tokens", "num_loss_tokens", "num_rows", "seconds", "mfu", "padding_share",
    "peak_memory_bytes",
)  # fmt: skip
OUTCOME = ("num_steps", "num_rows", "num_tokens", "num_loss_tokens", "seconds", "first_loss", "last_loss")
MOST_POINTS = 300
SMOOTHED_PARTS = 30
# Enough for any plot, and a third of the bytes of a float in full.
DIGITS = 6


@dataclass(frozen=True)
class Trained:
    """One arm's training: figures as in report.json's `training`, and its curve; None where there is nothing to tell."""

    figures: dict[str, Any] | None
    curve: dict[str, Any] | None


def trained(arm: Arm) -> Trained:
    """Return how an arm was trained.

    Raises:
        MixrayError: its log is not what the manifest or the contract says.
    """
    if arm.trained is None:
        return Trained(None, None)
    log, outcome = read_log(arm.trained), arm.trained.outcome
    if log is None and "num_steps" not in outcome:
        return Trained(None, None)
    return Trained(figures(outcome, log), None if log is None else curve(log))


def read_log(student: Artefact) -> dict[str, Column] | None:
    """Return the columns of a student's log, NaN where a line tells nothing; None where there is no log.

    Raises:
        StoreError: the file is not the one that was committed.
        MixrayError: a line cannot be understood, or steps are not in order.
    """
    entry = next((entry for entry in student.manifest()["files"] if entry["path"] == LOG), None)
    if entry is None:
        return None
    path = f"{student.path}/{LOG}"
    try:
        data = student.store.fs.cat_file(path)
    except FileNotFoundError:
        data = b""
    # This one file alone: the weights beside it may be tens of gigabytes and are not read here.
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise StoreError(
            "A file is not what its manifest says",
            seen=f"{path}: {len(data)} bytes",
            rule=f"{entry['bytes']} bytes, sha256 {entry['sha256'][:12]}",
            do=f"remove {student.path} and run again",
        )
    return _columns(data, student)


def _columns(data: bytes, student: Artefact) -> dict[str, Column]:
    try:
        lines = [json.loads(line) for line in data.splitlines()]
        columns = {name: np.array([line.get(name) for line in lines], dtype=float) for name in COLUMNS}
    except (ValueError, TypeError, AttributeError) as error:
        raise _unreadable(student, str(error), "one JSON object of numbers per line") from error
    steps = columns["step"]
    if not steps.size or not (steps[0] >= 1 and bool(np.all(np.diff(steps) > 0))):
        raise _unreadable(student, f"steps {steps[:1]} to {steps[-1:]}, {steps.size} lines", "at least one line; steps rise, from 1")
    return columns


def _unreadable(student: Artefact, seen: str, rule: str) -> MixrayError:
    return MixrayError(
        "A training log cannot be read", seen=f"{student.label}/{LOG}: {seen}", rule=rule, do=f"remove {student.path} and run again"
    )


def figures(outcome: Mapping[str, Any], log: Mapping[str, Column] | None) -> dict[str, Any]:
    """Return the figures of one training: rows and tokens of the plan as the manifest tells them, the rest from the log.

    `seen_tokens` and `seen_loss_tokens` count a row as often as it was seen. Speed is that of all steps together, without starts,
    checkpoints and restarts; MFU is the median step's, memory the greatest, padding the packs' room that held no row.
    """
    told = {name: _plain(outcome.get(name)) for name in OUTCOME}
    if log is None:
        logged = ("seen_tokens", "seen_loss_tokens", "tokens_per_second", "mfu", "padding_share", "peak_memory_bytes")
        return {**told, **dict.fromkeys(logged)}
    tokens, seconds = log["num_tokens"], log["seconds"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            **told,
            "seen_tokens": _whole(tokens.sum()),
            "seen_loss_tokens": _whole(log["num_loss_tokens"].sum()),
            "tokens_per_second": _plain(tokens.sum() / seconds.sum()),
            "mfu": float(np.median(_known(log["mfu"]))) if _known(log["mfu"]).size else None,
            "padding_share": _plain(1 - tokens.sum() / (tokens / (1 - log["padding_share"])).sum()),
            "peak_memory_bytes": _whole(np.fmax.reduce(log["peak_memory_bytes"])),
        }


def curve(log: Mapping[str, Column]) -> dict[str, Any]:
    """Return a curve thinned for drawing: lists of equal length, None where a step told no number."""
    num_steps = log["step"].size
    steps_per_point = math.ceil(num_steps / MOST_POINTS)
    starts = np.arange(0, num_steps, steps_per_point)
    ends = np.append(starts[1:], num_steps) - 1
    reach = round(num_steps / SMOOTHED_PARTS) // 2
    weights = np.where(np.isfinite(log["loss"]), np.nan_to_num(log["num_loss_tokens"]), 0.0)
    sums, counts = (np.append(0.0, np.cumsum(column)) for column in (weights * np.nan_to_num(log["loss"]), weights))
    low, high = np.maximum(ends - reach, 0), np.minimum(ends + reach, num_steps - 1) + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "steps_per_point": steps_per_point,
            "smoothed_steps": 2 * reach + 1,
            "step": [int(step) for step in log["step"][ends]],
            "loss_tokens": _short(np.cumsum(np.nan_to_num(log["num_loss_tokens"]))[ends]),
            "loss": _short((sums[ends + 1] - sums[starts]) / (counts[ends + 1] - counts[starts])),
            "smoothed_loss": _short((sums[high] - sums[low]) / (counts[high] - counts[low])),
            "grad_norm": _short(np.fmax.reduceat(log["grad_norm"], starts)),
            "learning_rate": _short(log["learning_rate"][ends]),
        }


def _known(column: Column) -> Column:
    return column[np.isfinite(column)]


def _plain(value: float | None) -> float | int | None:
    """Return what JSON can hold: None for what is not a number, a Python number for NumPy's."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)


def _whole(value: float) -> int | None:
    return round(value) if math.isfinite(value) else None


def _short(column: Column) -> list[float | None]:
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in column.tolist()]
