"""Who is taught, and who is asked beside them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from mixray.recipe.part import Part


class Student(Part):
    """A small model to be taught; or, with `endpoint`, a model behind one, which is asked the benchmarks and never taught."""

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
