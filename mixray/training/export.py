"""A trained student as a Hugging Face folder: weights, configuration, generation settings, tokenizer with its chat template.

Adapters are kept twice: unmerged in `adapter/`, as peft loads them onto the base model, and merged into the weights, as anybody loads them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from mixray import chat
from mixray.recipe import Lora
from mixray.training.engine import Engine

if TYPE_CHECKING:
    from mixray.training.loop import Work

ADAPTER = "adapter"
SHARD = "5GB"


def export(engine: Engine, work: Work, folder: Path | None) -> None:
    """Gather the weights on every worker's call and write a student into `folder`, where one is given (rank 0)."""
    weights = dict(engine.weights(wanted=folder is not None))
    if folder is None:
        return
    model = engine.student.model
    if work.train.lora is not None:
        _write_adapter(folder / ADAPTER, weights, work.train.lora, work.model)
        model = _merged(work.source, folder / ADAPTER, model.dtype)
        weights = model.state_dict()
    model.generation_config = generation_config(work.source, model, work.tokenizer)
    model.config.pad_token_id = work.tokenizer.pad_token_id
    model.save_pretrained(folder, state_dict=weights, max_shard_size=SHARD)
    work.tokenizer.save_pretrained(folder)
    (folder / chat.PROBE_FILE).write_text(json.dumps(chat.trained_probes(work.tokenizer)) + "\n", encoding="utf-8")


def generation_config(source: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Return the base model's generation settings with the end of turn among what ends an answer: it is what was trained to end it."""
    try:
        settings = GenerationConfig.from_pretrained(source)
    except OSError:  # a model without any
        settings = GenerationConfig.from_model_config(model.config)
    ends = settings.eos_token_id
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    ends = list(dict.fromkeys([tokenizer.eos_token_id, *ends]))
    settings.eos_token_id = ends[0] if len(ends) == 1 else ends
    settings.pad_token_id = tokenizer.pad_token_id
    return settings


def _write_adapter(folder: Path, weights: dict[str, torch.Tensor], lora: Lora, model: str) -> None:
    """Write adapters as peft reads them."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type="CAUSAL_LM",
        base_model_name_or_path=model, inference_mode=True,
    )  # fmt: skip
    config.save_pretrained(str(folder))
    # Inside a model an adapter has a name, which its file leaves out.
    named = {f"base_model.model.{name.replace('.default.', '.')}": weight for name, weight in weights.items() if "lora_" in name}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _merged(source: str, adapter: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Return the base model with adapters merged into its weights, on this worker's CPU."""
    from peft import PeftModel

    base: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    merged: PreTrainedModel = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    return merged
