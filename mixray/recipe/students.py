"""Who is taught, and how students are served, asked and compared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from mixray.recipe.part import Name, Part, PositiveInt
from mixray.recipe.problems import ProblemSet


class Student(Part):
    """A small model to be taught."""

    model: str = Field(description="`tiny:<name>`, a model folder, or a hub id")


class Serve(Part):
    """The endpoint that hosts the students."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 picks a free one")
    students_at_once: PositiveInt = Field(4, description="students up at a time during a run")
    max_model_len: PositiveInt | None = Field(None, description="tokens of prompt and answer; the model's own where unset")
    num_gpus: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of one student; 0 runs on CPU")
    kv_cache_bytes: PositiveInt | None = Field(None, description="memory of one student's KV cache; vLLM's own where unset")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")


class Evaluate(Part):
    """What the students are asked, and how. No stop strings are sent: they cut reasoning."""

    benchmarks: dict[Name, ProblemSet]
    num_samples: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = Field(16000, description="paper section 2.6")
    concurrency: PositiveInt = Field(64, description="questions in flight at once, over all students that are up")
    timeout_seconds: PositiveInt = 600

    @model_validator(mode="after")
    def _asks_something(self) -> Evaluate:
        if not self.benchmarks:
            raise ValueError("benchmarks must name at least one problem set")
        return self


class Report(Part):
    """How numbers get their intervals."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    num_resamples: PositiveInt = Field(10_000, description="of the bootstrap")
