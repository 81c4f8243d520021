"""How students are trained: one block for all arms, and the arms that depart from it by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mixray.recipe.part import Part, PositiveInt, Share, as_pair_of
from mixray.recipe.placement import Placed

MIXED = "mixed"
"""In `departures`: every mixture of more than one pool."""

# paper.md 2.5: what the paper says, and what the released settings files and model cards say. They are not the same.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "matched": {},
        # Table 5 of the paper: full fine-tuning, 4 devices x 2 examples, 16,384 tokens, no warm-up.
        "paper-table5": {
            "epochs": 2, "learning_rate": 1e-5, "schedule": "cosine", "warmup_share": 0.0, "batch_rows": 8, "max_tokens": 16384,
            "zero_stage": 3, "dtype": "bfloat16",
        },
        # Table 6, as far as the cards of the released 14B and 32B students tell it: 4 devices x 1 example; rank and alpha are
        # LLaMA-Factory's own, lengths and ZeRO stage those of all weights.
        "paper-lora": {
            "epochs": 2, "learning_rate": 1e-4, "schedule": "cosine", "warmup_share": 0.1, "batch_rows": 4, "max_tokens": 16384,
            "zero_stage": 3, "dtype": "bfloat16", "lora": {},
        },
        # The released files: the pure arms 4 x 2 x 1 examples of at most 8,192 tokens; the mixes 4 x 5 x 4 packed sequences of 4,096.
        "released-yaml": {
            "epochs": 2, "learning_rate": 1e-5, "schedule": "cosine", "warmup_share": 0.0, "batch_rows": 8, "max_tokens": 8192,
            "zero_stage": 3, "dtype": "bfloat16",
            "departures": {MIXED: {"batch_rows": None, "batch_tokens": 80 * 4096, "max_tokens": 4096}},
        },
    }
)  # fmt: skip
DEFAULT_BATCH_ROWS = 16


def read_json(value: Any) -> Any:
    """Return the content of a JSON file where its path is given: what is in it counts, not where it lies."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(Path(value).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{value!r} is not a readable JSON file: {error}") from error


class Lora(Part):
    """Low-rank adapters instead of all weights (peft)."""

    rank: PositiveInt = 8
    alpha: PositiveInt = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: str | tuple[str, ...] = Field("all-linear", description="names of the layers that get an adapter, as peft takes them")


class Train(Placed):
    """How every arm is trained: one block for all, since arms trained differently cannot be compared."""

    preset: Literal["matched", "paper-table5", "paper-lora", "released-yaml"] = Field(
        "matched", description="what is not set here comes from it"
    )
    epochs: PositiveInt = Field(2, description="paper Table 5")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="paper Table 5")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="after the warm-up; cosine and linear end at zero")
    warmup_share: Share = Field(0.0, description="share of the steps that warm up")
    optimizer: Literal["adamw", "adam", "adamax", "nadam", "radam", "adagrad", "rmsprop", "sgd", "cpu-adam"] = Field(
        "adamw", description="torch's by these names; `cpu-adam` is DeepSpeed's, compiled at the first start, for offload_optimizer"
    )
    optimizer_settings: dict[str, Any] = Field(default_factory=dict, description="further arguments of the optimizer, such as betas")
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_rows: PositiveInt | None = Field(
        None,
        description=f"training examples in one optimiser step, over all workers; {DEFAULT_BATCH_ROWS} where batch_tokens is unset, too",
    )
    batch_tokens: PositiveInt | None = Field(
        None, description="or: tokens of one optimiser step, over all workers; a multiple of pack_tokens"
    )
    max_tokens: PositiveInt = Field(16384, description="of one example; `too_long` says what becomes of longer ones")
    too_long: Literal["drop", "cut"] = Field(
        "drop",
        # Left out of everything that is hashed, so that what was made before there was a choice is found again.
        exclude_if=lambda value: value == "drop",
        description="drop: longer examples are left out and counted. cut: a control, and nothing to ship: an example loses what is beyond "
        "max_tokens, its answer and its end of turn among it, as LLaMA-Factory's cut-off does, which teaches never to stop",
    )
    pack_tokens: PositiveInt | None = Field(None, description="tokens of one packed sequence; max_tokens where unset")
    packs_multiple: PositiveInt = Field(
        1, description="with batch_rows: packed sequences of a step are a multiple of this, for as many workers"
    )
    micro_batch_tokens: PositiveInt = Field(16384, description="tokens of one forward pass of one worker, though never less than one pack")
    lora: Lora | None = None
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="of the passes; the optimizer's weights are float32 in any case")
    zero_stage: Literal[0, 1, 2, 3] = 3
    offload_optimizer: bool = Field(False, description="the optimizer's state lies in main memory")
    offload_parameters: bool = Field(False, description="weights lie in main memory, too; zero_stage 3 alone")
    deepspeed: Annotated[dict[str, Any] | None, BeforeValidator(read_json)] = Field(
        None, description="a DeepSpeed configuration, or its JSON file, in place of the one made of the settings here"
    )
    gradient_checkpointing: bool = Field(False, description="compute activations twice rather than keep them")
    attention: Literal["documents", "masked"] = Field(
        "documents", description="each packed row by itself (variable-length kernels on GPU), or one pass with a block-diagonal mask"
    )
    liger: bool = Field(True, description="Liger's kernels, on GPU where they are installed")
    loss_chunk_bytes: PositiveInt = Field(2**28, description="memory of the logits held at once, in float32")
    pad_token: str | None = Field(None, description="for a tokenizer without one; never the end of turn")
    workers: Annotated[tuple[PositiveInt, PositiveInt], as_pair_of(PositiveInt)] = Field(
        (1, 1), description="how many, or [fewest, most] on a cluster whose nodes come and go"
    )
    arms_at_once: PositiveInt = Field(1, description="arms trained side by side, each by so many workers, where there is room")
    use_gpu: bool = False
    cpus_per_worker: Annotated[float, Field(gt=0)] = Field(1, description="that Ray reserves")
    node_wait_minutes: Annotated[float, Field(ge=0)] = Field(30, description="how long nodes of an autoscaling cluster may take to come up")
    max_failures: Annotated[int, Field(ge=0)] = Field(3, description="worker group restarts before giving up; preemptions do not count")
    checkpoint_every_steps: PositiveInt | None = 200
    checkpoint_every_minutes: Annotated[float, Field(gt=0)] | None = Field(15, description="whichever comes first")
    keep_checkpoints: PositiveInt = 2
    wandb: dict[str, Any] | None = Field(None, description="arguments of wandb.init, such as project; the key is WANDB_API_KEY's")
    mlflow: dict[str, Any] | None = Field(None, description="tracking_uri and experiment_name")
    departures: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description=f"{{mixture, blend or `{MIXED}`: settings}} of arms that are trained otherwise; every table marks them as unmatched",
    )

    @property
    def cut_to(self) -> int | None:
        """The tokens that longer examples are cut to; None where those are dropped."""
        return self.max_tokens if self.too_long == "cut" else None

    @model_validator(mode="before")
    @classmethod
    def _filled_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = dict(PRESETS.get(str(given.get("preset", "matched")), {}))
        if given.get("batch_tokens") is not None or given.get("batch_rows") is not None:
            preset.pop("batch_rows", None)
        filled = {**preset, **given}
        if filled.get("batch_rows") is None and filled.get("batch_tokens") is None:
            filled["batch_rows"] = DEFAULT_BATCH_ROWS
        return filled

    @model_validator(mode="after")
    def _sizes_fit(self) -> Train:
        packed = self.pack_tokens or self.max_tokens
        if packed < self.max_tokens:
            raise ValueError(f"pack_tokens ({packed}) must be at least max_tokens ({self.max_tokens})")
        if self.batch_rows is not None and self.batch_tokens is not None:
            raise ValueError("a step is measured in batch_rows or in batch_tokens, not in both")
        if self.batch_tokens is not None and self.batch_tokens % packed:
            raise ValueError(f"batch_tokens ({self.batch_tokens}) must be a multiple of a packed sequence's tokens ({packed})")
        if self.workers[0] > self.workers[1]:
            raise ValueError(f"workers must be [fewest, most], got {list(self.workers)}")
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Train:
        if self.offload_parameters and self.zero_stage != 3:
            raise ValueError(f"offload_parameters needs zero_stage 3, got {self.zero_stage}")
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1, 2 or 3, got 0")
        if self.zero_stage == 0 and self.dtype == "bfloat16":
            raise ValueError("zero_stage 0 keeps no float32 weights beside bfloat16 ones: set zero_stage 1, or dtype float32")
        if self.optimizer == "cpu-adam" and not self.offload_optimizer:
            raise ValueError("optimizer cpu-adam needs offload_optimizer: true")
        for name in self.departures:
            self.departing(name)
        return self

    def departing(self, name: str) -> Train:
        """Return the settings of the arms that depart under a name of `departures`.

        Raises:
            ValueError: they are wrong.
        """
        changes = self.departures[name]
        if refused := {"departures", "preset"} & changes.keys():
            raise ValueError(f"departures.{name} cannot change {sorted(refused)}")
        return self._changed(changes)

    def for_student(self, changes: dict[str, Any]) -> Train:
        """Return the settings of one student, of which `changes` are its own: alike in all its arms, but for the departures.

        Raises:
            ValueError: they are wrong.
        """
        if "departures" in changes:
            raise ValueError("a student's own settings cannot have departures: those are of mixtures")
        if not changes:
            return self
        own = self._changed({**PRESETS.get(str(changes.get("preset", "")), {}), **changes})
        return own.model_copy(update={"departures": self.departures})

    def _changed(self, changes: dict[str, Any]) -> Train:
        settings = self.model_dump(exclude={"departures", "preset"})
        batch = {key: None for key in ("batch_rows", "batch_tokens") if {"batch_rows", "batch_tokens"} & changes.keys()}
        return Train.model_validate({**settings, **batch, **changes})

    def of(self, mixture: str, blend: str, num_pools: int) -> tuple[Train, bool]:
        """Return the settings of one mixture's arms, and whether they are everybody's."""
        for name in (mixture, blend, *([MIXED] if num_pools > 1 else [])):
            if name in self.departures:
                return self.departing(name), False
        return self.model_copy(update={"departures": {}}), True
