"""Arms whose shifts are known: students that can say digits alone, and one of which a bias makes one digit likelier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM, PhiConfig

from mixray import chat, rows
from mixray.store import Artefact, Store
from mixray.tiny.tokenizer import save_tokenizer

RAISED = "7"


def digit_student(folder: Path, raised_by: float) -> str:
    """Save an untrained student that says digits (single tokens that nothing joins), and RAISED more readily by so many logits."""
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, initializer_range=0.3, max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.lm_head.bias.fill_(-1000.0)
        model.lm_head.bias[tokenizer.convert_tokens_to_ids(list("0123456789"))] = 0.0
        model.lm_head.bias[tokenizer.convert_tokens_to_ids(RAISED)] += raised_by
    model.save_pretrained(folder)
    return str(folder)


def said(student: str, question: str, num_tokens: int) -> str:
    """Return what a student answers greedily, one plain pass per token."""
    tokenizer: Any = chat.load_tokenizer(student)
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    prompt = chat.prompt_ids(tokenizer, chat.ask(question))
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(num_tokens):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return str(tokenizer.decode(ids[len(prompt) :]))


def answers(store: Store, arm: str, responses: list[tuple[str, str]], **said: Any) -> Artefact:
    """Store score rows of (question, response), all cut off; `said` changes columns of all of them."""
    made = [
        {
            "problem_id": f"p{number:03d}", "benchmark": "digits", "sample": 0, "seed": 0, "question": question, "gold": "1",
            "response": response, "finish_reason": "length", "num_response_tokens": len(response), "status": "truncated",
            "verdict": "wrong", **said,
        }
        for number, (question, response) in enumerate(responses)
    ]  # fmt: skip
    scores = store.artefact("scores", arm, {"rows": rows.digest(made)})
    with scores.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(made, schema=rows.SCORE))
    return scores


def weights(store: Store, arm: str, raised_by: float) -> Artefact:
    """Store a digit student as the students of a training are."""
    trained = store.artefact("students", arm, {"raised_by": raised_by})
    with trained.staging() as staging:
        digit_student(staging.folder, raised_by)
    return trained
