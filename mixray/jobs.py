"""Which jobs there are: what `jobs/NAME.py` and `mixray submit --job NAME` call, and what each leaves behind.

In: a job's name. Out: its words on the command line, and the artefacts that show whether it is done: those alone tell, also when the
cluster that made them is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixray.recipe import Recipe
from mixray.store import Artefact, Store

if TYPE_CHECKING:
    from mixray.graph import Graph

Makes = Callable[[Recipe, Store], list[Artefact]]


@dataclass(frozen=True)
class Job:
    """One kind of job."""

    words: tuple[str, ...]
    """Of the command line, before the recipe."""
    makes: Makes | None
    """What it makes of a recipe, the last of it what one wants to see; None where its recipe alone does not say."""


def _graph(recipe: Recipe, store: Store, every_teacher: bool = False) -> Graph:
    from mixray.graph import build_graph  # the stages behind it take seconds to import, and most of a job's life needs none

    return build_graph(recipe, store, every_teacher)


def _run(recipe: Recipe, store: Store) -> list[Artefact]:
    from mixray import pipeline

    graph = _graph(recipe, store)
    return [*(artefact for _, artefact in graph.artefacts()), pipeline.report_of(recipe, graph, store)]


def _generate(recipe: Recipe, store: Store) -> list[Artefact]:
    return list(_graph(recipe, store, every_teacher=True).pools.values())


def _mix(recipe: Recipe, store: Store) -> list[Artefact]:
    return list(_graph(recipe, store).mixtures.values())


def _train(recipe: Recipe, store: Store) -> list[Artefact]:
    return [arm.trained for arm in _graph(recipe, store).arms if arm.trained]


def _evaluate(recipe: Recipe, store: Store) -> list[Artefact]:
    """Of the arms that are there: it asks no others."""
    ready = [arm for arm in _graph(recipe, store).arms if arm.trained is None or arm.trained.is_done()]
    return [made for arm in ready for made in (arm.budgets, arm.asked, arm.scores) if made]


JOBS: Mapping[str, Job] = {
    "run": Job(("run",), _run),
    "generate": Job(("pool", "make"), _generate),
    "mix": Job(("mixture", "make"), _mix),
    "train": Job(("student", "make"), _train),
    "evaluate": Job(("evaluate",), _evaluate),
    "serve": Job(("serve",), None),
    "sweep": Job(("sweep",), None),
}


def made(name: str, recipe: Recipe, store: Store) -> Artefact | None:
    """Return what a job leaves behind, if all of it is there; None where something is missing or the recipe alone does not say."""
    makes = JOBS[name].makes
    artefacts = makes(recipe, store) if makes else []
    return artefacts[-1] if artefacts and all(artefact.is_done() for artefact in artefacts) else None
