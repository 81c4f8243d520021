"""The whole run on one screen: the file to read first.

    problems -> pools -> mixtures -> students -> scores -> report

Each arrow is a stage that reads artefacts and makes one; `graph.py` names them all beforehand, so what is there already is not made
again. Stages are joined here and nowhere else: what one needs of another is handed over as an artefact or a function.
"""

from __future__ import annotations

from contextlib import ExitStack

from mixray import evaluation, mixing, problems, report, serving, teachers, training
from mixray.graph import UNTOUCHED, Arm, Graph, build_graph
from mixray.models import resolve
from mixray.progress import Display
from mixray.recipe import Recipe
from mixray.session import ray_session
from mixray.store import Artefact, Store
from mixray.verify import Judge, verify


def run(recipe: Recipe, store: Store, display: Display) -> Artefact:
    """Make everything the recipe stands for and return the report; what is there already is found, not made.

    Raises:
        MixrayError: a stage cannot do its work; what was made before stays and is found by the next run.
    """
    graph = build_graph(recipe, store)
    with ExitStack() as session:
        if not all(artefact.is_done() for _, artefact in graph.artefacts()):
            display.say("starting Ray")
            session.enter_context(ray_session())
        gather_problems(recipe, graph, store, display)
        ask_teachers(recipe, graph, store, display)
        mix_pools(recipe, graph, store, display)
        train_students(recipe, graph, store, display)
        ask_students(recipe, graph, store, display)
    return write_report(recipe, graph, store, display)


def gather_problems(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Read the training problems and the benchmarks."""
    for name, source in {"train": recipe.problems, **recipe.evaluate.benchmarks}.items():
        line = display.stage(f"problems {name}")
        out = problems.run(store, name, source, line).outcome
        line.finish(f"{out['num_problems']} problems, {out['num_set_aside']} set aside")


def ask_teachers(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Let each teacher answer the training problems and judge its answers in the same stream."""
    for name in graph.pools:
        line = display.stage(f"teacher {name}")
        unboxed = recipe.problems.unboxed
        pool = teachers.run(store, name, recipe.teachers[name], graph.problems, recipe.seed, Judge, unboxed, line)
        out = pool.outcome
        line.finish(f"{out['num_traces']} traces, {out['right'] / out['num_traces']:.0%} right, {out['response_tokens']:,} tokens")


def mix_pools(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Draw each mixture from its two pools."""
    for mix in graph.mixes:
        line = display.stage(f"mixture {mix.name}")
        hard, easy = graph.pools[mix.blend.hard], graph.pools[mix.blend.easy]
        mixing.run(
            store, mix.name, mix.alpha, mix.blend, hard, easy, recipe.seed, mix.tokenizer_source,
            recipe.train.max_tokens, recipe.student_prompt, line,
        )  # fmt: skip
        out = mix.artefact.outcome
        line.finish(f"{out['num_rows']} rows")


def train_students(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Train every arm but arm 0, all with the same settings."""
    for arm in graph.arms:
        if arm.mix is None or arm.seed is None:
            continue
        line = display.stage(f"train {arm.name}")
        out = training.run(store, arm.name, arm.mix.artefact, arm.model, recipe.train, arm.seed, line).outcome
        line.finish(f"{out['num_steps']} steps, loss {out['first_loss']:.2f} to {out['last_loss']:.3f}")


def ask_students(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Serve the students, a few at a time, and ask them the benchmarks over HTTP."""
    waiting = [arm for arm in graph.arms if not arm.scores.is_done()]
    for start in range(0, len(waiting), recipe.serve.students_at_once):
        group = waiting[start : start + recipe.serve.students_at_once]
        line = display.stage(f"serve {len(group)} students")
        folders = {arm.name: str(arm.trained.local_folder()) if arm.trained else resolve(arm.model) for arm in group}
        with serving.serve_students(folders, recipe.serve, key=None, progress=line) as endpoint:
            line.finish(endpoint.url)
            for arm in group:
                ask_student(recipe, graph, arm, store, endpoint, display)


def ask_student(recipe: Recipe, graph: Graph, arm: Arm, store: Store, endpoint: serving.Endpoint, display: Display) -> None:
    """Ask one student that is up."""
    line = display.stage(f"ask {arm.name}")
    unboxed = {name: source.unboxed for name, source in recipe.evaluate.benchmarks.items()}
    scores = evaluation.run(
        arm.scores, graph.benchmarks, endpoint, recipe.evaluate, recipe.student_prompt, recipe.seed, verify, unboxed, line
    )
    told = ", ".join(f"{name} {out['accuracy']:.1%}" for name, out in scores.outcome["benchmarks"].items())
    line.finish(told)


def write_report(recipe: Recipe, graph: Graph, store: Store, display: Display) -> Artefact:
    """Compare the arms, with intervals."""
    line = display.stage("report")
    return line
