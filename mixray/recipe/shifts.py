"""Which responses are read again by the untouched student, and how what shifted is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mixray.recipe.part import Name, PositiveInt, as_tuple_of
from mixray.recipe.placement import Placed


class Shifts(Placed):
    """The token-shift analysis (paper section 3.5): what the arms say that the untouched student would not have said."""

    num_responses: PositiveInt = Field(200, description="of each arm, or all where there are fewer; more of them hold the fewer")
    benchmarks: Annotated[tuple[Name, ...], as_tuple_of(Name)] | None = Field(
        None, description="whose responses; those of every benchmark where unset"
    )
    untouched: bool = Field(False, description="the untouched student's own responses, too: what sampling alone shifts")
    against_own: bool = Field(False, description="read by the arm itself, too: a shift is then the rank here less the rank there")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the weights; logits are compared in float32 in any case")
    batch_tokens: PositiveInt | None = Field(None, description="of one forward pass; 2,048 on CPU and 16,384 on GPU where unset")
    num_gpus: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of one actor; 0 runs on CPU")
    marginal_rank: PositiveInt = Field(3, description="ranks from 2 to this are marginal, those beyond are shifted")
    top: Annotated[int, Field(ge=0)] = Field(20, description="how many tokens, and words, are listed")
    top_by: Literal["mean_shift", "median_shift", "shifted_share"] = Field("mean_shift", description="what puts one on top")
    least_count: PositiveInt = Field(5, description="tokens and words seen less often are not listed: a freak is no style")
    num_positions: PositiveInt = Field(10, description="parts of a response for which the share shifted is told")
