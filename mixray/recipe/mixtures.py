"""What is blended with what, in which shares, and what of it is left out."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mixray.recipe.part import Name, Part, PositiveInt, Share, as_tuple_of

ALPHAS = (0.0, 0.2, 1.0)
View = Literal["whole", "summary"]
PerPool = dict[Name, float | str]


def as_fraction(share: float | str) -> Fraction:
    """Return a share as the decimal number, or the fraction such as 1/3, that it was written as.

    In floats 0.07 * 100 is 7.000000000000001, which rounds up to one row too many.
    """
    return Fraction(share.replace(" ", "")) if isinstance(share, str) else Fraction(repr(float(share)))


class Blend(Part):
    """One mixture of any pools (`pools`), or mixtures of a hard and an easy pool, one for each `alpha`.

    Of several pools the first is the hard one: `assign` says which problems take its traces.
    """

    pools: Annotated[PerPool | None, Field(min_length=2)] = Field(
        None,
        description="the share of each pool, hardest first: numbers that sum to 1, such as {long: 0.2, short: 0.8}, or fractions (1/3)",
    )
    hard: Name | None = Field(None, description="in place of `pools`: the pool of long traces, or of the large teacher")
    easy: Name | None = None
    alpha: Annotated[tuple[Share, ...], as_tuple_of(Share), Field(min_length=1)] = Field(
        ALPHAS, description="shares of the hard pool, a mixture for each: 0 is the easy pool alone, 1 the hard one; the paper's best is 0.2"
    )
    by: Literal["rows", "tokens", "loss_tokens"] = Field("rows", description="what the shares are shares of; the paper's are of rows")
    size: PositiveInt | Literal["fit"] = Field(
        "fit", description="rows of a mixture (or tokens, by `by`), an error where there are too few; `fit` takes the largest exact mixture"
    )
    sharing: Literal["both_right", "disjoint", "paired", "independent"] = Field(
        "both_right",
        description="both_right: problems that every pool solved, each once (the paper's); disjoint: each problem once, whoever solved it; "
        "paired: a pool's problems are among those of every pool with a larger share, so equal shares give every trace of a problem; "
        "independent: each pool by itself",
    )
    assign: Literal["hash", "hardest", "easiest", "longest", "shortest", "fitting"] = Field(
        "hash",
        description="which problems take the hard pool's traces: any, those least or most often solved, those with its longest or shortest "
        "traces, or those whose traces fit the student best",
    )
    stratify: Annotated[tuple[Literal["subject", "level"], ...], as_tuple_of(Literal["subject", "level"])] = Field(
        (), description="keep the shares within each subject, level or both, to the row"
    )
    pick: Literal["first", "shortest", "longest", "random", "fitting"] = Field("first", description="which of several right samples")
    per_problem: PositiveInt = Field(1, description="most samples of one problem from one pool")
    fit: Literal["rank_surprisal", "perplexity"] = Field("rank_surprisal", description="what `fitting` means; lower is better in both")
    order: Literal["shuffled", "easy_first", "hard_first"] = Field(
        "shuffled", description="easy_first: rows of the easiest pool first, in each the problems most often solved; kept in training"
    )
    stages: Annotated[tuple[Share, ...], as_tuple_of(Share)] = Field(
        (), description="in place of alpha: its value in each of equal stretches of the training, such as [0, 0.2, 0.5]"
    )
    view: View | dict[Name, View] = Field("whole", description="what of a trace is taught; summary: what follows the thinking")
    tags: dict[Name, str] = Field({}, description="control words at the end of the question, by pool, such as {long: /think}")
    max_repetition: Share | None = Field(None, description="leave out traces of which a larger share says nothing new")
    max_foreign: Share | None = Field(None, description="leave out traces with a larger share of letters of scripts the question has not")
    duplicates: Literal["drop", "keep"] = Field(
        "drop", description="problems that repeat another one, and traces that repeat another sample"
    )
    contaminated: Literal["drop", "keep"] = Field("drop", description="problems that overlap the recipe's benchmarks; always looked for")

    @property
    def names(self) -> tuple[str, ...]:
        """The pools, the hardest first."""
        return tuple(self.pools) if self.pools is not None else (str(self.hard), str(self.easy))

    def key_of(self, pool: str) -> str:
        """Return the key of the recipe that names a pool, such as `.hard`."""
        return ".pools" if self.pools is not None else ".hard" if pool == self.hard else ".easy"

    @property
    def alphas(self) -> tuple[float | None, ...]:
        """The hard pool's share of each mixture; of three pools and more there is no alpha."""
        if self.pools is not None:
            return (float(as_fraction(next(iter(self.pools.values())))) if len(self.pools) == 2 else None,)
        return (float(sum(map(as_fraction, self.stages)) / len(self.stages)),) if self.stages else self.alpha

    def shares(self, alpha: float | None) -> dict[str, Fraction]:
        """Return the share of each pool, the hardest first; they sum to 1."""
        if self.pools is not None:
            return {name: as_fraction(share) for name, share in self.pools.items()}
        hard = sum(map(as_fraction, self.stages), Fraction()) / len(self.stages) if self.stages else as_fraction(alpha or 0.0)
        return dict(zip(self.names, (hard, 1 - hard), strict=True))

    def view_of(self, pool: str) -> View:
        """Return what of a pool's traces is taught."""
        return self.view.get(pool, "whole") if isinstance(self.view, dict) else self.view

    @property
    def needs_fit(self) -> bool:
        """Whether the student must read the pools before they are mixed."""
        return "fitting" in (self.assign, self.pick)

    @model_validator(mode="after")
    def _names_its_pools(self) -> Blend:
        if self.pools is not None:
            if self.hard or self.easy or "alpha" in self.model_fields_set:
                raise ValueError("give either pools, or hard, easy and alpha")
            self._check_shares(self.pools)
        elif not (self.hard and self.easy):
            raise ValueError("give pools, such as {long: 0.2, short: 0.8}, or hard and easy")
        elif self.hard == self.easy:
            raise ValueError(f"hard and easy must be two pools, got {self.hard!r} for both")
        unknown = {*self.tags, *(self.view if isinstance(self.view, dict) else ())} - {*self.names}
        if unknown:
            raise ValueError(f"view and tags are given for {sorted(unknown)}; the pools are {list(self.names)}")
        if self.needs_fit and "summary" in map(self.view_of, self.names):
            raise ValueError("how well a trace fits is measured on whole traces: leave out either `view: summary` or `fitting`")
        return self

    @model_validator(mode="after")
    def _stages_stand_for_alpha(self) -> Blend:
        if self.stages and ("alpha" in self.model_fields_set or self.pools is not None):
            raise ValueError("stages stand in the place of alpha and of pools: their mean is the hard pool's share")
        if self.stages and (self.by != "rows" or self.order != "shuffled"):
            raise ValueError("stages are shares of rows, and are an order themselves: leave `by` and `order` out")
        return self

    @staticmethod
    def _check_shares(pools: PerPool) -> None:
        try:
            shares = {name: as_fraction(share) for name, share in pools.items()}
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"a pool's share is a number or a fraction such as 1/3, got {list(pools.values())}") from None
        if any(share < 0 for share in shares.values()) or sum(shares.values()) != 1:
            raise ValueError(
                f"the pools' shares must sum to 1, got {' + '.join(map(str, pools.values()))} = {float(sum(shares.values())):g}"
            )
