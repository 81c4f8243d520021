"""How far a training has come: the part of a checkpoint that is mixray's own, readable without DeepSpeed.

A checkpoint is a folder of all workers' files: `ds/` (DeepSpeed's: weights, float32 master weights, the optimizer), `state.json` (State)
and `training.jsonl` (a row for each step so far, see `loop`). The last one holds the finished student in place of `ds/`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mixray import steady
from mixray.errors import TrainingError
from mixray.store import Store
from mixray.training.plan import Plan

STATE, RECORDS = "state.json", "training.jsonl"
TAIL_BYTES = 4096
"""More than one record has."""
Records = list[dict[str, Any]]
"""A row for each step: see `loop`."""


@dataclass(frozen=True)
class State:
    """How far a training has come, and who wrote it down."""

    step: int = 0
    rows_seen: int = 0
    tokens_seen: int = 0
    world_size: int = 0
    zero_stage: int = -1
    plan: str = ""
    finished: bool = False

    def after(self, rows: int, tokens: int) -> State:
        """Return the state one step on."""
        return replace(self, step=self.step + 1, rows_seen=self.rows_seen + rows, tokens_seen=self.tokens_seen + tokens)

    def check(self, plan: Plan, at_end: bool = False) -> None:
        """Hold the state against the plan.

        Raises:
            TrainingError: it is not where the plan would be after so many steps, or short of its end.
        """
        planned = plan.seen(self.step)
        if (self.rows_seen, self.tokens_seen) != planned or self.step > len(plan) or (at_end and self.step != len(plan)):
            raise TrainingError(
                "A training is not where its plan says",
                seen=f"step {self.step} of {len(plan)}, {self.rows_seen} rows, {self.tokens_seen} tokens",
                rule=f"{planned[0]} rows, {planned[1]} tokens after step {self.step}"
                + (f", {len(plan)} steps at the end" if at_end else ""),
                do="remove the student's work folder and train again",
            )


def write_state(folder: Path, state: State, records: Records) -> None:
    """Write the part of a checkpoint that is not DeepSpeed's; rank 0 alone does."""
    (folder / RECORDS).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (folder / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")


def live_records(store: Store, work_path: str) -> Records:
    """Return the steps that a training under way has written down; none before its first."""
    try:
        return [json.loads(line) for line in store.fs.cat_file(f"{work_path}/{RECORDS}").splitlines()]
    except (OSError, ValueError):
        return []


def last_record(store: Store, work_path: str) -> dict[str, Any] | None:
    """Return the last of `live_records`, the others unread; None also while it cannot be read.

    What is only shown ends no training: an object store refuses whoever has begun to read a file that is replaced meanwhile, and where a
    storage is away, the workers say so.
    """
    try:
        with steady.briefly():
            record: dict[str, Any] = json.loads(store.fs.tail(f"{work_path}/{RECORDS}", TAIL_BYTES).splitlines()[-1])
    except Exception:  # filesystems have errors of their own
        return None
    return record


def read_state(folder: Path) -> tuple[State, Records]:
    """Read what `write_state` wrote.

    Raises:
        TrainingError: it is not there, or damaged.
    """
    try:
        state = State(**json.loads((folder / STATE).read_text(encoding="utf-8")))
        records = [json.loads(line) for line in (folder / RECORDS).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            "A checkpoint is damaged", seen=f"{folder}: {error}", do="remove the student's work folder and train again"
        ) from error
    return state, records
