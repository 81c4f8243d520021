"""Who is taught, how, and how students are served, asked and compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mixray.recipe.part import Name, Part, PositiveInt, Share
from mixray.recipe.problems import ProblemSet


class Student(Part):
    """A small model to be taught."""

    model: str = Field(description="`tiny:<name>`, a model folder, or a hub id")


class Train(Part):
    """How every arm is trained: one block for all, since arms trained differently cannot be compared."""

    epochs: PositiveInt = Field(2, description="paper Table 5")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="paper Table 5")
    warmup_share: Share = Field(0.0, description="share of the steps that warm up; then cosine to zero")
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_rows: PositiveInt = Field(16, description="training examples in one optimiser step, over all workers")
    max_tokens: PositiveInt = Field(16384, description="longer examples are dropped and counted, never cut")
    pack_tokens: PositiveInt | None = Field(None, description="tokens of one packed sequence; max_tokens where unset")
    packs_multiple: PositiveInt = Field(1, description="packed sequences of a step are a multiple of this: set it to the number of workers")
    micro_batch_tokens: PositiveInt = Field(16384, description="tokens of one forward pass of one worker")
    zero_stage: Literal[1, 2, 3] = 3
    num_workers: PositiveInt = 1
    use_gpu: bool = False
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    checkpoint_every_steps: PositiveInt = 200
    max_failures: Annotated[int, Field(ge=0)] = Field(3, description="worker group restarts before giving up")

    @model_validator(mode="after")
    def _packs_hold_a_row(self) -> Train:
        if self.pack_tokens is not None and self.pack_tokens < self.max_tokens:
            raise ValueError(f"pack_tokens ({self.pack_tokens}) must be at least max_tokens ({self.max_tokens})")
        return self


class Serve(Part):
    """The endpoint that hosts the students."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 picks a free one")
    students_at_once: PositiveInt = Field(4, description="students up at a time during a run")
    max_model_len: PositiveInt | None = Field(None, description="tokens of prompt and answer; the model's own where unset")
    num_gpus: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of one student; 0 runs on CPU")
    kv_cache_bytes: PositiveInt | None = Field(None, description="memory of one student's KV cache; vLLM's own where unset")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")


class Evaluate(Part):
    """What the students are asked, and how. No stop strings are sent: they cut reasoning."""

    benchmarks: dict[Name, ProblemSet]
    num_samples: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = Field(16000, description="paper section 2.6")
    concurrency: PositiveInt = Field(64, description="questions in flight at once, over all students that are up")
    timeout_seconds: PositiveInt = 600

    @model_validator(mode="after")
    def _asks_something(self) -> Evaluate:
        if not self.benchmarks:
            raise ValueError("benchmarks must name at least one problem set")
        return self


class Report(Part):
    """How numbers get their intervals."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    num_resamples: PositiveInt = Field(10_000, description="of the bootstrap")
