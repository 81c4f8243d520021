"""How students are served."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mixray.recipe.part import Part, PositiveInt, as_pair_of
from mixray.recipe.placement import Placed

PositiveSeconds = Annotated[float, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Limits(Part):
    """What one request may ask for; anything beyond is refused with the limit in the message."""

    body_bytes: PositiveInt = 4 * 2**20
    header_bytes: PositiveInt = 16 * 2**10
    body_seconds: PositiveSeconds = Field(30, description="for the head to arrive, and as long again for the body")
    request_seconds: PositiveSeconds = Field(24 * 3600, description="from the body to the end of the answer")
    queue_seconds: PositiveSeconds = Field(300, description="for a place among those in flight; beyond it 503")
    unread_seconds: PositiveSeconds = Field(60, description="without a byte of the answer being read; then the connection ends")
    json_depth: PositiveInt = 16
    messages: PositiveInt = 256
    prompts: PositiveInt = Field(256, description="in one request for completions")
    answers: PositiveInt = Field(256, description="`n` times the prompts of one request")
    prompt_characters: PositiveInt = Field(2**20, description="of all messages or prompts of one request")
    prompt_tokens: PositiveInt = Field(2**17, description="of all prompts given as token ids")
    max_tokens: PositiveInt = Field(2**17, description="the most that may be asked for")
    logprobs: PositiveInt = Field(20, description="alternatives told of each token")
    stop_strings: PositiveInt = 16
    stop_characters: PositiveInt = Field(256, description="of one stop string")
    logit_bias: PositiveInt = Field(1024, description="tokens with a bias")


class Serve(Placed):
    """The endpoint that hosts the students."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 picks a free one")
    students_at_once: PositiveInt = Field(4, description="students up at a time during a run")
    max_model_len: PositiveInt | None = Field(None, description="tokens of prompt and answer; the model's own where unset")
    num_gpus: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of one student; 0 runs on CPU")
    threads: PositiveInt | None = Field(None, description="CPU threads of one student's engine; an even share of the machine where unset")
    kv_cache_bytes: PositiveInt | None = Field(None, description="memory of one student's KV cache; vLLM's own where unset")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")
    adapters: Literal["merged", "shared"] = Field(
        "merged", description="students with adapters: each an engine of its own, or those of one base as adapters in one engine"
    )
    replicas: Annotated[tuple[NonNegativeInt, PositiveInt], as_pair_of(NonNegativeInt, PositiveInt)] = Field(
        (1, 1), description="of each student: a number, or [fewest, most] for autoscaling; 0 lets an unused student sleep"
    )
    target_ongoing_requests: Annotated[float, Field(gt=0)] = Field(48, description="of one replica, beyond which another is started")
    up_seconds: Annotated[float, Field(ge=0)] = Field(15, description="over the target before a replica is added")
    idle_seconds: Annotated[float, Field(ge=0)] = Field(300, description="under the target before a replica is taken away")
    ingress_replicas: PositiveInt = Field(1, description="processes that hold the gate")
    max_ongoing: PositiveInt = Field(512, description="requests in flight; more wait")
    max_queued: NonNegativeInt = Field(
        512, description="requests that wait; of more, those of a key that holds its share beside others get 429, and the rest 503"
    )
    retry_after_seconds: PositiveInt = Field(1, description="when a request that was turned away should come back")
    keys_file: str | None = Field(None, description="a key, or name:key, on each line; MIXRAY_API_KEY where unset")
    tls_cert: str | None = Field(
        None, description="PEM file of the certificate chain, the endpoint's own first; with tls_key the endpoint speaks https"
    )
    tls_key: str | None = Field(None, description="PEM file of the private key")
    access_log: str | None = Field(
        None, description="file of one JSON line per request; where unset none, but among the storage's logs with `mixray serve`"
    )
    limits: Limits = Field(default_factory=lambda: Limits())

    @model_validator(mode="after")
    def _fits(self) -> Serve:
        if self.replicas[0] > self.replicas[1]:
            raise ValueError(f"replicas must be [fewest, most], got {list(self.replicas)}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        return self
