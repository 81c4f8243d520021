"""How far a recipe has come, read from its storage alone: the cluster may be gone, and nothing is started or written.

In: a recipe and a store. Out: for each artefact whether it is done, begun or missing, with what its work folder holds so far; and what
the recipe's runs last said of themselves (`mixray.runs`).
"""

from __future__ import annotations

import time
from typing import Any

from mixray.evaluation.journal import Journal
from mixray.graph import build_graph
from mixray.recipe import Recipe
from mixray.runs import SILENT_SECONDS, runs_of
from mixray.store import Artefact, Store
from mixray.teachers.parts import so_far as parts_so_far
from mixray.training.state import live_records

MOST_RUNS = 5


def standing(recipe: Recipe, store: Store) -> dict[str, Any]:
    """Return artefacts and runs as plain data."""
    rows = []
    for stage, item in build_graph(recipe, store).artefacts():
        done = item.is_done()
        begun = not done and store.fs.exists(item.work_path)
        rows.append({
            "stage": stage, "artefact": item.label, "state": "done" if done else "begun" if begun else "missing",
            "outcome": item.outcome if done else None, "so_far": _so_far(item) if begun else None,
        })  # fmt: skip
    return {"recipe": recipe.name, "artefacts": rows, "runs": runs_of(store, recipe.name)[-MOST_RUNS:]}


def _so_far(item: Artefact) -> dict[str, Any] | None:
    """Return the counts of an artefact's unfinished work; None of a kind that keeps none."""
    if item.kind == "pools":
        tally = parts_so_far(item.store, item.work_path)
        return {"problems": tally.problems, "traces": tally.traces, "right": tally.right, "response_tokens": tally.response_tokens}
    if item.kind == "students":
        records = live_records(item.store, item.work_path)
        tokens = sum(record["num_tokens"] for record in records)
        return {"steps": len(records), "tokens": tokens, "loss": records[-1]["loss"]} if records else {"steps": 0}
    if item.kind == "scores":
        answers = Journal(item).read().values()
        return {"answers": len(answers), "response_tokens": sum(answer.num_response_tokens for answer in answers)}
    return None


def state_in_words(row: dict[str, Any]) -> str:
    """Return an artefact's state, with its counts where it is begun."""
    told = ", ".join(f"{_number(value)} {key.replace('_', ' ')}" for key, value in (row["so_far"] or {}).items())
    return f"{row['state']}: {told}" if told else str(row["state"])


def runs_in_words(runs: list[dict[str, Any]]) -> list[str]:
    """Return lines about the runs that are running or, where none is, about the last."""
    told = []
    for run in [run for run in runs if run["state"] == "running"] or runs[-1:]:
        who = f"run {run['run']}" + (f", job {run['attempt']}" if run["attempt"] else "") + f" on {run['host']}"
        line = f"{who}: {run['state']} since {_moment(run['began'])}"
        if run["state"] != "running":
            line = f"{who}: {run['state']} at {_moment(run['seen'])}" + (f"; {run['error']}" if run["error"] else "")
        elif run["silent_seconds"] > SILENT_SECONDS:
            line += f", but silent for {run['silent_seconds']:,.0f} s: stopped, frozen, or cut off from the storage"
        told += [line, *(f"  {_stage_in_words(stage)}" for stage in run["stages"])]
    return told


def _stage_in_words(stage: dict[str, Any]) -> str:
    of = "" if stage["total"] is None else f" of {stage['total']:,}"
    facts = "  ".join(f"{key.replace('_per_', '/').replace('_', ' ')} {_number(value)}" for key, value in stage["facts"].items())
    return f"{stage['stage']}: {stage['done']:,}{of} since {_moment(stage['began'])}  {facts}".rstrip()


def _number(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
