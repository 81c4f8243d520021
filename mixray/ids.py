"""What a run, an attempt and a stage are called in logs and metrics: the one home of these names.

A run is one process of the command line that makes something; its workers on other nodes know it by a variable. An attempt is the job
that carries it, where there is one: what is submitted again has another number. A stage is the last one that was begun.
"""

from __future__ import annotations

import json
import os
import uuid

RUN = "MIXRAY_RUN"
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_run: list[str] = []
_stages: list[str] = []


def run_id() -> str:
    """Return this run's id: in a worker its driver's, else one made when first asked for."""
    if not _run:
        _run.append(os.environ.get(RUN) or uuid.uuid4().hex[:12])
    return _run[0]


def attempt_id() -> str:
    """Return the submission id of the Ray job this is; nothing outside of one."""
    try:
        return str(json.loads(os.environ.get(_JOB_CONFIG, "{}"))["metadata"]["job_submission_id"])
    except (ValueError, KeyError, TypeError):
        return ""


def begin_stage(name: str) -> None:
    """Say that a stage has begun."""
    _stages[:] = [name]


def present() -> dict[str, str]:
    """Return the ids as log lines carry them."""
    return {"run": run_id(), "attempt": attempt_id(), "stage": _stages[0] if _stages else ""}
