"""What a training refuses before its first step, and with which advice."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import architectures
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from mixray import pipeline, training
from mixray.chat import Encoded, ask, encode, load_tokenizer, show
from mixray.errors import TrainingError
from mixray.progress import Display
from mixray.recipe import Train
from mixray.recipe_file import parse_recipe
from mixray.store import Store
from mixray.training.batch import collate
from mixray.training.checks import check_rows, ready_tokenizer
from mixray.training.export import export
from mixray.training.loop import memory_explained
from mixray.training.settings import OPTIMIZERS, deepspeed_config, learning_rate
from mixray.training.tokens import TokenRow, TokenRows


def encoded(source: str, answers: list[str]) -> list[TokenRow]:
    tokenizer = load_tokenizer(source)
    rows = [encode(tokenizer, [*ask("How many pens?"), {"role": "assistant", "content": answer}]) for answer in answers]
    return [TokenRow(np.array(row.ids, np.int32), row.num_loss_tokens) for row in rows]


@pytest.fixture
def student(random_student: str, tmp_path: Path) -> Path:
    """A student's folder that a test may spoil."""
    return Path(shutil.copytree(random_student, tmp_path / "student"))


def respell(student: Path, **changes: str | None) -> str:
    tokenizer = load_tokenizer(student)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(student)
    return str(student)


def test_only_the_response_and_its_end_of_turn_are_trained(random_student: str) -> None:
    tokenizer = load_tokenizer(random_student)
    (row,) = encoded(random_student, ["\\boxed{3}"])
    batch = collate([row], 0)
    assert tokenizer.decode(batch.targets_N) == "\\boxed{3}<|im_end|>"
    assert batch.ids_1T[0, batch.places_N + 1].tolist() == batch.targets_N.tolist()
    assert show(tokenizer, Encoded(row.ids.tolist(), row.num_loss_tokens)).endswith("assistant\n⟦trained⟧\\boxed{3}<|im_end|>")


def test_rows_of_a_line_begin_at_position_0_and_the_last_token_of_one_does_not_predict_the_next(random_student: str) -> None:
    rows = encoded(random_student, ["7+5=12\n\\boxed{12}", "\\boxed{3}"])
    batch = collate(rows, 0)
    first = len(rows[0].ids)
    assert batch.positions_1T[0].tolist() == [*range(first), *range(len(rows[1].ids))]
    assert first - 1 not in batch.places_N.tolist()
    assert batch.ends == (first, first + len(rows[1].ids))


def test_a_row_without_end_of_turn_or_without_targets_is_refused(random_student: str) -> None:
    tokenizer = load_tokenizer(random_student)
    (row,) = encoded(random_student, ["\\boxed{3}"])
    check_rows(TokenRows.of([row]), tokenizer)
    with pytest.raises(TrainingError, match="never stop"):
        check_rows(TokenRows.of([row, TokenRow(row.ids[:-1], 2)]), tokenizer)
    for num_loss_tokens in (0, len(row.ids)):
        with pytest.raises(TrainingError, match="trains no token"):
            check_rows(TokenRows.of([TokenRow(row.ids, num_loss_tokens)]), tokenizer)


def test_a_padding_token_that_ends_turns_is_refused_with_the_fix(student: Path) -> None:
    source = respell(student, pad_token="<|im_end|>")
    with pytest.raises(TrainingError, match=r"pads with its end of turn.*set train\.pad_token, to one of"):
        ready_tokenizer(source, None)
    other = next(str(token) for token in load_tokenizer(source).added_tokens_decoder.values() if str(token) != "<|im_end|>")
    assert ready_tokenizer(source, other).pad_token == other
    with pytest.raises(TrainingError, match="not in the vocabulary"):
        ready_tokenizer(source, "<|none|>")


@pytest.fixture
def base_student(student: Path) -> str:
    """A student as Qwen2.5's base models are: documents end, and padding is, what ends no turn."""
    GenerationConfig(eos_token_id=load_tokenizer(student).pad_token_id).save_pretrained(student)
    return respell(student, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def test_the_end_of_turn_of_a_base_model_is_what_its_template_prints(base_student: str) -> None:
    assert AutoTokenizer.from_pretrained(base_student).eos_token == "<|endoftext|>"
    tokenizer = ready_tokenizer(base_student, None)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    (row,) = encoded(base_student, ["\\boxed{3}"])
    assert tokenizer.decode(row.ids[-row.num_loss_tokens :]) == "\\boxed{3}<|im_end|>"
    check_rows(TokenRows.of([row]), tokenizer)
    training.check_students([(base_student, Train())])


def test_an_exported_base_model_stops_at_the_end_of_turn(base_student: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_student)
    engine: Any = SimpleNamespace(student=SimpleNamespace(model=model), weights=lambda wanted: model.state_dict())
    work: Any = SimpleNamespace(train=Train(), source=base_student, model=base_student, tokenizer=ready_tokenizer(base_student, None))
    export(engine, work, tmp_path / "exported")
    served = AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert served.eos_token == "<|im_end|>"
    assert GenerationConfig.from_pretrained(tmp_path / "exported").eos_token_id == [served.eos_token_id, served.pad_token_id]


@pytest.mark.parametrize(
    "end",
    ["", "<|im_end|><|im_start|>", "<|endoftext|>", "{{ raise_exception('no') }}", "{{ message['content'] + 1 }}"],
    ids=["none", "two", "its own", "refused", "broken"],
)
def test_an_end_of_turn_that_is_not_plain_is_not_guessed(student: Path, end: str) -> None:
    template = (
        f"{{% for message in messages %}}{{{{ message['content'] }}}}{end}{{% endfor %}}{{% if add_generation_prompt %}}A:{{% endif %}}"
    )
    assert load_tokenizer(respell(student, eos_token="<|endoftext|>", chat_template=template)).eos_token == "<|endoftext|>"


def test_a_template_without_generation_prompt_is_refused_with_the_fix(student: Path) -> None:
    template = "{% for message in messages %}{{ message['role'] + message['content'] }}<|im_end|>{% endfor %}"
    with pytest.raises(TrainingError, match=r"no generation prompt.*add \{% if add_generation_prompt"):
        ready_tokenizer(respell(student, chat_template=template), None)


def test_a_template_without_system_turns_says_so(tmp_path: Path) -> None:
    architectures.save(tmp_path, "gemma-3")
    tokenizer = load_tokenizer(tmp_path)
    assert encode(tokenizer, [*ask("1+1?"), {"role": "assistant", "content": "2"}]).num_loss_tokens == 2
    with pytest.raises(Exception, match=r"System role not supported.*prompt"):
        encode(tokenizer, [*ask("1+1?", system_prompt="Be brief."), {"role": "assistant", "content": "2"}])


def test_memory_that_runs_out_is_told_with_what_to_change() -> None:
    train = Train(max_tokens=1024, micro_batch_tokens=4096, zero_stage=2)
    advice = r"ran out of memory.*lower train\.micro_batch_tokens \(4096\) to 2048, or set train\.gradient"
    with pytest.raises(TrainingError, match=advice), memory_explained(train):
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="another"), memory_explained(train):
        raise RuntimeError("another")


@pytest.mark.parametrize(
    ("schedule", "at"),
    [("cosine", {0: 0.2, 9: 2.0, 10: 2.0, 55: 1.0}), ("linear", {9: 2.0, 55: 1.0, 99: 0.0222}), ("constant", {10: 2.0, 99: 2.0})],
)
def test_schedules_warm_up_then_fall(schedule: str, at: dict[int, float]) -> None:
    train = Train(learning_rate=2.0, schedule=schedule, warmup_share=0.1)
    for step, rate in at.items():
        assert learning_rate(step, 100, train) == pytest.approx(rate, rel=1e-2)


def refused(model: str, **train: Any) -> dict[str, Any]:
    """Return a recipe of one student."""
    return {
        "name": "refused",
        "problems": {"source": "tiny", "num_problems": 8},
        "teachers": {"long": {"model": model}, "short": {"model": model}},
        "mixtures": {"mix": {"hard": "long", "easy": "short", "alpha": 0.2}},
        "students": {"one": {"model": model}},
        "evaluate": {"benchmarks": {"tiny": {"source": "tiny", "split": "test", "num_problems": 8}}},
        "train": train,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer_settings": {"beta": [0.9, 0.95]}}, "unexpected keyword argument 'beta'"),
        ({"optimizer_settings": {"betas": [0.9, 1.5]}}, "Invalid beta"),
        ({"optimizer": "sgd", "optimizer_settings": {"nesterov": True}}, "Nesterov momentum requires"),
        ({"deepspeed": {"scheduler": {"type": "WarmupLR"}}, "dtype": "float32"}, "sets what mixray decides"),
    ],
)
def test_settings_that_workers_would_refuse_are_refused_before_any_teacher_is_asked(
    store: Store, random_student: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        pipeline.run(parse_recipe(refused(random_student, **given), []), store, Display(quiet=True))
    assert store.folders("problems") == store.folders("pools") == []


def test_a_student_whose_template_cannot_be_trained_is_refused_before_any_teacher_is_asked(
    store: Store, random_student: str, student: Path
) -> None:
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    recipe = refused(random_student) | {"students": {"one": {"model": respell(student, chat_template=template)}}}
    with pytest.raises(TrainingError, match="differently in training and in asking"):
        pipeline.run(parse_recipe(recipe, []), store, Display(quiet=True))
    assert store.folders("problems") == store.folders("pools") == []


def test_settings_of_every_optimizer_that_is_torchs_are_taken() -> None:
    for optimizer in OPTIMIZERS:
        training.check(Train(optimizer=optimizer))
    training.check(Train(optimizer="cpu-adam", offload_optimizer=True))  # it would be compiled


def test_the_users_own_deepspeed_configuration_is_taken_whole_but_for_what_the_plan_decides(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text('{"zero_optimization": {"stage": 2, "reduce_bucket_size": 1234}, "train_batch_size": "auto", "gradient_clipping": 0.5}')
    config = deepspeed_config(Train.model_validate({"deepspeed": str(file), "zero_stage": 3, "dtype": "float32"}))
    assert config["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 1234}
    assert config["gradient_clipping"] == 0.5
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_accumulation_steps"] == 1
    for refused in ({"gradient_accumulation_steps": 4}, {"scheduler": {"type": "WarmupLR"}}, {"fp16": {"enabled": True}}):
        with pytest.raises(TrainingError, match="sets what mixray decides"):
            deepspeed_config(Train(deepspeed=refused, dtype="float32"))


@pytest.mark.parametrize(
    ("given", "dtype"), [({}, "bfloat16"), ({"bf16": {"enabled": True}}, "bfloat16"), ({"bf16": {"enabled": True}}, "float32")]
)
def test_a_deepspeed_configuration_that_would_lose_the_float32_weights_is_refused(given: dict[str, Any], dtype: Any) -> None:
    with pytest.raises(TrainingError, match="what weights are kept in"):
        deepspeed_config(Train(deepspeed=given, dtype=dtype))
    kept = deepspeed_config(Train(deepspeed={"bf16": {"enabled": True}, "zero_optimization": {"stage": 1}}))
    assert kept["bf16"]["enabled"]
