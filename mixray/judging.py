"""What is asked and how answers are judged, for those who make it and those who only name it: the rule, a judge, their artefacts.

In: parts of a recipe. Out: exams, rules, and handles of what a judge is asked and says. Here the stages that ask are handed what `verify`
offers, since none imports another.
"""

from __future__ import annotations

from mixray import evaluation, problems, teachers, verify
from mixray.recipe import Evaluate, LlmJudge, ProblemSet, Serve
from mixray.store import Artefact, Store
from mixray.teachers import second_opinion


def exam(store: Store, evaluate: Evaluate, student_prompt: str, seed: int, serve: Serve) -> evaluation.Exam:
    """Return what is asked, with or without a recipe.

    Raises:
        SourceError: a problem file is missing.
        RecipeError: a verifier is.
    """
    benchmarks = {name: problems.handle(store, name, asked_of.problem_set) for name, asked_of in evaluate.benchmarks.items()}
    own = {name: own_verifier(asked_of) for name, asked_of in evaluate.benchmarks.items()}
    judged_by = evaluation.Rule(verify.verify, verify.POLICY, {name: verifier for name, verifier in own.items() if verifier is not None})
    return evaluation.Exam(benchmarks, evaluate, student_prompt, seed, judged_by, serve)


def own_verifier(source: ProblemSet) -> verify.OwnVerifier | None:
    """Return the user's own verifier of the answers to these problems; None where the recipe names none, and mixray's judges.

    Raises:
        RecipeError: it is not there.
    """
    return verify.OwnVerifier.named(source.verifier) if source.verifier is not None else None


def rule(source: ProblemSet) -> teachers.Rule:
    """Return how the teachers' answers to these problems are judged."""
    own = own_verifier(source)
    if own is None:
        return teachers.Rule(verify.verify, verify.POLICY, source.counts_unboxed)
    return teachers.Rule(own, verify.POLICY, source.counts_unboxed, own.identity())


def asking() -> second_opinion.Asking:
    """Return how a judge is asked and understood."""
    return second_opinion.Asking(verify.judge_question, teachers.Rule(verify.read_opinions, verify.OPINION_POLICY, unboxed=False))


def judged_scores(asked: Artefact, exam: evaluation.Exam, student: Artefact | None = None) -> Artefact:
    """Return the scores that are reported: those asked, or the same with a judge's second opinions."""
    judge = exam.evaluate.judge
    if judge is None:
        return asked
    return evaluation.opinions.handle(asked, judgements(asked, judge, exam.seed), judge, student)


def doubts(asked: Artefact, judge: LlmJudge) -> Artefact:
    """Return the answers of an arm that a judge is asked about, as a problem set."""
    return evaluation.opinions.doubts_handle(asked, judge, asking().rule.policy)


def judgements(asked: Artefact, judge: LlmJudge, seed: int) -> Artefact:
    """Return what a judge says about an arm's answers, as a pool."""
    return teachers.handle(asked.store, asked.name, judge.teacher, doubts(asked, judge), seed, asking().rule, second_opinion.JUDGEMENTS)
