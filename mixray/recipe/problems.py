"""Where problems come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from mixray.functions import NAME, checked_name
from mixray.recipe.part import Part, PositiveInt

ProblemFormat = Literal["plain", "gsm8k", "math", "math500", "amc23", "aime24", "olympiadbench"]

FunctionName = Annotated[str, AfterValidator(checked_name), Field(json_schema_extra={"pattern": NAME})]


class ProblemSet(Part):
    """Where problems come from: the tiny world, a file (jsonl, csv, parquet; local or remote) or a hub data set."""

    source: str = Field("tiny", description="`tiny`, a file path or URL, or `hf:<data set id>`")
    format: ProblemFormat = Field("plain", description="which columns hold what, and how the gold is written")
    split: str = Field("train", description="train or test of the tiny world; the split of a hub data set")
    num_problems: PositiveInt | None = Field(None, description="take the first so many; all where unset")
    difficulty: tuple[PositiveInt, PositiveInt] = Field((2, 5), description="tiny world only: fewest and most steps")
    seed: int = Field(0, description="tiny world only: which problems are drawn")
    question_field: str | None = Field(None, description="the column of the question, `a.b` for a nested one; the format's where unset")
    answer_field: str | None = Field(None, description="the column of the gold; the format's where unset")
    unboxed: bool = Field(False, description="where no box is found, the last number is the answer; the format gsm8k says so by itself")
    verifier: FunctionName | None = Field(
        None, description="`package.module:function` of your own that judges the answers (verify/OWN.md); running the recipe runs it"
    )

    @model_serializer(mode="wrap")
    def _as_before_there_were_verifiers(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave an unset verifier out: hashes are of this."""
        told: dict[str, Any] = write(self)
        if told.get("verifier", ...) is None:
            del told["verifier"]
        return told

    @model_validator(mode="after")
    def _tiny_is_endless(self) -> ProblemSet:
        if self.source == "tiny" and self.num_problems is None:
            raise ValueError("num_problems must be set: the tiny world makes as many problems as are asked for")
        return self

    @property
    def counts_unboxed(self) -> bool:
        """Whether a number without a box is an answer to these problems."""
        return self.unboxed or self.format == "gsm8k"
