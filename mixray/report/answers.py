"""What was asked and answered: arms, and arms pooled over training seeds, with their answers by benchmark.

In: artefacts of kind `scores`. Out: groups, the untouched one of each student first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mixray.errors import MixrayError
from mixray.naming import UNTOUCHED
from mixray.report.intervals import Block
from mixray.report.samples import Answers, read_answers
from mixray.store import Artefact


@dataclass(frozen=True)
class Merged:
    """What a student was merged from: the mixtures that the hard and the easy student were taught."""

    hard: str
    easy: str
    method: str


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One student, as it is, trained on one mixture with one seed, or merged from two that were; and its scores.

    Attributes:
        name: the arm's name, as in `students/` and `scores/`.
        student: the student's name in the recipe.
        mixture: the mixture's name, or that of the merge at its alpha; None is the untouched student.
        blend: the blend the mixture is one alpha of, or the merge; None where `mixture` is.
        alpha: the hard pool's share, or the hard student's weight; None where `mixture` is, or where more than two pools are mixed.
        seed: the training seed; None where nothing was trained.
        trained: the artefact of the trained student; None where nothing was trained.
        scores: the artefact of its answers.
        matched: trained with the same settings as the other arms.
        model: the label of the artefact, or the name of the model, that was asked.
        merged: what it is a merge of; None where it was trained, or is untouched.
        budgets: the artefact of its answers cut at thinking budgets; None where it was not made to answer at any.
    """

    name: str
    student: str
    mixture: str | None
    blend: str | None
    alpha: float | None
    seed: int | None
    trained: Artefact | None
    scores: Artefact
    matched: bool
    model: str
    merged: Merged | None = None
    budgets: Artefact | None = None

    @property
    def label(self) -> str:
        """What the arm was trained on, or how it was merged, in a word."""
        return UNTOUCHED if self.mixture is None else self.mixture


@dataclass(frozen=True)
class SeedGroup:
    """The arms that differ in nothing but the training seed, with their answers by benchmark."""

    arms: tuple[Arm, ...]
    answers: tuple[dict[str, Answers], ...]

    @property
    def student(self) -> str:
        """The student of all of them."""
        return self.arms[0].student

    @property
    def label(self) -> str:
        """What they were trained on, or how they were merged, in a word."""
        return self.arms[0].label

    @property
    def merged(self) -> Merged | None:
        """What they are merges of; None where they were trained, or are untouched."""
        return self.arms[0].merged

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The names of the benchmarks, sorted."""
        return tuple(sorted(self.answers[0]))

    @property
    def mixture(self) -> str | None:
        """The mixture's name, or the merge's; None for the untouched student."""
        return self.arms[0].mixture

    @property
    def blend(self) -> str | None:
        """The blend, or the merge, that this is one alpha of."""
        return self.arms[0].blend

    @property
    def alpha(self) -> float | None:
        """The hard pool's share, or the hard student's weight."""
        return self.arms[0].alpha

    @property
    def matched(self) -> bool:
        """Whether all were trained with everybody's settings."""
        return all(arm.matched for arm in self.arms)

    def of(self, benchmarks: Iterable[str]) -> list[Answers]:
        """Return the answers of all arms to some benchmarks."""
        return [answers[name] for answers in self.answers for name in benchmarks]

    def block(self, benchmark: str, share: Callable[[Answers], Block] = lambda answers: answers.right) -> Block:
        """Return a share of every problem, that of right samples where none is named, of shape (seeds, problems)."""
        return np.stack([share(answers[benchmark]) for answers in self.answers])


def read_groups(arms: Iterable[Arm]) -> list[SeedGroup]:
    """Read every arm's scores and pool arms over seeds; for each student the untouched one comes first, merges last.

    Raises:
        MixrayError: a student has no untouched arm, or two arms of a student were asked different problems.
    """
    read = [(arm, read_answers(arm.scores)) for arm in arms]
    groups: list[SeedGroup] = []
    for student in dict.fromkeys(arm.student for arm, _ in read):
        of_student = [(arm, answers) for arm, answers in read if arm.student == student]
        _check(student, of_student)
        labels = dict.fromkeys(arm.label for arm, _ in sorted(of_student, key=lambda pair: _rank(pair[0])))
        for label in labels:
            pairs = sorted((pair for pair in of_student if pair[0].label == label), key=lambda pair: pair[0].seed or 0)
            groups.append(SeedGroup(tuple(arm for arm, _ in pairs), tuple(answers for _, answers in pairs)))
    return groups


def _check(student: str, read: list[tuple[Arm, dict[str, Answers]]]) -> None:
    if all(arm.mixture is not None for arm, _ in read):
        raise MixrayError(
            "A student has no untouched arm", seen=student, rule="what training changed is told against the untouched student"
        )
    first, expected = read[0]
    for arm, answers in read[1:]:
        asked = {name: answer.problem_ids for name, answer in answers.items()}
        if asked != {name: answer.problem_ids for name, answer in expected.items()}:
            raise MixrayError(
                "Two arms of a student were asked different problems",
                seen=f"{first.scores.label} and {arm.scores.label}",
                rule="differences are taken problem by problem",
                do="evaluate both with the same benchmarks",
            )


def _rank(arm: Arm) -> tuple[bool, bool, str, float, str]:
    return arm.mixture is not None, arm.merged is not None, arm.blend or "", arm.alpha if arm.alpha is not None else 0.0, arm.label
