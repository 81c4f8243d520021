"""The whole run on one screen: the file to read first.

    problems -> pools -> mixtures -> students -> scores (-> shifts) -> report

Each arrow is a stage that reads artefacts and makes one; `graph.py` names them all beforehand, so what is there already is not made
again. Stages are joined here and nowhere else: what one needs of another is handed over as an artefact or a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from mixray import evaluation, examine, mixing, overlaps, problems, report, serving, shifts, teachers, training
from mixray.disk import disk_errors_explained
from mixray.examine import model_folders
from mixray.graph import Arm, Graph, build_graph
from mixray.judging import asking, own_verifier, rule
from mixray.progress import Display
from mixray.recipe import Asked, ImportedTeacher, ProblemSet, Recipe, Serve
from mixray.runs import at_work
from mixray.session import ray_session
from mixray.store import Artefact, Store
from mixray.teachers import pool_in_words, second_opinion
from mixray.threads import side_by_side
from mixray.verify import verify


def run(recipe: Recipe, store: Store, display: Display) -> tuple[Artefact, str]:
    """Make everything the recipe stands for; return the report and the answer in words. What is there is found, not made.

    Raises:
        MixrayError: a stage cannot do its work; what was made before stays and is found by the next run.
    """
    graph = build_graph(recipe, store)
    with disk_errors_explained(store.url), ExitStack() as session:
        if not all(artefact.is_done() for _, artefact in graph.artefacts()):
            examine.check_endpoint(graph.arms, recipe.evaluate, recipe.serve)
            session.enter_context(at_work(store, recipe.name, display))
        teach_students(recipe, graph, store, display)
        examine.ask_students(graph.arms, graph.exam, recipe.serve, display)
        examine.judge_students(graph.arms, graph.exam, display)
        read_answers_again(recipe, graph, store, display)
        return write_report(recipe, graph, store, display)


def teach_students(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Make the students, with all that comes before them."""
    waiting = [arm for arm in graph.arms if arm.trained is not None and not arm.trained.is_done()]
    training.check_students((arm.model, arm.mix.train) for arm in waiting if arm.mix is not None)
    gather_problems(recipe, graph, store, display)
    ask_teachers(recipe, graph, store, display)
    mix_pools(recipe, graph, store, display)
    train_students(recipe, graph, store, display)
    merge_students(graph, store, display)


def gather_problems(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Read the training problems and the benchmarks."""
    examine.read_problems({"train": recipe.problems, **examine.benchmark_sets(recipe.evaluate)}, store, display)


def ask_teachers(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Let each teacher answer the training problems, judging its answers in the same stream; then ask the judge, where there is one."""
    for name in graph.asked:
        line = display.stage(f"teacher {name}")
        pool = teachers.run(store, name, recipe.teachers[name], graph.problems, recipe.seed, rule(recipe.problems), line)
        line.finish(pool_in_words(pool.outcome))
        if recipe.judge:
            line = display.stage(f"judge of {name}")
            out = second_opinion.run(store, name, pool, recipe.judge, recipe.seed, asking(), line).outcome
            line.finish(f"{out['judged']:,} answers asked about; {out['right_by_judge']:,} of {out['right']:,} right ones rest on it")


def mix_pools(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Look for what should not be there twice; then draw each mixture from its pools."""
    line = display.stage("overlaps")
    out = overlaps.run(store, graph.problems, graph.benchmarks, line).outcome
    line.finish(
        f"{out['num_contaminated']:,} of {out['num_problems']:,} problems overlap a benchmark, {out['num_repeated']:,} repeat another"
    )
    for mix in graph.mixes:
        line = display.stage(f"mixture {mix.name}")
        out = mixing.run(store, mix.name, mix.made_of, line).outcome
        dropped = sum(step["dropped_rows"] for step in out["steps"][:-2])
        cut = f", {sum(pool['rows'] for pool in out['cut'].values()):,} rows cut" if "cut" in out else ""
        line.finish(f"{out['num_rows']:,} rows, {out['token_share']:.0%} of tokens from {out['hard']}; {dropped:,} traces left out{cut}")


def train_students(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Train every arm but the untouched ones, all with the same settings."""
    taught = [arm for arm in graph.arms if arm.mix is not None]
    missing = any(arm.trained is not None and not arm.trained.is_done() for arm in taught)
    calls = [partial(train_student, arm, store, display) for arm in taught]
    for _ in side_by_side(calls, most=training.arms_at_once(recipe.train) if missing else 1):
        pass


def train_student(arm: Arm, store: Store, display: Display) -> None:
    """Train one arm."""
    if arm.mix is None or arm.seed is None:
        return
    line = display.stage(f"train {arm.name}")
    out = training.run(store, arm.name, arm.mix.artefact, arm.model, arm.mix.train, arm.seed, line).outcome
    line.finish(f"{out['num_steps']} steps, loss {out['first_loss']:.2f} to {out['last_loss']:.3f}")


def merge_students(graph: Graph, store: Store, display: Display) -> None:
    """Merge trained students of one base and seed in weight space, where the recipe asks for it."""
    for arm in graph.arms:
        if arm.merged is None or arm.seed is None:
            continue
        line = display.stage(f"merge {arm.name}")
        of = arm.merged
        out = training.merging.run(store, arm.name, of.hard, of.easy, arm.model, of.how, of.alpha, arm.seed, line).outcome
        line.finish(f"{of.how.method}, {of.alpha:g} of {of.how.hard} over {of.how.easy}; {out['num_tensors']} tensors")


def read_answers_again(recipe: Recipe, graph: Graph, store: Store, display: Display) -> None:
    """Let each untouched student read what its arms answered, token by token, where the recipe asks for it."""
    if recipe.shifts is None:
        return
    for student, settings in recipe.students.items():
        arms = [arm.answered for arm in graph.arms if arm.student == student and arm.shifts]
        if not arms:
            continue
        line = display.stage(f"shifts of {student}")
        made = shifts.run(store, arms, settings.model, recipe.shifts, graph.exam.prompts, recipe.seed, line)
        line.finish(", ".join(f"{artefact.name} {artefact.outcome['unshifted']:.1%} unshifted" for artefact in made))


def write_report(recipe: Recipe, graph: Graph, store: Store, display: Display) -> tuple[Artefact, str]:
    """Compare the arms, with intervals; return the report and the answer in words."""
    line = display.stage("report")
    made = report.run(store, recipe.name, progress=line, **_told_to_report(recipe, graph))
    made.verify()
    line.finish(f"{len(graph.arms)} arms compared")
    return made, report.answer(made.read_json("report.json"))


def report_of(recipe: Recipe, graph: Graph, store: Store) -> Artefact:
    """Return the handle of the recipe's report, written or not."""
    return report.handle(store, recipe.name, **_told_to_report(recipe, graph))


def _told_to_report(recipe: Recipe, graph: Graph) -> dict[str, Any]:
    return {
        "arms": [told_of(arm) for arm in graph.arms],
        "mixtures": graph.mixtures,
        "pools": graph.pools,
        "overlaps": graph.overlaps,
        "settings": recipe.report,
        "seed": recipe.seed,
        "recipe": recipe.model_dump(mode="json"),
        "shifts": {arm.name: arm.shifts for arm in graph.arms if arm.shifts},
    }


def told_of(arm: Arm) -> report.Arm:
    """Return an arm as the report knows it."""
    of = arm.merged
    return report.Arm(
        name=arm.name, student=arm.student, seed=arm.seed, trained=arm.trained, scores=arm.scores,
        matched=arm.mix.matched if arm.mix else of.matched if of else True,
        mixture=arm.mix.name if arm.mix else of.name if of else None,
        blend=arm.mix.blend_name if arm.mix else of.merge_name if of else None,
        alpha=arm.mix.alpha if arm.mix else of.alpha if of else None,
        model=arm.trained.label if arm.trained else arm.model,
        merged=report.Merged(of.how.hard, of.how.easy, of.how.method) if of else None,
        budgets=arm.budgets,
    )  # fmt: skip


def make_pools(recipe: Recipe, store: Store, display: Display) -> dict[str, Artefact]:
    """Make the pools of every teacher of the recipe, mixed or not, and nothing after them; return them by teacher."""
    graph = build_graph(recipe, store, every_teacher=True)
    with disk_errors_explained(store.url), ExitStack() as session:
        waiting = [name for name, pool in graph.pools.items() if not pool.is_done()]
        if waiting:
            asking = any(recipe.judge or isinstance(recipe.teachers[name], Asked) for name in waiting)  # imports need no cluster
            session.enter_context(at_work(store, recipe.name, display, asking))
        line = display.stage("problems train")
        problems.run(store, "train", recipe.problems, verify, line, own_verifier(recipe.problems))
        ask_teachers(recipe, graph, store, display)
    return graph.pools


def make_mixtures(recipe: Recipe, store: Store, display: Display) -> dict[str, Artefact]:
    """Make the mixtures of a recipe, with the pools they need, and nothing after them; return them by name."""
    graph = build_graph(recipe, store)
    with disk_errors_explained(store.url), ExitStack() as session:
        asking = any(not graph.pools[name].is_done() and (recipe.judge or isinstance(recipe.teachers[name], Asked)) for name in graph.pools)
        missing = [mix for mix in graph.mixes if not mix.artefact.is_done()]
        if missing or asking:
            session.enter_context(at_work(store, recipe.name, display, asking or any(mix.made_of.blend.needs_fit for mix in missing)))
        gather_problems(recipe, graph, store, display)
        ask_teachers(recipe, graph, store, display)
        mix_pools(recipe, graph, store, display)
    return graph.mixtures


def make_students(recipe: Recipe, store: Store, display: Display) -> dict[str, Artefact]:
    """Make the trained and merged students of a recipe, with what they need, and ask them nothing; return them by arm."""
    graph = build_graph(recipe, store)
    made = {arm.name: arm.trained for arm in graph.arms if arm.trained}
    with disk_errors_explained(store.url), ExitStack() as session:
        if not all(student.is_done() for student in made.values()):
            session.enter_context(at_work(store, recipe.name, display))
        teach_students(recipe, graph, store, display)
    return made


def import_pool(name: str, teacher: ImportedTeacher, source: ProblemSet, store: Store, display: Display) -> Artefact:
    """Make a pool of existing traces over a problem set, as a recipe with the same two would find it; needs no cluster."""
    with disk_errors_explained(store.url):
        line = display.stage("problems train")
        asked = problems.run(store, "train", source, verify, line, own_verifier(source))
        line.finish(f"{asked.outcome['num_problems']:,} problems, {asked.outcome['num_set_aside']:,} set aside")
        line = display.stage(f"teacher {name}")
        pool = teachers.run(store, name, teacher, asked, Recipe.model_fields["seed"].default, rule(source), line)
        line.finish(pool_in_words(pool.outcome))
    return pool


def judge_again(recipe: Recipe, store: Store, display: Display) -> list[tuple[Artefact, teachers.Redone | evaluation.Redone]]:
    """Judge the recipe's pools, and the scores that are there, by the present policy, asking nobody; return each with what changed."""
    graph = build_graph(recipe, store, every_teacher=True)
    redone: list[tuple[Artefact, teachers.Redone | evaluation.Redone]] = []
    with disk_errors_explained(store.url):
        # A verifier checks golds, too; without one the problems are as they were when somebody answered them.
        sources = {"train": recipe.problems, **examine.benchmark_sets(recipe.evaluate)}
        examine.read_problems({name: source for name, source in sources.items() if source.verifier}, store, display)
        for name, pool in graph.asked.items():
            line = display.stage(f"verdicts {name}")
            change = teachers.judge_again(pool, recipe.teachers[name], graph.problems, rule(recipe.problems), line)
            redone.append((pool, change))
            line.finish(f"{sum(change.changes.values()):,} of {change.num_traces:,} verdicts changed")
        for arm in graph.arms:
            if evaluation.can_be_judged(arm.asked):
                line = display.stage(f"verdicts {arm.name}")
                again = evaluation.judge_again(arm.asked, graph.exam)
                redone.append((arm.asked, again))
                line.finish(f"{sum(again.changes.values()):,} of {again.num_traces:,} verdicts changed")
    return redone


def students_of(recipe: Recipe, store: Store) -> dict[str, str]:
    """Return what the endpoint loads for each arm that is trained, and for the untouched ones."""
    arms = build_graph(recipe, store).arms
    return model_folders([arm for arm in arms if arm.endpoint is None and (arm.trained is None or arm.trained.is_done())])


def serve(models: dict[str, str], settings: Serve, display: Display, prompts: Mapping[str, str] | None = None) -> None:
    """Serve students until interrupted."""
    serving.check(settings)
    with ray_session():
        serving.serve_forever(models, settings, display, prompts)
