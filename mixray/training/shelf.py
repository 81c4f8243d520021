"""The students of a store, to look at, to talk to and to take away.

In: a store. Out: listings, where a student is from, the curve of its training, its scores. Students of earlier versions tell less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mixray import shelf
from mixray.errors import StoreError, TrainingError
from mixray.recipe import Name, Part
from mixray.store import Artefact, Store
from mixray.training.state import RECORDS

KIND = "students"
CURVE = "training_curve.json"
"""What students of earlier versions have in its place."""


class Named(Part):
    """What a user calls a new student."""

    name: Name


def students(store: Store) -> list[Artefact]:
    """Return every committed student of a store, by name."""
    return [store.open(KIND, folder) for folder in shelf.folders(store, KIND)]


def find(store: Store, text: str) -> Artefact:
    """Return the student whose folder, name or hash is `text`.

    Raises:
        StoreError: none fits, or several do.
    """
    return shelf.open_only(store, KIND, text, shelf.fitting(store, KIND, text))


def scores_by_student(store: Store) -> dict[str, list[Artefact]]:
    """Return the committed scores by the hash of the student that was asked."""
    found: dict[str, list[Artefact]] = {}
    for folder in shelf.folders(store, "scores"):
        scores = store.open("scores", folder)
        if student := scores.made_by["inputs"].get("student"):
            found.setdefault(student, []).append(scores)
    return found


def mixture_of(store: Store, student: Artefact) -> Artefact | None:
    """Return the mixture a student was trained on; None where it was merged, or the mixture is gone."""
    return _by_hash(store, "mixtures", student.made_by["inputs"].get("mixture"))


def parents_of(student: Artefact, outcome: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of the hard and the easy student of a merge; nothing for what was trained."""
    return dict(outcome.get("merged", {})) if "hard" in student.made_by["inputs"] else {}


def template_of(store: Store, student: Artefact) -> str:
    """Return how a question was put to a student in training; of a merge, to its easy parent."""
    while easy := student.made_by["inputs"].get("easy"):
        parent = _by_hash(store, KIND, easy)
        if parent is None:
            break
        student = parent
    mixture = mixture_of(store, student)
    lessons = mixture.made_by["settings"].get("lessons", []) if mixture else []
    prompts = {lesson["prompt"] for _, lesson in lessons}
    return str(prompts.pop()) if len(prompts) == 1 else "{question}"


def taught(store: Store, student: Artefact, outcome: Mapping[str, Any]) -> str:
    """Return what a student was trained on, or merged from, in a few words."""
    if parents := parents_of(student, outcome):
        how = f"{outcome['method']} merge, {outcome['alpha']:g}"
        return f"{how} of {_short(parents['hard'])} over {_short(parents['easy'])}"
    wanted = student.made_by["inputs"].get("mixture")
    folder = _folder(store, "mixtures", wanted)
    return folder.rpartition("-")[0] if folder else f"a mixture that is gone ({wanted})"


def _short(label: str) -> str:
    return label.removeprefix(f"{KIND}/").rpartition("-")[0]


def base_of(student: Artefact) -> str | None:
    """Return the model a student was made from, as its recipe names it; None where its version told the fingerprint alone."""
    told = student.outcome.get("base_model")
    known = student.made_by["settings"].get("model")
    # Of a model of the hub the fingerprint is its id.
    return told if isinstance(told, str) else known if isinstance(known, str) and "/" in known else None


def common_base(hard: Artefact, easy: Artefact) -> str:
    """Return the model two students are both from.

    Raises:
        TrainingError: one does not tell, or they are from two.
    """
    for student in (hard, easy):
        if base_of(student) is None:
            raise TrainingError(
                "A student does not tell what it was trained from",
                seen=student.label,
                rule="its manifest names the base model; those of earlier versions do not",
                do="pass --base with the `model` of its recipe",
            )
    bases = [student.made_by["settings"].get("model") for student in (hard, easy)]
    if bases[0] != bases[1]:
        raise TrainingError(
            "Two students to be merged are of two bases",
            seen=f"{hard.label} of {base_of(hard)}, {easy.label} of {base_of(easy)}",
            rule="differences are taken from one model",
            do="merge students of the same base model",
        )
    return str(base_of(hard))


def steps(student: Artefact) -> list[dict[str, Any]]:
    """Return a row for each optimiser step, from `step` 1 on, with loss and gradient norm at least; none for a merge.

    Raises:
        StoreError: the file cannot be read.
    """
    files = {entry["path"] for entry in student.manifest()["files"]}
    try:
        if RECORDS in files:
            data = student.store.fs.cat_file(f"{student.path}/{RECORDS}")
            return [json.loads(line) for line in data.splitlines() if line.strip()]
        if CURVE in files:
            curve = student.read_json(CURVE)
            pairs = zip(curve["loss"], curve["grad_norm"], strict=True)
            return [{"step": step, "loss": loss, "grad_norm": norm} for step, (loss, norm) in enumerate(pairs, start=1)]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError("A training's curve cannot be read", seen=student.label, rule=str(error), do=f"look at {student.path}") from error
    return []


def tokens_trained(student: Artefact, rows: list[dict[str, Any]]) -> int | None:
    """Return how many tokens went through a training, those the loss does not see included; None where nobody told."""
    if rows and all("num_tokens" in row for row in rows):
        return sum(row["num_tokens"] for row in rows)
    once, epochs = student.outcome.get("num_tokens"), student.made_by["settings"].get("train", {}).get("epochs")
    return once * epochs if once is not None and epochs is not None else None


def _folder(store: Store, kind: str, wanted: str | None) -> str | None:
    return next((folder for folder in shelf.folders(store, kind) if folder.rpartition("-")[2] == wanted), None)


def _by_hash(store: Store, kind: str, wanted: str | None) -> Artefact | None:
    folder = _folder(store, kind, wanted)
    return store.open(kind, folder) if folder else None
