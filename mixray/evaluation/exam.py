"""What every arm is asked, and what its scores are called: the same for all arms, whoever asks.

In: problem artefacts, the recipe's `evaluate` part, the rule that judges. Out: the handle of an arm's scores, and the questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from mixray import chat, recipe, rows
from mixray.chat import Messages
from mixray.judged import JUDGED_BY
from mixray.models import fingerprint, revision
from mixray.store import Artefact, Store

LAYOUT = 2
"""Of the rows of scores: those of another layout are not found again."""

Verify = Callable[[Sequence[str | None], Sequence[str | None], Sequence[str | None], bool], Sequence[Any]]
"""`verify(responses, golds, finish_reasons, unboxed)`: objects with `verdict`, `verdict_reason` and `answer`."""
Problems = Mapping[str, list[dict[str, Any]]]
"""PROBLEM rows by benchmark."""


class OwnVerify(Protocol):
    """A verifier of the user's, called as `Verify` is."""

    def identity(self) -> dict[str, str]:
        """Return what identifies it in hashes."""

    def __call__(
        self, responses: Sequence[str | None], golds: Sequence[str | None], finish_reasons: Sequence[str | None], unboxed: bool, /
    ) -> Sequence[Any]:
        """Judge."""


@dataclass(frozen=True)
class Rule:
    """How answers are judged; scores judged under another policy are other scores."""

    verify: Verify
    policy: str
    """The version of what `verify` holds for equal."""
    own: Mapping[str, OwnVerify] = field(default_factory=dict)
    """The user's own verifiers, by benchmark."""

    def of(self, benchmark: str) -> Verify:
        """Return what judges the answers to a benchmark."""
        return self.own.get(benchmark, self.verify)

    def identity(self) -> dict[str, Any]:
        """Return what identifies the rule in the hashes of scores."""
        verifiers = {name: self.own[name].identity() for name in sorted(self.own)}
        return {"policy": self.policy} | ({"verifiers": verifiers} if verifiers else {})


class Name(NamedTuple):
    """One sample; with a budget, what the student says once it is cut there."""

    benchmark: str
    problem_id: str
    sample: int
    budget_tokens: int = 0


@dataclass(frozen=True)
class Question:
    """One sample to ask for: `name` comes back with the answer. `prompt_ids` stand in place of messages where an answer is to be ended."""

    name: Name
    messages: Messages
    seed: int
    prompt_ids: list[int] | None = None
    max_tokens: int | None = None
    """The exam's where None."""


@dataclass(frozen=True)
class Exam:
    """What every arm of a run is asked, how, and how it is judged."""

    benchmarks: Mapping[str, Artefact]
    """PROBLEM tables by name."""
    evaluate: recipe.Evaluate
    student_prompt: str
    """The user turn of training; `{question}` is replaced."""
    seed: int
    """The same for every arm, so that arms are compared on the same draws."""
    rule: Rule
    serve: recipe.Serve = field(default_factory=recipe.Serve)
    """How students that we serve, or run in an engine, are up while they are asked."""

    def settings(self) -> dict[str, Any]:
        """Return what identifies the asking and judging in hashes: not how fast, nor by which way, but what is asked and how."""
        evaluate = self.evaluate
        asked = {
            name: {
                "prompt": evaluate.prompt_of(name, self.student_prompt),
                "num_samples": evaluate.samples_of(name),
                "unboxed": evaluate.benchmarks[name].counts_unboxed,
            }
            for name in sorted(self.benchmarks)
        }
        sampling = evaluate.model_dump(mode="json", include={"temperature", "top_p", "max_tokens"})
        return {"layout": LAYOUT, "asked": asked, **sampling, "seed": self.seed, JUDGED_BY: self.rule.identity()}

    @property
    def prompts(self) -> dict[str, str]:
        """The user turn of each benchmark; `{question}` is replaced."""
        return {name: self.evaluate.prompt_of(name, self.student_prompt) for name in sorted(self.benchmarks)}

    def problems(self) -> dict[str, list[dict[str, Any]]]:
        """Read the problems of every benchmark."""
        return {name: self.benchmarks[name].read_table().to_pylist() for name in sorted(self.benchmarks)}

    def names(self, problems: Problems) -> list[Name]:
        """Return every sample, in the order of the rows."""
        return [
            Name(benchmark, problem["problem_id"], sample)
            for benchmark, table in problems.items()
            for problem in table
            for sample in range(self.evaluate.samples_of(benchmark))
        ]

    def questions(self, problems: Problems, names: Iterable[Name]) -> list[Question]:
        """Return what is asked for each of these samples."""
        texts = {(benchmark, problem["problem_id"]): problem["question"] for benchmark, table in problems.items() for problem in table}
        return [Question(name, self.messages(name, texts[name[:2]]), self.draw(name)) for name in names]

    def messages(self, name: Name, question: str) -> Messages:
        """Return what a student is asked about one problem."""
        return chat.ask(question, self.evaluate.prompt_of(name.benchmark, self.student_prompt))

    def draw(self, name: Name) -> int:
        """Return the sampling seed of one answer: below 2**31, the same whoever asks and whenever."""
        return rows.keyed_draw(self.seed, "evaluate", name.benchmark, name.problem_id, name.sample) % 2**31


def handle(store: Store, arm: str, student: Artefact | recipe.Student, exam: Exam) -> Artefact:
    """Return the scores of an arm, done or not; `student` is its artefact, or the untouched model of the recipe."""
    settings = exam.settings()
    inputs = {f"benchmark {name}": artefact for name, artefact in exam.benchmarks.items()}
    if isinstance(student, Artefact):
        inputs["student"] = student
        settings |= served(exam, "lora" if student.made_by["settings"].get("train", {}).get("lora") else "whole")
    elif student.endpoint is None:
        commit = revision(student.model)
        settings["student"] = fingerprint(student.model) + (f"@{commit}" if commit else "")
        settings |= served(exam, "whole")
    else:
        settings["student"] = student.model_dump(mode="json", include={"endpoint", "model", "request"})
    return store.artefact("scores", arm, settings, inputs)


def served(exam: Exam, weights: Literal["whole", "lora"]) -> dict[str, Any]:
    """Return what in the recipe's `serve` changes the answers of a student; nothing of its ports, keys, replicas, threads or GPUs.

    What is as by default is left out: scores keep the names they had before a setting was there.
    """
    serve = exam.serve
    told: dict[str, Any] = {"engine": dict(serve.engine)} if serve.engine else {}
    if serve.max_model_len is not None:
        told["max_model_len"] = serve.max_model_len
    if weights == "lora" and serve.adapters != "merged" and exam.evaluate.through == "endpoint":
        told["adapters"] = serve.adapters  # arithmetic beside the base model's rounds otherwise than merged weights
    return {"served": told} if told else {}
