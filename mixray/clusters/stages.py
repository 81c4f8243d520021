"""What each stage of a run asks of a cluster: from the recipe and from what is there already. What is done asks for nothing.

In: a recipe and its graph. Out: for each stage to come the places it needs at least and takes at most. How large a place is, the stages
themselves say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mixray.engine import STUDENT_CPU_SHARE
from mixray.graph import Graph
from mixray.placement import asked_for
from mixray.recipe import Asked, Placed, Recipe, Teacher, Train
from mixray.serving.app import bundles
from mixray.shifts.stage import actors_for
from mixray.teachers.stream import resources as of_teacher
from mixray.training.fit import resources as of_worker

_READERS = 2
"""Tasks of Ray Data beside its actors."""


@dataclass(frozen=True)
class Demand:
    """Places of one size on nodes of one kind."""

    what: str
    bundle: tuple[tuple[str, float], ...]
    labels: tuple[tuple[str, str], ...]
    fewest: int
    most: int
    key: str
    """Of the recipe, for what to change."""

    @property
    def told(self) -> str:
        """One place in words."""
        size = " + ".join(f"{amount:g} {name}" for name, amount in self.bundle if amount)
        return size + "".join(f", {key}={value}" for key, value in self.labels)


@dataclass(frozen=True)
class StageNeeds:
    """One stage, and everything it needs at a time."""

    stage: str
    demands: tuple[Demand, ...]


def _demand(what: str, size: dict[str, float], placed: Placed, fewest: int, most: int, key: str) -> Demand:
    bundle = tuple((name, float(size.get(name, 0))) for name in ("CPU", "GPU"))
    return Demand(what, bundle, tuple(asked_for(placed).items()), fewest, max(fewest, most), key)


DRIVER = _demand("driver", {"CPU": 1}, Placed(), 1, 1, "")
"""The command itself, which mixes, judges students and counts; `ray job submit --entrypoint-num-cpus 1` keeps it off the head."""
_READING = _demand("reading", {"CPU": 1}, Placed(), 1, _READERS, "")


def stages_to_come(recipe: Recipe, graph: Graph, is_reported: bool = True) -> list[StageNeeds]:
    """Return the stages that have something left to make, in their order; the report, where it is not there, needs the driver alone."""
    found = [
        *_asking(recipe, graph),
        *_mixing(graph),
        *_training(recipe, graph),
        *_examining(recipe, graph),
        *_reading_again(recipe, graph),
        *([] if is_reported else [("report", [])]),
    ]
    return [StageNeeds(stage, (DRIVER, *demands)) for stage, demands in found]


Found = Iterator[tuple[str, list[Demand]]]


def _asking(recipe: Recipe, graph: Graph) -> Found:
    for name, pool in graph.asked.items():
        teacher = recipe.teachers[name]
        if isinstance(teacher, Asked) and not pool.is_done():
            yield f"teacher {name}", [*_actors(teacher, f"teachers.{name}"), _READING]
        if recipe.judge and not graph.pools[name].is_done():
            yield f"judge of {name}", [*_actors(recipe.judge.teacher, "judge.teacher"), _READING]


def _actors(teacher: Asked, key: str) -> list[Demand]:
    reserved = of_teacher(teacher)
    fewest, most = teacher.replicas if isinstance(teacher, Teacher) else (1, 1)
    return [_demand("replicas", {"CPU": reserved["num_cpus"], "GPU": reserved["num_gpus"]}, teacher, fewest, most, key)]


def _mixing(graph: Graph) -> Found:
    waiting = [mix for mix in graph.mixes if not mix.artefact.is_done()]
    counting = [_demand("counting tokens", {"CPU": 1}, Placed(), 1, 1, "")]
    reading = [mix.train for mix in waiting if mix.made_of.blend.needs_fit]
    if reading:
        size = {"CPU": 1.0, "GPU": float(any(train.use_gpu for train in reading))}
        counting += [_demand("the student reads pools", size, reading[0], 1, 1, "train"), _READING]
    if waiting:
        yield "mixtures", counting


def _training(recipe: Recipe, graph: Graph) -> Found:
    """Return the trainings to come; those of one setting are told once, with what is trained beside them where several arms are at once."""
    waiting = [(arm.mix, arm.mix.train) for arm in graph.arms if arm.mix and arm.trained and not arm.trained.is_done()]
    trains = [train for _, train in waiting]
    seen: list[Train] = []
    for mix, train in waiting:
        if train in seen:
            continue
        seen.append(train)
        own = min(recipe.train.arms_at_once, trains.count(train))
        beside = sorted((other for other in trains if other != train), key=_largest, reverse=True)[: recipe.train.arms_at_once - own]
        fewest, most = train.workers
        workers = _demand("workers", of_worker(train), train, fewest, most * own, "train")
        yield "train" if mix.matched else f"train {mix.name}", [workers, *_beside(beside)]


def _largest(train: Train) -> list[float]:
    """Return what one training takes at most, GPUs first."""
    size = of_worker(train)
    return [size.get(name, 0) * train.workers[1] for name in ("GPU", "CPU")]


def _beside(trains: list[Train]) -> Iterator[Demand]:
    """Return places that other trainings take while there is room; they wait where there is none."""
    alike: dict[Demand, int] = {}
    for train in trains:
        one = _demand("workers of other arms", of_worker(train), train, 0, 1, "train")
        alike[one] = alike.get(one, 0) + train.workers[1]
    return (replace(one, most=most) for one, most in alike.items())


def _examining(recipe: Recipe, graph: Graph) -> Found:
    waiting = [arm for arm in graph.arms if arm.endpoint is None and not arm.is_asked]
    serve, at_once = recipe.serve, min(recipe.serve.students_at_once, len(waiting))
    if waiting and recipe.evaluate.through == "engine":
        size = {"CPU": STUDENT_CPU_SHARE, "GPU": serve.num_gpus}
        yield "ask students", [_demand("engines", size, serve, at_once, at_once, "serve")]
    elif waiting:
        each = bundles(serve)
        fewest, most = (at_once * replicas * len(each) for replicas in (max(1, serve.replicas[0]), serve.replicas[1]))
        yield "ask students", [_demand("students", each[0], serve, fewest, most, "serve")]
    judge = recipe.evaluate.judge
    if judge and not all(arm.scores.is_done() for arm in graph.arms):
        yield "judge of students", [*_actors(judge.teacher, "evaluate.judge.teacher"), _READING]


def _reading_again(recipe: Recipe, graph: Graph) -> Found:
    settings, waiting = recipe.shifts, [arm for arm in graph.arms if arm.shifts and not arm.shifts.is_done()]
    if settings and waiting:
        most = max(1, actors_for(math.ceil(len(waiting) / len(recipe.students)) * settings.num_responses))
        size = {"CPU": 1.0, "GPU": settings.num_gpus}
        yield "shifts", [_demand("actors", size, settings, 1, most, "shifts"), _READING]
