"""A student while it is trained: a causal Hugging Face model whose forward pass is its loss.

In: a model's folder and the recipe's `train` block. Out: a module that takes a `Batch` and gives the summed loss of its targets.

Logits are made for the tokens that are trained alone, a chunk at a time, and made again for the gradient: for a vocabulary of 150,000 and a
pass of 16,000 tokens they would take 10 GB otherwise.

Shapes: T = tokens of the pass, N = targets, C = targets of a chunk, D = width, V = vocabulary.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel

from mixray.errors import TrainingError
from mixray.recipe import Lora, Train
from mixray.training import documents
from mixray.training.batch import Batch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
log = logging.getLogger("mixray.training")


class Student(torch.nn.Module):
    """A causal model with its loss.

    Args:
        model: what is trained; with adapters inside where there are any.
        loss_chunk_bytes: memory of the float32 logits held at once.
    """

    def __init__(self, model: PreTrainedModel, loss_chunk_bytes: int = 2**28) -> None:
        super().__init__()
        self.model = model
        self.chunk = max(64, loss_chunk_bytes // (4 * model.config.get_text_config().vocab_size))
        self.in_documents = model.config._attn_implementation == documents.DOCUMENTS

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the summed cross-entropy of the targets, in float32; a batch without targets gives zero with a gradient of zero."""
        hidden_TD = self._hidden(batch)
        if not len(batch.places_N):
            return self._logits(hidden_TD[:1]).float().sum() * 0.0
        chunks = zip(torch.split(hidden_TD[batch.places_N], self.chunk), torch.split(batch.targets_N, self.chunk), strict=True)
        if len(batch.places_N) <= self.chunk:
            return self._loss(*next(chunks))
        losses = [checkpoint(self._loss, hidden, targets, use_reentrant=False) for hidden, targets in chunks]
        return torch.stack(losses).sum()

    def _hidden(self, batch: Batch) -> torch.Tensor:
        where = documents.bounds(list(batch.ends), batch.ids_1T.device) if self.in_documents else {}
        out = self.model.base_model(input_ids=batch.ids_1T, position_ids=batch.positions_1T, use_cache=False, **where)
        return out.last_hidden_state[0]

    def _loss(self, hidden_CD: torch.Tensor, targets_C: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self._logits(hidden_CD).float(), targets_C, reduction="sum")

    def _logits(self, hidden_CD: torch.Tensor) -> torch.Tensor:
        """Return [C, V], with what the architecture does to its head's output."""
        logits_CV = self.model.get_output_embeddings()(hidden_CD)
        config = self.model.config.get_text_config()
        if softcap := getattr(config, "final_logit_softcapping", None):
            logits_CV = softcap * torch.tanh(logits_CV / softcap)
        if divisor := getattr(config, "logits_scaling", None):  # Granite
            logits_CV = logits_CV / divisor
        if factor := getattr(config, "logit_scale", None):  # Cohere
            logits_CV = logits_CV * factor
        return logits_CV


def load_student(source: str, train: Train, deepspeed_config: dict[str, Any] | None = None) -> Student:
    """Load a causal model from safetensors, running no code from its folder, ready to be trained.

    Args:
        source: a folder or hub id, as `models.resolve` gives it.
        train: dtype, attention, adapters, kernels.
        deepspeed_config: where given and of stage 3, weights are spread over the workers as they are read: none holds all of them.

    Raises:
        TrainingError: it cannot be loaded, or not trained in this way.
    """
    with _spread(deepspeed_config):
        model = _load(source, train)
    if train.liger and torch.cuda.is_available():
        _use_liger(model)
    if train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if train.lora is not None:
        model = add_adapters(model, train.lora)
    return Student(model.train(), train.loss_chunk_bytes)


def _load(source: str, train: Train) -> PreTrainedModel:
    attention = documents.register() if train.attention == "documents" else None
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source, dtype=DTYPES[train.dtype], attn_implementation=attention, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise TrainingError("A student cannot be loaded", seen=source, rule=str(error).splitlines()[0]) from error
    if model.get_output_embeddings() is None or model.base_model is model:
        raise TrainingError("A student is no causal language model", seen=f"{source}: {type(model).__name__}", rule="a decoder with a head")
    return model


@contextlib.contextmanager
def _spread(deepspeed_config: dict[str, Any] | None) -> Iterator[None]:
    """Have transformers load into DeepSpeed's partitions for the block, where the configuration is of stage 3."""
    if not deepspeed_config or deepspeed_config.get("zero_optimization", {}).get("stage") != 3:
        yield
        return
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    _kept = HfDeepSpeedConfig(deepspeed_config)  # it is in force while somebody holds it
    try:
        yield
    finally:
        unset_hf_deepspeed_config()


def _use_liger(model: PreTrainedModel) -> None:
    """Put Liger's kernels in for norms, rotations and gated layers, where they are installed and know the architecture."""
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError:
        log.info("Liger's kernels are not installed: training goes on without them (pip install liger-kernel)")
        return
    # The loss stays ours: it never makes all logits, either, and one way to compute it is enough.
    _apply_liger_kernel_to_instance(model=model, fused_linear_cross_entropy=False, cross_entropy=False)


def add_adapters(model: PreTrainedModel, lora: Lora) -> PreTrainedModel:
    """Put low-rank adapters into a model and freeze the rest; the adapters' weights are drawn from torch's seed."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type="CAUSAL_LM")
    try:
        injected: PreTrainedModel = inject_adapter_in_model(config, model)
    except ValueError as error:
        raise TrainingError(
            "A student has no layers of these names", seen=targets, rule=str(error).splitlines()[0], do="set train.lora.targets"
        ) from error
    for name, parameter in injected.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return injected
