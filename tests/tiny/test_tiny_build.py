from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mixray.chat import load_tokenizer
from mixray.errors import MixrayError
from mixray.rows import EXAMPLE
from mixray.store import Store
from mixray.tiny.build import in_order, lesson_book, ship, texts
from mixray.tiny.models_table import HEAD_SIZE, MODELS, Lesson, TinyModel
from mixray.tiny.problems import take
from mixray.tiny.tokenizer import save_tokenizer


def test_every_recipe_can_be_followed() -> None:
    for name, recipe in MODELS.items():
        assert in_order([name])[-1] == name
        assert recipe.start in MODELS or (recipe.width % HEAD_SIZE == 0 < recipe.width and recipe.num_layers > 0)
        assert recipe.train().max_tokens == recipe.max_tokens


def test_a_model_is_built_after_what_it_continues_from_where_that_is_built_too() -> None:
    order = in_order(sorted(MODELS))
    assert sorted(order) == sorted(MODELS)
    for name, recipe in MODELS.items():
        assert recipe.start is None or order.index(recipe.start) < order.index(name)
    assert in_order(["student-s-instruct"]) == ["student-s-instruct"], "from the student-s that ships"
    assert in_order(["short", "student-m", "short"]) == ["student-m", "short"]


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(MixrayError, match="no recipe"):
        in_order(["huge"])


@pytest.mark.parametrize("style", ["long", "short", "large", "small"])
def test_lessons_hold_no_test_problem(style: str) -> None:
    lesson = texts(Lesson(style, 300, (1, 2)), seed=3)
    test = {problem.question for seed in range(3) for problem in take("test", 150, (1, 2), seed)}
    validation = {problem.question for problem in take("validation", 150, (1, 2), 7)}
    assert len({question for question, _ in lesson}) == 300
    assert not {question for question, _ in lesson} & (test | validation)


def test_a_lesson_book_is_a_mixture_and_the_same_each_time(tmp_path: Path) -> None:
    recipe = TinyModel((Lesson("drill", 5, (3, 4)), Lesson("short", 10, (1, 2))), learning_rate=1e-3, max_tokens=256)
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    books = [lesson_book(Store(str(tmp_path / name)), recipe, tokenizer) for name in ("one", "two")]
    tables = [book.read_table() for book in books]
    assert tables[0].schema.equals(EXAMPLE)
    assert tables[0].equals(tables[1])
    assert tables[0]["pool"].to_pylist() == ["drill"] * 5 + ["short"] * 10
    assert len(set(tables[0]["trace_id"].to_pylist())) == 15
    assert max(tables[0]["num_tokens"].to_pylist()) <= recipe.max_tokens


def test_shipping_copies_the_model_alone_and_rounds_its_weights(tmp_path: Path) -> None:
    made, shipped = tmp_path / "made", tmp_path / "shipped"
    save_tokenizer(made)
    weights = torch.linspace(-1, 1, 1001).reshape(7, 143)
    save_file({"weight": weights}, made / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "generation_config.json", "training_curve.json", "README.md"):
        (made / name).write_text(json.dumps({"model_type": "qwen2", "eos_token_id": 2}), encoding="utf-8")
    ship(made, shipped)
    assert not {"training_curve.json", "README.md"} & {path.name for path in shipped.iterdir()}
    rounded = load_file(shipped / "model.safetensors")["weight"]
    assert rounded.dtype == torch.bfloat16
    assert torch.allclose(rounded.float(), weights, rtol=2**-8, atol=0)
    assert load_tokenizer(shipped).eos_token == "<|im_end|>"
