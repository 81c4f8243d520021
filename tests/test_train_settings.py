"""The `train` block: presets, what departs from it, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mixray.graph import build_graph
from mixray.recipe import Recipe, Train
from mixray.store import Store

RECIPE = """
name: t
problems: {source: tiny, num_problems: 10}
teachers: {long: {model: "tiny:long"}, short: {model: "tiny:short"}}
mixtures: {mix: {hard: long, easy: short, alpha: [0, 0.2, 1]}}
students: {s: {model: "tiny:student-s"}}
evaluate: {benchmarks: {tiny: {source: tiny, num_problems: 5}}}
"""


def recipe(students: dict[str, Any] | None = None, **train: Any) -> Recipe:
    plain = yaml.safe_load(RECIPE)
    return Recipe.model_validate({**plain, "students": students or plain["students"], "train": train})


def test_matched_is_the_default_and_trains_every_arm_alike(store: Store) -> None:
    mixes = build_graph(recipe(), store).mixes
    assert Train().preset == "matched"
    assert all(mix.matched for mix in mixes)
    assert len({mix.train.model_dump_json() for mix in mixes}) == 1


def test_table_5_of_the_paper(store: Store) -> None:
    """Learning rate 1e-5, 2 epochs, 4 devices x 2 examples, 16,384 tokens, AdamW, cosine, no warm-up."""
    train = Train(preset="paper-table5")
    assert (train.learning_rate, train.epochs, train.batch_rows, train.max_tokens) == (1e-5, 2, 8, 16384)
    assert (train.optimizer, train.schedule, train.warmup_share, train.dtype, train.zero_stage) == ("adamw", "cosine", 0.0, "bfloat16", 3)
    assert all(mix.matched for mix in build_graph(recipe(preset="paper-table5"), store).mixes)


def test_the_released_settings_train_the_mixes_otherwise_and_say_so(store: Store) -> None:
    """exp/MATH_{long,short}_CoT.yaml: 4 x 2 examples of at most 8,192 tokens; exp/MATH_mix.yaml: 4 x 5 x 4 packed sequences of 4,096."""
    mixes = {mix.name: mix for mix in build_graph(recipe(preset="released-yaml"), store).mixes}
    for name in ("long", "short"):
        assert mixes[name].matched
        assert (mixes[name].train.batch_rows, mixes[name].train.batch_tokens, mixes[name].train.max_tokens) == (8, None, 8192)
        assert mixes[name].made_of.max_tokens == 8192
    mix = mixes["mix-0.2"]
    assert not mix.matched
    assert (mix.train.batch_rows, mix.train.batch_tokens, mix.train.max_tokens) == (None, 80 * 4096, 4096)
    assert mix.made_of.max_tokens == 4096


def test_what_is_set_goes_before_the_preset() -> None:
    train = Train(preset="paper-table5", learning_rate=3e-5, batch_tokens=2 * 16384)
    assert (train.learning_rate, train.batch_tokens, train.batch_rows, train.epochs) == (3e-5, 2 * 16384, None, 2)


def test_an_arm_departs_by_its_name_or_its_blends(store: Store) -> None:
    by_name = recipe(departures={"mix-0.2": {"epochs": 5}})
    assert {mix.name: (mix.train.epochs, mix.matched) for mix in build_graph(by_name, store).mixes} == {
        "short": (2, True), "mix-0.2": (5, False), "long": (2, True),
    }  # fmt: skip
    by_blend = recipe(departures={"mix": {"learning_rate": 1.0}})
    assert not any(mix.matched for mix in build_graph(by_blend, store).mixes)


def test_cutting_is_a_setting_of_all_or_of_mixtures_that_depart(store: Store) -> None:
    departures = {"mix-0.2": {"max_tokens": 256, "too_long": "cut"}}
    plain, one, every = (build_graph(recipe(**train), store).mixes for train in ({}, {"departures": departures}, {"too_long": "cut"}))
    assert [(mix.made_of.cuts, mix.made_of.max_tokens, mix.matched) for mix in one] == [
        (False, 16384, True), (True, 256, False), (False, 16384, True),
    ]  # fmt: skip
    assert [mix.artefact == other.artefact for mix, other in zip(plain, one, strict=True)] == [True, False, True]
    assert all(mix.made_of.cuts and mix.matched and mix.train.cut_to == 16384 for mix in every)
    back = recipe(too_long="cut", departures={"mix-0.2": {"too_long": "drop"}})
    assert [mix.made_of.cuts for mix in build_graph(back, store).mixes] == [True, False, True]


def test_dropping_is_not_told_so_that_older_recipes_have_the_hashes_they_had() -> None:
    assert "too_long" not in recipe().model_dump(mode="json")["train"]
    assert recipe(too_long="cut").model_dump(mode="json")["train"]["too_long"] == "cut"


def test_a_student_has_settings_of_its_own_that_all_its_arms_share(store: Store) -> None:
    """Table 6: students of 14B and more have adapters, at another rate and batch."""
    students = {"plain": {"model": "tiny:student-s"}, "large": {"model": "tiny:student-s", "train": {"preset": "paper-lora", "workers": 4}}}
    both = recipe(students, preset="paper-table5", departures={"mix-0.2": {"epochs": 5}})
    taught = [(arm.student, arm.mix.train, arm.mix.matched) for arm in build_graph(both, store).arms if arm.mix]
    assert [matched for _, _, matched in taught] == [True, False, True] * 2, "what a student's arms share is no departure"
    for student, rate, batch_rows, adapters, workers in (("plain", 1e-5, 8, False, (1, 1)), ("large", 1e-4, 4, True, (4, 4))):
        settings = [train for name, train, _ in taught if name == student]
        assert [train.epochs for train in settings] == [2, 5, 2]
        for train in settings:
            assert (train.learning_rate, train.batch_rows, train.lora is not None, train.workers) == (rate, batch_rows, adapters, workers)
            assert train.max_tokens == 16384


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"epochs": 0}, r"students\.large\.train\.epochs"),
        ({"epcohs": 1}, r"students\.large\.train\.epcohs"),
        ({"departures": {"long": {"epochs": 1}}}, r"students\.large\.train: .*cannot have departures"),
    ],
)
def test_what_a_student_gets_wrong_is_told_with_its_name(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        recipe({"large": {"model": "tiny:student-s", "train": wrong}})


def test_departing_changes_the_student_and_nothing_else(store: Store) -> None:
    plain, departing = build_graph(recipe(), store), build_graph(recipe(departures={"mix-0.2": {"epochs": 5}}), store)
    same = [one.trained == other.trained for one, other in zip(plain.arms, departing.arms, strict=True) if one.trained]
    assert same == [True, False, True]
    assert [mix.artefact for mix in plain.mixes] == [mix.artefact for mix in departing.mixes]


@pytest.mark.parametrize(
    "execution",
    [{"workers": [1, 4]}, {"zero_stage": 1}, {"micro_batch_tokens": 32768}, {"gradient_checkpointing": True}, {"keep_checkpoints": 5}],
)  # fmt: skip
def test_how_a_training_is_run_does_not_make_another_student(execution: dict[str, Any], store: Store) -> None:
    plain, other = build_graph(recipe(), store), build_graph(recipe(**execution), store)
    assert [arm.trained for arm in plain.arms] == [arm.trained for arm in other.arms]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"batch_rows": 4, "batch_tokens": 16384}, "not in both"),
        ({"batch_tokens": 20000}, "multiple of a packed sequence's tokens"),
        ({"pack_tokens": 100}, "at least max_tokens"),
        ({"workers": [3, 2]}, r"\[fewest, most\]"),
        ({"zero_stage": 2, "offload_parameters": True}, "needs zero_stage 3"),
        ({"zero_stage": 0}, "no float32 weights"),
        ({"optimizer": "cpu-adam"}, "needs offload_optimizer"),
        ({"deepspeed": "/no/such/file.json"}, "not a readable JSON file"),
        ({"departures": {"long": {"epochs": 0}}}, "epochs"),
        ({"departures": {"long": {"departures": {}}}}, "cannot change"),
        ({"departures": {"lnog": {"epochs": 3}}}, "did you mean 'long'"),
        ({"preset": "papers"}, "paper-table5"),
        ({"too_long": "keep"}, "'drop' or 'cut'"),
    ],
)
def test_contradictions_are_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        recipe(**wrong)
