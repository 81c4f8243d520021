"""A teacher with a LoRA adapter answers as the adapted model does, not as its base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import RULE, make_problems
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mixray.chat import ask, load_tokenizer, prompt_ids
from mixray.errors import TeacherError
from mixray.progress import StageProgress
from mixray.recipe import Teacher
from mixray.store import Store
from mixray.teachers import run

QUESTIONS = ["What is 1 + 1?", "What is 7 - 4?", "How many legs has a hen?"]
MAX_TOKENS = 12


ADAPTED = ("q_proj", "v_proj", "down_proj")
RANK, SCALE = 4, 2.0


@pytest.fixture
def adapter(random_student: str, tmp_path: Path) -> str:
    """The folder of an adapter of random weights in peft's format, large enough to change every answer."""
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, module in load(random_student).named_modules():
        if name.endswith(ADAPTED):
            out_size, in_size = module.weight.shape
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(RANK, in_size, generator=generator) * 0.1
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(out_size, RANK, generator=generator) * 0.1
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": SCALE * RANK, "target_modules": list(ADAPTED)}
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": random_student, "bias": "none"}))
    return str(folder)


def load(model: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(model)


def by_transformers(model: str, adapter: str | None) -> list[str]:
    """What the model says greedily with the adapter worked into its weights, as the method's paper has it: W + s B A."""
    tokenizer, loaded = load_tokenizer(model), load(model)
    weights = load_file(f"{adapter}/adapter_model.safetensors") if adapter else {}
    for name in {key.removeprefix("base_model.model.").rpartition(".lora_")[0] for key in weights}:
        down, up = (weights[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
        loaded.get_submodule(name).weight.data += SCALE * up @ down
    answers = []
    for question in QUESTIONS:
        ids = prompt_ids(tokenizer, ask(question))
        out = loaded.generate(input_ids=torch.tensor([ids]), max_new_tokens=MAX_TOKENS, do_sample=False)
        answers.append(tokenizer.decode(out[0][len(ids) :], skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return answers


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_an_adapter_changes_the_answers_as_it_does_elsewhere(store: Store, quiet: StageProgress, random_student: str, adapter: str) -> None:
    problems = make_problems(store, QUESTIONS)
    settings = {
        "model": random_student,
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "max_failed_share": 1,
        "engine": {"max_model_len": 256},
    }
    pool = run(store, "adapted", Teacher(lora=adapter, **settings), problems, 0, RULE, quiet)
    answers = pool.read_table()["response"].to_pylist()
    assert answers == by_transformers(random_student, adapter)
    assert answers != by_transformers(random_student, None)


def test_a_folder_without_an_adapter_is_told(store: Store, quiet: StageProgress, random_student: str, tmp_path: Path) -> None:
    teacher = Teacher(model=random_student, lora=str(tmp_path))
    with pytest.raises(TeacherError, match=r"adapter_config\.json and adapter_model\.safetensors"):
        run(store, "adapted", teacher, make_problems(store, QUESTIONS), 0, RULE, quiet)
