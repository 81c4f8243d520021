"""What a run still needs, in numbers: answers, arms, GPUs. From the recipe and from what is there already; what is done needs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mixray import clusters
from mixray.graph import Graph
from mixray.recipe import Asked, Recipe
from mixray.store import Artefact


@dataclass(frozen=True)
class Needs:
    """What is left to ask and to train, at most.

    Attributes:
        teacher_answers: to the problems that are counted.
        arms: that are not scored yet.
        student_answers: to the benchmarks that are counted.
        gpus: that the stage with most takes at once.
        uncounted: sets of problems whose number neither the recipe nor the storage tells.
    """

    teacher_answers: int
    arms: int
    student_answers: int
    gpus: float
    uncounted: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        told = {"teacher answers": self.teacher_answers, "arms": self.arms, "student answers": self.student_answers}
        return told | {"GPUs at once": f"{self.gpus:g}"} | ({"not counted": list(self.uncounted)} if self.uncounted else {})

    def in_words(self) -> str:
        """Return it as one line."""
        counted = f"{self.teacher_answers} teacher answers, {self.arms} arms, {self.student_answers} student answers, "
        rest = f"the answers to {' and '.join(self.uncounted)}, as many as there are, " if self.uncounted else ""
        return f"{counted}{rest}{self.gpus:g} GPUs at once"


def needs(recipe: Recipe, graph: Graph) -> Needs:
    """Return what is left of a run."""
    sizes = {name: asked.num_problems or asked.num_published for name, asked in recipe.evaluate.benchmarks.items()}
    sizes = {name: _counted(size, graph.exam.benchmarks[name]) for name, size in sizes.items()}
    num_problems = _counted(recipe.problems.num_problems, graph.problems)
    waiting = [recipe.teachers[name] for name, pool in graph.asked.items() if not pool.is_done()]
    samples = sum(teacher.most_samples for teacher in waiting if isinstance(teacher, Asked))
    num_unasked = sum(not arm.is_asked for arm in graph.arms)
    uncounted = ["the training problems"] * (samples > 0 and num_problems is None)
    return Needs(
        samples * (num_problems or 0),
        sum(not arm.scores.is_done() for arm in graph.arms),
        num_unasked * sum((size or 0) * recipe.evaluate.samples_of(name) for name, size in sizes.items()),
        max((_gpus(stage) for stage in clusters.stages_to_come(recipe, graph)), default=0),
        (*uncounted, *(name for name, size in sizes.items() if size is None and num_unasked)),
    )


def _counted(said: int | None, problems: Artefact) -> int | None:
    """Return how many problems there are: as counted, or as the recipe says, of which some may yet be set aside."""
    return int(problems.outcome["num_problems"]) if problems.is_done() else said


def _gpus(stage: clusters.StageNeeds) -> float:
    return sum(dict(demand.bundle)["GPU"] * demand.most for demand in stage.demands)
