"""What is known of a student beyond its own artefact: the newest report that tells of it, or else its scores alone.

In: a store and a student. Out: what its card tells as measured. A card and the report say the same because it is read from there.
"""

from __future__ import annotations

from typing import Any

from mixray import report
from mixray.errors import MixrayError
from mixray.naming import UNTOUCHED
from mixray.report import found
from mixray.store import Artefact, Store
from mixray.training import shelf
from mixray.training.measured import TOLD_SETTINGS, Gap, Measured, Score


def measured(store: Store, student: Artefact) -> Measured:
    """Return what was measured of a student."""
    newest = found.newest_with(store, student.label)
    if newest is not None:
        arm = next((row for row in newest.told["arms"] if student.label in (row["model"], row.get("trained_artefact"))), None)
        if arm is not None:
            return _of_report(newest, arm)
    asked = shelf.scores_by_student(store).get(student.hash, [])
    scores = [score for each in asked for score in _alone(each)]
    return Measured(scores=scores, asked=_asked(asked[0]) if asked else {})


def _of_report(newest: found.Found, arm: dict[str, Any]) -> Measured:
    label = found.scores_label(newest.told, arm) or ""
    scores = newest.artefact(label)
    gaps = [
        Gap(gap["benchmark"], gap["difference"], gap["low"], gap["high"], gap["verdict"], gap["num_seeds"])
        for gap in newest.told["gaps"]
        if (gap["student"], gap["hard"], gap["easy"]) == (arm["student"], arm["label"], UNTOUCHED)
    ]
    return Measured(
        scores=[_score(name, told, label) for name, told in arm["scores"].items()],
        gaps=gaps, asked=_asked(scores) if scores else {}, confidence=newest.told["confidence"], report=newest.place,
        versions=newest.told["provenance"]["versions"],
    )  # fmt: skip


def _score(name: str, told: dict[str, Any], label: str) -> Score:
    return Score(
        name, told["accuracy"], told["num_problems"], label, told["low"], told["high"], told["num_samples"], told.get("truncated_share")
    )


def _alone(scores: Artefact) -> list[Score]:
    """Return the scores of an arm that no report tells of; none where they are of a version that cannot be read."""
    try:
        told = report.accuracies(scores)
    except MixrayError:
        return []
    return [
        _score(name, {**each, "truncated_share": each["num_truncated"] / each["num_samples"]}, scores.label) for name, each in told.items()
    ]


def _asked(scores: Artefact) -> dict[str, Any]:
    settings = scores.made_by["settings"]
    return {key: settings[key] for key in TOLD_SETTINGS if key in settings}
