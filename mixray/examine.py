"""Asking students: who is asked what, served or in an engine, in a run or by themselves.

In: arms of a graph, or one model. Out: their scores, thinking budgets and second opinions. What the stages `serving`, `evaluation` and
`teachers` need of one another is handed over here; everything that survives a kill is theirs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from mixray import evaluation, problems, serving, teachers
from mixray.disk import disk_errors_explained
from mixray.graph import Arm, build_graph
from mixray.judging import asking, judged_scores, own_verifier
from mixray.judging import doubts as doubts_of
from mixray.judging import exam as exam_of
from mixray.models import resolve
from mixray.progress import Display, StageProgress
from mixray.recipe import Alone, Evaluate, ProblemSet, Recipe, Serve
from mixray.runs import at_work
from mixray.store import Artefact, Store
from mixray.teachers import second_opinion
from mixray.threads import side_by_side
from mixray.verify import verify


def benchmark_sets(evaluate: Evaluate) -> dict[str, ProblemSet]:
    """Return the problem sets of the benchmarks, by name."""
    return {name: asked.problem_set for name, asked in evaluate.benchmarks.items()}


def read_problems(sources: Mapping[str, ProblemSet], store: Store, display: Display) -> None:
    """Read problem sets, by the names of their artefacts."""
    for name, source in sources.items():
        line = display.stage(f"problems {name}")
        out = problems.run(store, name, source, verify, line, own_verifier(source)).outcome
        line.finish(f"{out['num_problems']} problems, {out['num_set_aside']} set aside")


def check_endpoint(arms: Iterable[Arm], evaluate: Evaluate, serve: Serve) -> None:
    """Look at keys and certificate before hours of work, where an endpoint will be needed at their end.

    Raises:
        ServingError: they do not do.
    """
    if evaluate.through == "endpoint" and any(arm.endpoint is None and not arm.is_asked for arm in arms):
        serving.check(serve)


def ask_students(arms: Iterable[Arm], exam: evaluation.Exam, serve: Serve, display: Display) -> None:
    """Ask every arm the benchmarks: those behind endpoints of their own, then the others, a few at a time."""
    waiting = [arm for arm in arms if not arm.is_asked]
    for arm in waiting:
        if arm.endpoint is not None:
            line = display.stage(f"ask {arm.name}")
            ask_one(Sitting(arm.asked), exam, evaluation.behind_endpoint(arm.endpoint, exam.evaluate), line)
    ours = [arm for arm in waiting if arm.endpoint is None]
    ask_models(model_folders(ours), {arm.name: Sitting(arm.asked, arm.budgets) for arm in ours}, exam, serve, display)


@dataclass(frozen=True)
class Sitting:
    """What one arm's asking makes."""

    scores: Artefact
    budgets: Artefact | None = None


def ask_models(models: Mapping[str, str], sittings: Mapping[str, Sitting], exam: evaluation.Exam, serve: Serve, display: Display) -> None:
    """Ask models, `serve.students_at_once` at a time: an engine for each and the next as one ends, or one endpoint for so many together."""
    names, at_once = list(models), min(serve.students_at_once, len(models))
    if exam.evaluate.through == "engine":
        calls = [partial(ask_in_engine, name, models[name], sittings[name], exam, serve, at_once, display) for name in names]
        for _ in side_by_side(calls, most=at_once):
            pass
        return
    for start in range(0, len(names), max(1, at_once)):
        ask_behind_endpoint({name: models[name] for name in names[start : start + at_once]}, sittings, exam, serve, display)


def ask_in_engine(name: str, model: str, sitting: Sitting, exam: evaluation.Exam, serve: Serve, at_once: int, display: Display) -> None:
    """Ask one model in an engine that shares the cores with `at_once - 1` others."""
    ask_one(sitting, exam, evaluation.EngineStudent(model, serve, exam.evaluate, at_once), display.stage(f"ask {name}"), model)


def ask_behind_endpoint(
    models: Mapping[str, str], sittings: Mapping[str, Sitting], exam: evaluation.Exam, serve: Serve, display: Display
) -> None:
    """Serve a few models behind one endpoint and ask them side by side."""
    line = display.stage(f"serve {len(models)} students")
    with serving.serve_students(models, serve, progress=line, prompts=exam.prompts) as endpoint:
        line.finish(endpoint.url)
        at_once = max(1, exam.evaluate.concurrency // len(models))
        calls = []
        for name, model in models.items():
            asker = evaluation.Student(endpoint.url, endpoint.key, name, exam.evaluate, at_once, tls_cert=endpoint.tls_cert)
            calls.append(partial(ask_one, sittings[name], exam, asker, display.stage(f"ask {name}"), model))
        for _ in side_by_side(calls):
            pass


def ask_one(sitting: Sitting, exam: evaluation.Exam, asker: evaluation.Asker, line: StageProgress, model: str = "") -> None:
    """Ask one model everything, and to end what goes beyond a budget; tell how often it was right."""
    with contextlib.closing(asker):
        told = evaluation.in_words(evaluation.run(sitting.scores, exam, asker, line).outcome)
        if sitting.budgets is not None:
            made = evaluation.budgets.run(sitting.budgets, sitting.scores, model, exam, asker, line)
            told += "; forced: " + evaluation.budgets.in_words(made.outcome)
    line.finish(told)


def judge_students(arms: Iterable[Arm], exam: evaluation.Exam, display: Display) -> None:
    """Ask the judge about the students' answers, where the recipe has one for them."""
    for arm in arms:
        judge_scores(arm.scores, arm.asked, exam, display)


def judge_scores(scores: Artefact, asked: Artefact, exam: evaluation.Exam, display: Display) -> None:
    """Make an arm's scores with second opinions of its scores without; nothing where there is no judge."""
    judge = exam.evaluate.judge
    if judge is None or scores.is_done():
        return
    line, doubts = display.stage(f"judge of {asked.name}"), doubts_of(asked, judge)
    said, spent = dict[str, str](), {"judge_response_tokens": 0, "judge_cost": 0.0, "judge_currency": judge.teacher.price.currency}
    if evaluation.opinions.write_doubts(doubts, asked, judge, asking().question):
        rule, kind = asking().rule, second_opinion.JUDGEMENTS
        told = teachers.run(asked.store, asked.name, judge.teacher, doubts, exam.seed, rule, line, kind=kind)
        for table in told.tables(["problem_id", "verdict"]):
            said |= zip(*(table[column].to_pylist() for column in ("problem_id", "verdict")), strict=True)
        spent |= {"judge_response_tokens": told.outcome["response_tokens"], "judge_cost": told.outcome["cost"]}
    out = evaluation.opinions.run(scores, asked, exam, said, spent).outcome
    resting = sum(told["right_by_judge"] for told in out["benchmarks"].values())
    line.finish(f"{len(said):,} answers asked about, {resting:,} right ones rest on it: {evaluation.in_words(out)}")


def evaluate(recipe: Recipe, store: Store, display: Display) -> list[Arm]:
    """Ask the arms that are there, trained or untouched, and nothing else; return them, with the scores made."""
    graph = build_graph(recipe, store)
    ready = [arm for arm in graph.arms if arm.trained is None or arm.trained.is_done()]
    with disk_errors_explained(store.url), ExitStack() as session:
        check_endpoint(ready, recipe.evaluate, recipe.serve)
        ours = any(arm.endpoint is None and not arm.is_asked for arm in ready)
        if ours or not all(arm.scores.is_done() for arm in ready if recipe.evaluate.judge):
            session.enter_context(at_work(store, recipe.name, display))
        read_problems(benchmark_sets(recipe.evaluate), store, display)
        ask_students(ready, graph.exam, recipe.serve, display)
        judge_students(ready, graph.exam, display)
    return ready


def evaluate_alone(alone: Alone, store: Store, display: Display, trained: Artefact | None = None) -> tuple[Artefact, Artefact | None]:
    """Ask one model by itself: an artefact of the store, a model, or one behind an endpoint; return its scores and budgets."""
    exam = exam_of(store, alone.evaluate, alone.student_prompt, alone.seed, alone.serve)
    student, here = alone.student, alone.student.is_taught
    asked = evaluation.handle(store, alone.name, trained or student, exam)
    scores = judged_scores(asked, exam, trained)
    budgets = evaluation.budgets.handle(asked, exam) if here and alone.evaluate.budgets else None
    sitting = Sitting(asked, budgets)
    with disk_errors_explained(store.url), ExitStack() as session:
        waits = not (asked.is_done() and (budgets is None or budgets.is_done()))
        if here and waits and alone.evaluate.through == "endpoint":
            serving.check(alone.serve)
        if (here and waits) or not (scores == asked or scores.is_done()):
            session.enter_context(at_work(store, alone.name, display))
        read_problems(benchmark_sets(alone.evaluate), store, display)
        if waits and here:
            model = student_model(trained) if trained else resolve(student.model)
            ask_models({alone.name: model}, {alone.name: sitting}, exam, alone.serve, display)
        elif waits:
            line = display.stage(f"ask {alone.name}")
            ask_one(sitting, exam, evaluation.behind_endpoint(student, alone.evaluate), line)
        judge_scores(scores, asked, exam, display)
    return scores, budgets


def model_folders(arms: list[Arm]) -> dict[str, str]:
    """Return what the endpoint loads for each arm: the trained student, or the untouched model."""
    return {arm.name: student_model(arm.trained) if arm.trained else resolve(arm.model) for arm in arms}


def student_model(trained: Artefact) -> str:
    """Return what leads to a trained student wherever it is loaded: its folder, or its address in a remote storage."""
    return str(trained.local_folder()) if trained.store.is_local else trained.address
