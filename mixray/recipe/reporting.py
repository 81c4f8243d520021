"""How students are compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mixray.recipe.part import Part, PositiveInt


class Report(Part):
    """How numbers get their intervals."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    num_resamples: PositiveInt = Field(10_000, description="of the bootstrap")
    bootstrap: Literal["problems", "hierarchical"] = Field(
        "problems",
        description="problems: accuracies by Wilson's interval over problems; hierarchical: by drawing problems again, then their samples, "
        "which is wider than it need be; gaps draw problems in both",
    )
