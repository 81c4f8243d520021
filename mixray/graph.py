"""Which artefacts a recipe stands for: every name and hash of a run, computed without making anything.

In: a recipe and a store. Out: a `Graph`. `plan` and `status` print it, `pipeline.run` makes what is missing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mixray import evaluation, mixing, models, overlaps, problems, shifts, teachers, training
from mixray.errors import RecipeError
from mixray.judging import asking, exam, judged_scores, rule
from mixray.naming import UNTOUCHED, merge_names, mixture_names, refuse_a_name_twice
from mixray.recipe import MIXED, Merge, Recipe, Student, Train, nearest
from mixray.shifts import Answered
from mixray.store import Artefact, Store
from mixray.teachers import second_opinion


@dataclass(frozen=True)
class Mix:
    """One mixture of the recipe: a blend at one alpha, as one student counts it."""

    name: str
    blend_name: str
    made_of: mixing.Ingredients
    artefact: Artefact
    train: Train
    """How its arms are trained."""
    matched: bool
    """Whether that is how every arm is."""

    @property
    def alpha(self) -> float | None:
        """The hard pool's share; None where more than two pools are mixed."""
        return self.made_of.alpha


@dataclass(frozen=True)
class Merged:
    """Two trained arms of one student and seed, merged at one alpha."""

    name: str
    merge_name: str
    how: Merge
    alpha: float
    hard: Artefact
    easy: Artefact
    matched: bool
    """Whether both were trained with everybody's settings."""


@dataclass(frozen=True)
class Arm:
    """One arm: a student, and what it is taught with which seed, or which two arms it is merged from. Arm 0 of a student is neither."""

    name: str
    student: str
    model: str
    """The student's base model; of one behind an endpoint its name there."""
    mix: Mix | None
    seed: int | None
    trained: Artefact | None
    """Its weights, trained or merged."""
    asked: Artefact
    """Its answers as the rule judges them."""
    scores: Artefact
    """The same with a judge's second opinions, where the recipe has a judge for them: what is reported."""
    merged: Merged | None = None
    endpoint: Student | None = None
    """The student, where it is behind an endpoint: asked, never taught."""
    budgets: Artefact | None = None
    """Its answers cut at thinking budgets, where the recipe asks for them; none of one behind an endpoint, whose tokens nobody knows."""
    shifts: Artefact | None = None
    """What the untouched student makes of its answers, where the recipe asks for it."""

    @property
    def is_asked(self) -> bool:
        """Whether there is nothing left to ask it."""
        return self.asked.is_done() and (self.budgets is None or self.budgets.is_done())

    @property
    def answered(self) -> Answered:
        """The arm as its answers are read again."""
        return Answered(self.name, self.asked, self.trained)


@dataclass(frozen=True)
class Graph:
    """Everything a recipe stands for, in the order in which it is made."""

    problems: Artefact
    exam: evaluation.Exam
    """What every arm is asked."""
    asked: dict[str, Artefact]
    """The pools as the rule judges them."""
    pools: dict[str, Artefact]
    """The same with a judge's second opinions, where the recipe has a judge: what is mixed."""
    overlaps: Artefact
    """What the problems have in common with one another and with the benchmarks."""
    mixes: list[Mix]
    arms: list[Arm]

    @property
    def benchmarks(self) -> dict[str, Artefact]:
        """The problems the arms are asked, by benchmark."""
        return dict(self.exam.benchmarks)

    @property
    def mixtures(self) -> dict[str, Artefact]:
        """The mixtures by name; of students that count tokens differently, each has its own, told by its student's model."""
        named = {mix.artefact: mix for mix in self.mixes}.values()
        names = [mix.name for mix in named]
        return {mix.name if names.count(mix.name) == 1 else f"{mix.name} of {mix.made_of.student}": mix.artefact for mix in named}

    def artefacts(self) -> Iterator[tuple[str, Artefact]]:
        """Yield (stage, artefact) in the order of making; the report, which reads them all, is not among them."""
        yield "problems", self.problems
        yield from (("problems", artefact) for artefact in self.benchmarks.values())
        yield from (("generate", artefact) for artefact in self.asked.values())
        yield from (("judge", self.pools[name]) for name in self.pools if self.pools[name] != self.asked[name])
        yield "overlaps", self.overlaps
        yield from (("mix", mix.artefact) for mix in self.mixes)
        yield from (("train", arm.trained) for arm in self.arms if arm.trained and not arm.merged)
        yield from (("merge", arm.trained) for arm in self.arms if arm.trained and arm.merged)
        yield from (("evaluate", arm.asked) for arm in self.arms)
        yield from (("cut", arm.budgets) for arm in self.arms if arm.budgets)
        yield from (("opinions", arm.scores) for arm in self.arms if arm.scores != arm.asked)
        yield from (("shifts", arm.shifts) for arm in self.arms if arm.shifts)


def build_graph(recipe: Recipe, store: Store, every_teacher: bool = False) -> Graph:
    """Name everything a recipe stands for; teachers that no blend mixes only with `every_teacher`.

    Raises:
        RecipeError: two mixtures, merges or arms come to the same name, or a merge names no mixture.
        MixrayError: a model is missing or a problem file cannot be read.
    """
    source = problems.handle(store, "train", recipe.problems)
    asked_of_students = exam(store, recipe.evaluate, recipe.student_prompt, recipe.seed, recipe.serve)
    used = sorted(recipe.teachers if every_teacher else {pool for blend in recipe.mixtures.values() for pool in blend.names})
    asked = {name: teachers.handle(store, name, recipe.teachers[name], source, recipe.seed, rule(recipe.problems)) for name in used}
    judge, pools = recipe.judge, dict(asked)
    if judge is not None:
        pools = {name: second_opinion.handle(store, name, pool, judge, recipe.seed, asking()) for name, pool in asked.items()}
    twice = overlaps.handle(store, source, dict(asked_of_students.benchmarks))
    models.look_up(student.model for student in recipe.students.values() if student.is_taught)
    mixes: list[Mix] = []
    arms: list[Arm] = []
    for student, settings in recipe.students.items():
        arms.append(_untouched(store, student, settings, asked_of_students))
        if not settings.is_taught:
            continue
        for mix in _mixes(recipe, store, settings, pools, twice):
            if mix.artefact not in [other.artefact for other in mixes]:
                mixes.append(mix)
            arms += [_taught(store, student, settings.model, mix, seed, asked_of_students) for seed in recipe.seeds]
        arms += _merged_arms(recipe, store, [arm for arm in arms if arm.student == student], asked_of_students)
    _refuse_departures_of_nobody(recipe)
    refuse_a_name_twice([arm.name for arm in arms])
    arms = [replace(arm, shifts=_shifts(recipe, store, arm, asked_of_students)) for arm in arms]
    return Graph(source, asked_of_students, asked, pools, twice, mixes, arms)


def _refuse_departures_of_nobody(recipe: Recipe) -> None:
    known = [*recipe.mixtures, *mixture_names(recipe)]
    if nobodys := sorted(set(recipe.train.departures) - {MIXED, *known}):
        raise RecipeError(
            "Departures are of no mixture of this recipe",
            seen=", ".join(f"train.departures.{name}" for name in nobodys),
            rule=f"the mixtures are {', '.join(dict.fromkeys(known))}",
            do="name one of them, or a blend; or take them out" + nearest(nobodys[0], known),
        )


def _mixes(recipe: Recipe, store: Store, student: Student, pools: dict[str, Artefact], twice: Artefact) -> list[Mix]:
    mixes, everybodys = [], recipe.train.for_student(student.train)
    for name, (blend_name, alpha) in mixture_names(recipe).items():
        blend = recipe.mixtures[blend_name]
        train, matched = everybodys.of(name, blend_name, sum(share > 0 for share in blend.shares(alpha).values()))
        made_of = mixing.Ingredients(
            blend=blend, alpha=alpha, pools={pool: pools[pool] for pool in blend.names}, overlaps=twice, student=student.model,
            student_prompt=recipe.student_prompt, max_tokens=train.max_tokens, seed=recipe.seed, train=train,
            cuts=train.cut_to is not None,
        )  # fmt: skip
        mixes.append(Mix(name, blend_name, made_of, mixing.handle(store, name, made_of), train, matched))
    return mixes


def _merged_arms(recipe: Recipe, store: Store, arms: list[Arm], exam: evaluation.Exam) -> list[Arm]:
    """Return the merges of one student's trained arms: each of two arms of one seed."""
    trained = {(arm.mix.name, arm.seed): (arm.trained, arm.mix.matched) for arm in arms if arm.mix and arm.trained}
    student, model = arms[0].student, arms[0].model
    made = []
    for name, (merge_name, alpha) in merge_names(recipe).items():
        how = recipe.merges[merge_name]
        for seed in recipe.seeds:
            (hard, hard_matched), (easy, easy_matched) = trained[how.hard, seed], trained[how.easy, seed]
            arm = f"{student}-{name}-s{seed}"
            weights = training.merging.handle(store, arm, hard, easy, model, how, alpha, seed)
            merged = Merged(name, merge_name, how, alpha, hard, easy, hard_matched and easy_matched)
            asked = evaluation.handle(store, arm, weights, exam)
            scores = judged_scores(asked, exam, weights)
            made.append(Arm(arm, student, model, None, seed, weights, asked, scores, merged, budgets=_budgets(asked, exam)))
    return made


def _untouched(store: Store, student: str, settings: Student, exam: evaluation.Exam) -> Arm:
    """Return arm 0 of a student; one behind an endpoint has no other."""
    name = f"{student}-{UNTOUCHED}"
    endpoint = None if settings.is_taught else settings
    asked = evaluation.handle(store, name, settings, exam)
    budgets = _budgets(asked, exam) if endpoint is None else None
    return Arm(name, student, settings.model, None, None, None, asked, judged_scores(asked, exam), endpoint=endpoint, budgets=budgets)


def _taught(store: Store, student: str, model: str, mix: Mix, seed: int, exam: evaluation.Exam) -> Arm:
    name = f"{student}-{mix.name}-s{seed}"
    trained = training.handle(store, name, mix.artefact, model, mix.train, seed)
    asked = evaluation.handle(store, name, trained, exam)
    return Arm(name, student, model, mix, seed, trained, asked, judged_scores(asked, exam, trained), budgets=_budgets(asked, exam))


def _budgets(scores: Artefact, exam: evaluation.Exam) -> Artefact | None:
    return evaluation.budgets.handle(scores, exam) if exam.evaluate.budgets else None


def _shifts(recipe: Recipe, store: Store, arm: Arm, exam: evaluation.Exam) -> Artefact | None:
    if recipe.shifts is None or arm.endpoint is not None or (arm.trained is None and not recipe.shifts.untouched):
        return None
    return shifts.handle(store, arm.answered, arm.model, recipe.shifts, exam.prompts, recipe.seed)
