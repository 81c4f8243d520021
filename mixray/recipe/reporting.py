"""How students are compared."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mixray.recipe.part import Part, PositiveInt


class Report(Part):
    """How numbers get their intervals."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    num_resamples: PositiveInt = Field(10_000, description="of the bootstrap")
