"""What students are asked, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from mixray.recipe.benchmarks import BENCHMARKS, PRESETS, Benchmark, filled
from mixray.recipe.part import Name, Part, PositiveInt, as_tuple_of, may_lack
from mixray.recipe.teachers import LlmJudge


def _names_suffice(schema: dict[str, Any]) -> None:
    """Tell the JSON schema what `filled` takes beside a mapping, and that a recipe's preset can give the benchmarks."""
    may_lack("benchmarks")(schema)
    shipped = {"enum": sorted(BENCHMARKS)}
    mapping = schema["properties"]["benchmarks"]
    told = {key: mapping.pop(key) for key in ("title", "description")}
    schema["properties"]["benchmarks"] = told | {"anyOf": [shipped, {"type": "array", "items": shipped}, mapping]}


class Evaluate(Part):
    """What the students are asked, and how. No stop strings are sent: they cut reasoning."""

    model_config = ConfigDict(json_schema_extra=_names_suffice)

    preset: Literal["paper", "parity"] | None = Field(
        None,
        description="what is not set here comes from it: the paper's prompts and greedy decoding, or the training prompt and sampling",
    )
    benchmarks: dict[Name, Benchmark] = Field(
        description="names of shipped benchmarks, or {name: problem set}; of a shipped one a part will do, such as gsm8k: {source: file}"
    )
    num_samples: PositiveInt = Field(1, description="answers asked per problem, where the benchmark does not say")
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = Field(16000, description="paper section 2.6")
    through: Literal["endpoint", "engine"] = Field(
        "endpoint", description="ask the served students over HTTP, or vLLM in actors without a server; the same is asked"
    )
    concurrency: PositiveInt = Field(64, description="questions in flight at once, over all students that are up")
    timeout_seconds: PositiveInt = Field(
        7200, description="of one try, beyond which its tokens are lost: 16,384 of them may come as slowly as 2.3 a second"
    )
    judge: LlmJudge | None = Field(None, description="a model's second opinion on the students' answers")
    budgets: Annotated[tuple[PositiveInt, ...], as_tuple_of(PositiveInt)] = Field(
        (), description="tokens after which a longer answer is cut and the student made to state its result"
    )
    budget_closing: str = Field(
        "\n\nFinal Answer: \\boxed{", description="what stands at the cut; an answer that is thinking is told to stop before it"
    )
    budget_closing_tokens: PositiveInt = Field(48, description="what a student may say after it")

    @model_validator(mode="before")
    @classmethod
    def _filled_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "benchmarks" not in given:
            return given
        preset = given.get("preset")
        preset = preset if isinstance(preset, str) and preset in PRESETS else None
        benchmarks = filled(given["benchmarks"], preset, "num_samples" in given)
        return {**PRESETS.get(preset or "", {}), **given, "benchmarks": benchmarks}

    @model_validator(mode="after")
    def _asks_something(self) -> Evaluate:
        if not self.benchmarks:
            raise ValueError("benchmarks must name at least one problem set")
        if self.temperature == 0 and any(self.samples_of(name) > 1 for name in self.benchmarks):
            raise ValueError("temperature must be above 0 where a problem is asked more than once: greedy answers are all the same")
        if len(set(self.budgets)) != len(self.budgets) or any(budget >= self.max_tokens for budget in self.budgets):
            raise ValueError(f"budgets must differ and be below max_tokens ({self.max_tokens}), got {list(self.budgets)}")
        return self

    def samples_of(self, benchmark: str) -> int:
        """Return how many answers are asked for each problem of a benchmark."""
        return self.benchmarks[benchmark].num_samples or self.num_samples

    def prompt_of(self, benchmark: str, student_prompt: str) -> str:
        """Return the user turn of a benchmark's questions: its own, or that of training."""
        return self.benchmarks[benchmark].prompt or student_prompt
