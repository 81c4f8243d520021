"""Who is taught, and who is asked beside them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from mixray.recipe.part import Name, Part, may_lack
from mixray.recipe.shipped_models import STUDENTS, filled_students


class Student(Part):
    """A small model to be taught; or, with `endpoint`, a model behind one, which is asked the benchmarks and never taught."""

    model_config = ConfigDict(json_schema_extra=may_lack("model"))

    preset: str | None = Field(
        None,
        exclude=True,
        description="a shipped student, of which what is not set here comes; the student's own name where model is unset",
    )
    model: str = Field(description="`tiny:<name>`, a model folder, or a hub id; with an endpoint the model's name there")
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="what of `train` is otherwise for this student, alike in all its arms, such as {lora: {rank: 8}}",
    )
    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        None, description="base URL, up to and including /v1, of an OpenAI-compatible endpoint"
    )
    key_env: str | None = Field(None, description="the environment variable that holds the endpoint's key; none is sent where unset")
    request: dict[str, Any] = Field(
        default_factory=dict, description="further keys of each request to the endpoint, such as top_k; null takes one away"
    )

    @model_validator(mode="after")
    def _asked_over_http(self) -> Student:
        if self.endpoint is None and (self.key_env is not None or self.request):
            raise ValueError("key_env and request belong to a student behind an endpoint: give endpoint, too")
        if self.endpoint is not None and self.train:
            raise ValueError("train belongs to a student that is taught: one behind an endpoint is not")
        if cutting := sorted({"stop", "stop_token_ids"} & self.request.keys()):
            raise ValueError(f"request cannot hold {cutting}: stop strings cut reasoning")
        if fixed := sorted({"messages", "model", "n", "stream"} & self.request.keys()):
            raise ValueError(f"request cannot hold {fixed}: those are the evaluation's own")
        return self

    @property
    def is_taught(self) -> bool:
        """Whether arms are trained of it."""
        return self.endpoint is None


_Shipped = Annotated[str, Field(json_schema_extra={"enum": sorted(STUDENTS)})]
Students = Annotated[
    dict[Name, Student],
    BeforeValidator(filled_students, json_schema_input_type=list[_Shipped] | dict[Name, Student | _Shipped | None]),
]
"""Those of a recipe, by name; shipped ones by their names alone."""
