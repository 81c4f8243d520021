"""The recipe tells what is wrong with it before anything starts."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mixray.errors import MixrayError, RecipeError
from mixray.graph import build_graph
from mixray.naming import mixture_names
from mixray.recipe import Recipe
from mixray.recipe_file import load_recipe, parse_recipe
from mixray.store import Store

SMALL: dict[str, Any] = {
    "name": "small",
    "problems": {"source": "tiny", "num_problems": 10},
    "teachers": {"long": {"model": "tiny:long"}, "short": {"model": "tiny:short"}},
    "mixtures": {"mix": {"hard": "long", "easy": "short", "alpha": [0, 0.2, 1]}},
    "students": {"student-s": {"model": "tiny:student-s"}},
    "evaluate": {"benchmarks": {"tiny": {"source": "tiny", "split": "test", "num_problems": 10}}},
}


def parse(*overrides: str, **changes: Any) -> Recipe:
    return parse_recipe(copy.deepcopy(SMALL) | changes, list(overrides))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.epoch=3", ["`train.epoch`", "3", "epochs", "did you mean 'epochs'?"]),
        ("teachers.long.temprature=1", ["`teachers.long.temprature`", "did you mean 'temperature'?"]),
        ("studens.x=1", ["`studens`", "did you mean 'students'?"]),
        ("train.epochs=many", ["`train.epochs`", '"many"', "integer"]),
        ("train.zero_stage=4", ["`train.zero_stage`", "4", "1, 2 or 3"]),
        ("mixtures.mix.alpha=[0.2, 1.5]", ["`mixtures.mix.alpha.1`", "1.5", "less than or equal to 1"]),
        ("mixtures.mix.alpha=-0.1", ["`mixtures.mix.alpha.0`", "-0.1", "greater than or equal to 0"]),
        ("mixtures.mix.hard=lnog", ["mixtures.mix.hard", "'lnog'", "['long', 'short']", "did you mean 'long'?"]),
        ("train.pack_tokens=8", ["train", "pack_tokens (8)", "max_tokens (16384)"]),
        ("student_prompt=hello", ["`student_prompt`", '"hello"', "{question}"]),
        ("problems.num_problems=null", ["problems", "num_problems must be set"]),
        ("name=Has Space", ["`name`", '"Has Space"', "pattern"]),
        ("serve.max_model_len=16000", ["evaluate.max_tokens (16000)", "serve.max_model_len (16000)"]),
        ("seeds=[1, 1]", ["seeds", "differ", "[1, 1]"]),
        ("no-equals-sign", ["key=value", "no-equals-sign"]),
        ("name.deeper=1", ["name.deeper"]),
        ("teachers.long.sampling={temperature: 0.3}", ["teachers.long", "sampling cannot hold ['temperature']"]),
        ("teachers.long.sampling={n: 4, stop: x}", ["teachers.long", "sampling cannot hold ['n', 'stop']"]),
        ("train.preset=[x]", ["train.preset"]),
        ("students.student-s={model: 'tiny:student-s', train: {preset: [x]}}", ["students.student-s.train"]),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_its_rule(override: str, told: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(override)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert [part for part in told if part not in message] == [], message


def test_a_students_own_settings_and_departures_are_held_against_each_other() -> None:
    departing = "train={max_tokens: 256, departures: {mixed: {pack_tokens: 512}}}"
    parse(departing)
    with pytest.raises(RecipeError, match=r"students\.student-s\.train.*pack_tokens \(512\) must be at least max_tokens \(1024\)"):
        parse(departing, "students.student-s={model: 'tiny:student-s', train: {max_tokens: 1024}}")


def test_departures_of_no_mixture_are_told(store: Store) -> None:
    """They would change nothing, and no table would say so."""
    for name in ("mix-0.7", "mix-0.20"):
        with pytest.raises(RecipeError, match=rf"no mixture of this recipe; seen: train\.departures\.{name}; rule: .*mix-0\.2"):
            build_graph(parse(f"train.departures={{{name}: {{epochs: 1}}}}"), store)
    graph = build_graph(parse("train.departures={mix-0.2: {epochs: 1}}"), store)
    assert {mix.name: mix.matched for mix in graph.mixes}["mix-0.2"] is False


@pytest.mark.parametrize(
    ("key", "url", "shown"),
    [
        ("teachers.long.endpoint", "https://bob:SECRET@host/v1", "https://…@host/v1"),
        ("problems.source", "http://SECRET@host/problems.jsonl", "http://…@host/problems.jsonl"),
        ("train.mlflow.tracking_uri", "sftp://bob:SECRET@host/runs", "sftp://…@host/runs"),
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(key: str, url: str, shown: str) -> None:
    """What a recipe says goes into manifests and reports."""
    with pytest.raises(RecipeError) as caught:
        parse(f'{key}="{url}"')
    told = str(caught.value)
    assert key in told
    assert shown in told
    assert "SECRET" not in told


def test_an_address_may_hold_a_container_and_a_prompt_an_address() -> None:
    assert parse('problems.source="abfs://container@account.host/problems.jsonl"').problems.source.startswith("abfs://container@")
    assert "https://a@b" in parse('student_prompt="See https://a@b: {question}"').student_prompt


def test_an_override_changes_one_value() -> None:
    recipe = parse("train.epochs=7", "teachers.long.engine={max_model_len: 99}", "seeds=[0, 1, 2]")
    assert (recipe.train.epochs, recipe.teachers["long"].engine, recipe.seeds) == (7, {"max_model_len": 99}, (0, 1, 2))
    assert recipe.train.learning_rate == parse().train.learning_rate


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse().name = "other"


def test_a_missing_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"tinny.*did you mean 'tiny'"):
        load_recipe("tinny")


def test_broken_yaml_is_told_in_one_line(tmp_path: Any) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: [unclosed")
    with pytest.raises(RecipeError, match="not valid YAML") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), lambda inner: st.dictionaries(st.text(max_size=6), inner))
)
def test_no_data_gets_past_as_anything_but_a_recipe_error(data: Any) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(data, [])


def test_mixtures_are_named_by_their_pools_and_alphas() -> None:
    assert list(mixture_names(parse())) == ["short", "mix-0.2", "long"]
    two = parse(
        teachers={name: {"model": "tiny:short"} for name in ("long", "short", "large")},
        mixtures={"a": {"hard": "long", "easy": "short"}, "b": {"hard": "large", "easy": "short"}},
    )
    assert list(mixture_names(two)) == ["a-short", "a-0.2", "long", "b-short", "b-0.2", "large"]


def test_the_schema_knows_every_field() -> None:
    properties = Recipe.model_json_schema()["properties"]
    assert set(properties) == set(Recipe.model_fields)
    assert yaml.safe_load(yaml.safe_dump(parse().model_dump(mode="json")))["name"] == "small"


@pytest.mark.parametrize("kind", [MixrayError, *MixrayError.__subclasses__()])
def test_every_error_survives_pickling_with_its_parts(kind: type[MixrayError]) -> None:
    error = kind("A thing is wrong", seen=[1, 2], rule="it must be right", do="mend it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "A thing is wrong; seen: [1, 2]; rule: it must be right; do: mend it"


@pytest.mark.parametrize(
    ("blend", "told"),
    [
        ("{pools: {long: 0.2, short: 0.7}}", "must sum to 1, got 0.2 + 0.7 = 0.9"),
        ("{pools: {long: 0.2, short: 0.8}, alpha: 0.2}", "give either pools, or hard, easy and alpha"),
        ("{pools: {long: a lot, short: 0.8}}", "a number or a fraction such as 1/3"),
        ("{pools: {long: 1}}", "at least 2 items"),
        ("{pools: {long: 0.5, other: 0.5}}", "mixtures.mix.pools: no pool is called 'other'"),
        ("{hard: long}", "give pools, such as {long: 0.2, short: 0.8}, or hard and easy"),
        ("{hard: long, easy: short, stages: [0, 0.5], alpha: 0.2}", "stages stand in the place of alpha"),
        ("{hard: long, easy: short, stages: [0, 0.5], by: tokens}", "stages are shares of rows"),
        ("{hard: long, easy: short, pick: fitting, view: {long: summary}}", "leave out either `view: summary` or `fitting`"),
        ("{hard: long, easy: short, tags: {other: /think}}", "view and tags are given for ['other']"),
    ],
)
def test_a_blend_that_cannot_be_is_told(blend: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(f"mixtures.mix={blend}")
    assert told in str(error.value)


def test_shares_are_the_numbers_as_they_were_written() -> None:
    blend = parse("mixtures.mix={pools: {long: 1/3, short: 2/3}}").mixtures["mix"]
    assert [str(share) for share in blend.shares(None).values()] == ["1/3", "2/3"]
    staged = parse("mixtures.mix={hard: long, easy: short, stages: [0, 0.2, 0.4]}").mixtures["mix"]
    assert staged.alphas == (0.2,)
    assert list(mixture_names(parse("mixtures.mix={pools: {long: 0.2, short: 0.8}}"))) == ["mix"]
