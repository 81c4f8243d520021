"""Two `mixray submit` of one order at once, again and again: tests and the benchmark of races."""

from __future__ import annotations

import json
from pathlib import Path

from local_cluster import LocalCluster

NUM_PROBLEMS = 4
RECIPE = """
name: race
problems: {source: problems.jsonl}
teachers: {long: {traces: long.jsonl}, short: {traces: short.jsonl}}
mixtures: {mix: {hard: long, easy: short, alpha: 0.5}}
students: {student-s: {model: "tiny:student-s"}}
evaluate: {benchmarks: {tiny: {source: tiny, split: test, num_problems: 2}}}
"""


def write_recipe(folder: Path) -> None:
    """Write a recipe whose mixtures take a second or two, with the files it names."""
    (folder / "race.yaml").write_text(RECIPE)
    questions = [f"What is {number} and 1?" for number in range(NUM_PROBLEMS)]
    _write(folder / "problems.jsonl", [{"question": question, "answer": str(number + 1)} for number, question in enumerate(questions)])
    for name in ("long", "short"):
        answers = [{"question": question, "response": rf"{name}: \boxed{{{number + 1}}}"} for number, question in enumerate(questions)]
        _write(folder / f"{name}.jsonl", answers)


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def race(cluster: LocalCluster, storage: Path, seed: int) -> list[str]:
    """Submit the same twice at once; return what is wrong with how it went: nothing, as it should be."""
    arguments = ("submit", "race.yaml", "--job", "mix", "--storage", str(storage), "--set", f"seed={seed}")
    sides = [cluster.mixray(*arguments) for _ in range(2)]
    told = [(*side.communicate(timeout=300), side.returncode) for side in sides]
    wrong = [f"exit {code}: {err}" for _, err, code in told if code]
    made = list(storage.glob("mixtures/*/manifest.json"))
    if len(made) != 1:
        wrong.append(f"{len(made)} mixtures")
    begun = sum("mixray: job mixray-race-mix-" in err for _, err, _ in told)
    if begun != 1:
        wrong.append(f"{begun} of the two began a job: {told}")
    return wrong
