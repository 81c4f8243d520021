"""The benchmarks of the paper by name, and the two published ways of asking them.

Plain data: what a recipe leaves out of `evaluate` is filled from here. What a recipe says counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import Field, model_validator

from mixray.recipe.part import PositiveInt, PromptTemplate
from mixray.recipe.problems import ProblemSet

# paper.md 2.4. The paper's own files are copies of these; OlympiadBench is its 675 English text-only questions with one answer.
BENCHMARKS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "math": {"source": "hf:DigitalLearningGmbH/MATH-lighteval", "format": "math", "split": "test", "num_published": 5000},
        "math500": {"source": "hf:HuggingFaceH4/MATH-500", "format": "math500", "split": "test", "num_published": 500},
        "gsm8k": {"source": "hf:openai/gsm8k:main", "format": "gsm8k", "split": "test", "num_published": 1319},
        "amc23": {"source": "hf:math-ai/amc23", "format": "amc23", "split": "test", "num_published": 40},
        "aime24": {"source": "hf:HuggingFaceH4/aime_2024", "format": "aime24", "split": "train", "num_published": 30},
        "olympiadbench": {"source": "hf:math-ai/olympiadbench", "format": "olympiadbench", "split": "test", "num_published": 675},
    }
)
_BARE = "{question}"
# paper.md 2.6: two wordings, and GSM8K without any. A problem set of another format gets the wording that most of the five have.
_PAPER_PROMPTS = {
    "math": "Solve the following math problem and present the final answer in the format: Final Answer: \\boxed{your_answer}.\n"
    "Problem: {question}\nAnswer:",
    "gsm8k": _BARE,
}
_PAPER_PROMPT = (
    "Solve the following math problem. Present the final answer in the format: Final Answer: \\boxed{your_answer}.\n"
    "Problem: {question}\nAnswer:"
)
# paper.md 3.8, Through the Valley (2506.07712): avg@8 where a benchmark is small, avg@4 elsewhere.
_PARITY_SAMPLES = {"amc23": 8, "aime24": 8}
_PARITY_SAMPLES_ELSEWHERE = 4

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # paper.md 2.6. Without its stop strings: they cut reasoning that happens to hold them.
        "paper": {"temperature": 0.0, "top_p": 1.0, "num_samples": 1, "max_tokens": 16000},
        # paper.md 3.8, Through the Valley (2506.07712); asked as trained.
        "parity": {"temperature": 0.6, "top_p": 0.95, "max_tokens": 16384},
    }
)


class Benchmark(ProblemSet):
    """Problems to ask the students, and how, where that differs from the other benchmarks."""

    prompt: PromptTemplate | None = Field(None, description="the user turn; student_prompt where neither this nor a preset says")
    num_samples: PositiveInt | None = Field(None, description="answers asked per problem; evaluate.num_samples where unset")
    num_published: PositiveInt | None = Field(None, description="how many problems it is known to have; another number is told")

    @model_validator(mode="before")
    @classmethod
    def _from_problem_set(cls, given: Any) -> Any:
        return given.model_dump(exclude_unset=True) if isinstance(given, ProblemSet) and not isinstance(given, Benchmark) else given

    @property
    def problem_set(self) -> ProblemSet:
        """The problems alone: the same file asked in two ways is read once."""
        return ProblemSet(**self.model_dump(include=set(ProblemSet.model_fields)))


def filled(benchmarks: Any, preset: str | None, one_number: bool) -> Any:
    """Return `evaluate.benchmarks` as a mapping, with all that a recipe may leave out.

    Args:
        benchmarks: names of shipped benchmarks, or {name: problem set or a part of one}; anything else is for pydantic to refuse.
        preset: `paper`, `parity` or None.
        one_number: whether the recipe gives one number of samples for all benchmarks.
    """
    if isinstance(benchmarks, str):
        benchmarks = [benchmarks]
    if isinstance(benchmarks, list | tuple) and all(isinstance(name, str) for name in benchmarks):
        benchmarks = {name: {} for name in benchmarks}
    if not isinstance(benchmarks, dict):
        return benchmarks
    unknown = [name for name, given in benchmarks.items() if not given and name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"no shipped benchmark is called {unknown[0]!r}; there are {sorted(BENCHMARKS)}, or give a problem set")
    return {name: _filled_one(name, given, preset, one_number) for name, given in benchmarks.items()}


def _filled_one(name: str, given: Any, preset: str | None, one_number: bool) -> Any:
    if isinstance(given, ProblemSet):
        given = given.model_dump(exclude_unset=True)
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return given
    known = BENCHMARKS.get(name, {})
    whole = {**(known if given.get("source") != "tiny" else {}), **given}
    if preset == "paper":
        whole.setdefault("prompt", _PAPER_PROMPTS.get(whole.get("format", ""), _PAPER_PROMPT))
    if preset == "parity" and not one_number:
        whole.setdefault("num_samples", _PARITY_SAMPLES.get(whole.get("format", ""), _PARITY_SAMPLES_ELSEWHERE))
    return whole
