"""A tiny model with random weights of each family a student may come from, and the traps of each: ties, windows, caps, scales."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from mixray.tiny.tokenizer import save_tokenizer

WINDOW = 8
"""Far shorter than a row."""
# Gemma's templates know no system turn and say so.
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW}


def configs(vocab_size: int = 512) -> dict[str, PreTrainedConfig]:
    """Return a configuration of each family."""
    size = {
        "vocab_size": vocab_size, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    windows = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0}
    return {
        "qwen2.5-tied": Qwen2Config(**size, tie_word_embeddings=True),
        "qwen2-windows": Qwen2Config(**size, **windows),
        "qwen3": Qwen3Config(**size, head_dim=32, tie_word_embeddings=True),
        "llama-3": LlamaConfig(**size),
        "gemma-2": Gemma2Config(**size, **GEMMA),
        "gemma-3": Gemma3TextConfig(**size, **GEMMA, layer_types=["sliding_attention", "full_attention"]),
        "phi": PhiConfig(**{**size, "intermediate_size": 256, "num_key_value_heads": 2}),  # as vLLM takes them to be
        "phi-3": Phi3Config(**size, sliding_window=WINDOW),
        "mistral": MistralConfig(**size, sliding_window=WINDOW),
        "smollm": LlamaConfig(**size, tie_word_embeddings=True),
        "smollm-3": SmolLM3Config(**size),
        "granite": GraniteConfig(**size, logits_scaling=4.0),
        "cohere": CohereConfig(**size),
        "olmo-2": Olmo2Config(**size),
    }


def save(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """Save a family's model and tokenizer; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = save_tokenizer(folder)
    config = configs(len(tokenizer))[name]
    config.pad_token_id, config.eos_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id, None
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    if name.startswith("gemma"):
        tokenizer.chat_template = NO_SYSTEM
        tokenizer.save_pretrained(folder)
    return tokenizer
