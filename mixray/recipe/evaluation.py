"""What students are asked, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from mixray.recipe.part import Name, Part, PositiveInt
from mixray.recipe.problems import ProblemSet


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
