"""Which students are merged with which, and how: the weight-space twin of a blend."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mixray.recipe.part import Name, Part, Share, as_tuple_of


class Merging(Part):
    """How two students of one base become one: what happens to the differences of each from the base."""

    method: Literal["linear", "ties", "dare"] = Field(
        "linear",
        description="linear: the weighted mean; ties: only the largest differences, and of two that point apart the weightier; "
        "dare: differences dropped at random and the rest made larger, then the weighted mean",
    )
    density: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="share of the differences that ties and dare keep in each tensor")

    @model_validator(mode="after")
    def _linear_keeps_all(self) -> Merging:
        if self.method == "linear" and "density" in self.model_fields_set:
            raise ValueError("density belongs to ties and dare: linear keeps every difference")
        return self


class Merge(Merging):
    """Students merged after training, one for each `alpha`: of each student of the recipe and each seed, the two taught two mixtures."""

    hard: Name = Field(description="a mixture, as `mixray plan` names it: the student taught it gets the weight alpha")
    easy: Name = Field(description="another mixture: the student taught it gets the rest")
    alpha: Annotated[tuple[Share, ...], as_tuple_of(Share), Field(min_length=1)] = Field(
        (0.2,), description="weights of the hard student, a merged student for each"
    )

    @model_validator(mode="after")
    def _merges_two(self) -> Merge:
        if self.hard == self.easy:
            raise ValueError(f"hard and easy must be two mixtures, got {self.hard!r} for both")
        if len(set(self.alpha)) != len(self.alpha):
            raise ValueError(f"alphas must differ from each other, got {list(self.alpha)}")
        return self
