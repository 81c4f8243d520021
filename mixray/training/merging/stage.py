"""Students merged in weight space: two trained students of one base in, one student out.

In: artefacts of kind `students`, hard and easy, and the model both were trained from. Out: an artefact of kind `students`, a whole Hugging
Face folder. One tensor of each is in memory at a time. What survives a kill: nothing unfinished; the same inputs give the same bytes.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mixray.card import LICENSE_UNKNOWN
from mixray.errors import TrainingError
from mixray.models import fingerprint
from mixray.progress import StageProgress
from mixray.recipe import Merging
from mixray.staging import Staging
from mixray.store import Artefact, Store
from mixray.training.card import card, facts_of
from mixray.training.license import license_of_model
from mixray.training.merging import weights
from mixray.training.merging.deltas import merged
from mixray.training.merging.parents import Parents, local_base, open_parents, unmerged

if TYPE_CHECKING:
    import torch

MERGE_RULE = 1
"""Goes up when the same students would be merged otherwise."""
COPIED = (".json", ".jinja", ".txt", ".model")
NOT_COPIED = ("manifest.json", "training_curve.json", weights.INDEX)


def handle(store: Store, arm: str, hard: Artefact, easy: Artefact, model: str, how: Merging, alpha: float, seed: int) -> Artefact:
    """Return the artefact of a merged student, done or not.

    Args:
        store: where artefacts lie.
        arm: its name.
        hard: the student with weight alpha.
        easy: the student with the rest.
        model: what both were trained from.
        how: method and density.
        alpha: weight of the hard student.
        seed: of the students in a recipe, and of DARE's draws.
    """
    asked = how.model_dump(mode="json", include={"method", "density"} if how.method != "linear" else {"method"})
    settings = {"merge_rule": MERGE_RULE, "model": fingerprint(model), "merge": {**asked, "alpha": alpha}, "seed": seed}
    return store.artefact("students", arm, settings, {"hard": hard, "easy": easy})


def run(
    store: Store, arm: str, hard: Artefact, easy: Artefact, model: str, how: Merging, alpha: float, seed: int, progress: StageProgress
) -> Artefact:
    """Merge two students, or find them merged.

    Raises:
        TrainingError: they are not of this base, or do not fit each other.
    """
    student = handle(store, arm, hard, easy, model, how, alpha, seed)
    with student.lock():
        if student.is_done():
            return student
        _check_parents(student, {"hard": hard, "easy": easy}, model)
        started = time.monotonic()
        parents = open_parents(hard.local_folder(), easy.local_folder(), local_base(model))
        with student.staging() as staging:
            _copy_what_is_no_weight(parents.folder, staging.folder)
            _write_weights(parents, staging.folder, how, alpha, seed, progress)
            _tell(staging, student, {"hard": hard, "easy": easy}, model, parents, time.monotonic() - started)
            told = facts_of(student, staging.outcome, license_id=license_of_model(model) or LICENSE_UNKNOWN)
            (staging.folder / "README.md").write_text(card(told), encoding="utf-8")
    return student


def _check_parents(student: Artefact, parents: dict[str, Artefact], model: str) -> None:
    wanted = student.made_by["settings"]["model"]
    if parents["hard"] == parents["easy"]:
        raise TrainingError("A student is to be merged with itself", seen=parents["hard"].label, rule="two students", do="name another")
    for role, parent in parents.items():
        if parent.made_by["settings"].get("model") != wanted:
            raise TrainingError(
                "A student was not trained from the base it is to be merged over",
                seen=f"{role} {parent.label} was trained from {parent.made_by['settings'].get('model')}; {model} is {wanted}",
                rule="differences are taken from the model both were trained from",
                do="pass --base with that model, as it was then",
            )


def _copy_what_is_no_weight(source: Path, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in COPIED and path.name not in NOT_COPIED:
            shutil.copyfile(path, folder / path.name)


def _write_weights(parents: Parents, folder: Path, how: Merging, alpha: float, seed: int, progress: StageProgress) -> None:
    done = 0

    def tensor(name: str) -> torch.Tensor:
        nonlocal done
        made = _merged(name, parents, how, alpha, seed)
        done += 1
        progress.update(done, len(parents.forms))
        return made

    weights.write(folder, parents.forms, tensor)


def _merged(name: str, parents: Parents, how: Merging, alpha: float, seed: int) -> torch.Tensor:
    """Return one tensor of the merged student, in the students' type."""
    import torch

    if not parents.forms[name].is_float:
        return unmerged(name, parents)
    hard, easy, base = (each.tensor(name) for each in (parents.hard, parents.easy, parents.base))
    made = merged(name, hard, easy, base, how, alpha, seed).to(hard.dtype)
    if not bool(torch.isfinite(made).all()):
        raise TrainingError(
            "A merged tensor holds numbers that are not finite",
            seen=f"{name}: {parents.forms[name]}",
            rule="the students' weights are finite, and so are those of their merge",
            do="look at the students; with dare, take a larger density",
        )
    return made


def _tell(staging: Staging, student: Artefact, parents: dict[str, Artefact], model: str, opened: Parents, seconds: float) -> None:
    staging.outcome = {
        "base_model": model,
        "merged": {role: parent.label for role, parent in parents.items()},
        **student.made_by["settings"]["merge"],
        "num_tensors": len(opened.forms),
        "num_parameters": sum(form.num_values for form in opened.forms.values()),
        "seconds": round(seconds, 3),
    }
