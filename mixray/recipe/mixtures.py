"""What is blended with what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mixray.recipe.part import Name, Part, PositiveInt, Share, as_tuple


class Blend(Part):
    """Mixtures of a hard and an easy pool, one for each `alpha` (the share of rows that take the hard trace)."""

    hard: Name = Field(description="the pool of long traces, or of the large teacher")
    easy: Name
    alpha: Annotated[tuple[Share, ...], BeforeValidator(as_tuple), Field(min_length=1)] = Field(
        (0.0, 0.2, 1.0), description="0 is the easy pool alone, 1 the hard one; the paper's best is 0.2"
    )
    sharing: Literal["both_right"] = Field("both_right", description="only problems every pool solved, each once (the paper's)")
    num_rows: PositiveInt | None = Field(None, description="rows of each mixture; every shared problem where unset")

    @model_validator(mode="after")
    def _mixes_two_pools(self) -> Blend:
        if self.hard == self.easy:
            raise ValueError(f"hard and easy must be two pools, got {self.hard!r} for both")
        return self
