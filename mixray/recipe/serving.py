"""How students are served."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mixray.recipe.part import Part, PositiveInt


class Serve(Part):
    """The endpoint that hosts the students."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 picks a free one")
    students_at_once: PositiveInt = Field(4, description="students up at a time during a run")
    max_model_len: PositiveInt | None = Field(None, description="tokens of prompt and answer; the model's own where unset")
    num_gpus: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of one student; 0 runs on CPU")
    threads: PositiveInt | None = Field(None, description="CPU threads of one student's engine; an even share of the machine where unset")
    kv_cache_bytes: PositiveInt | None = Field(None, description="memory of one student's KV cache; vLLM's own where unset")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")
