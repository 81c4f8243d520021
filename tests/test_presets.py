"""What a recipe may leave out by name: presets of whole blocks, shipped teachers, students."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from command_line import called

from mixray.errors import RecipeError
from mixray.recipe import ImportedTeacher, Recipe, Teacher
from mixray.recipe.presets import PRESETS
from mixray.recipe.shipped_models import STUDENTS, TEACHERS
from mixray.recipe_file import load_recipe, parse_recipe, shipped_recipes
from mixray.store import Store

PAPER: dict[str, Any] = {
    "name": "short",
    "preset": "paper",
    "teachers": {"long": "qwq-32b-preview", "short": {"preset": "qwen2.5-32b-instruct", "max_tokens": 2048}},
    "mixtures": {"mix": {"hard": "long", "easy": "short"}},
    "students": ["qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct"],
}


def parse(*overrides: str, **changes: Any) -> Recipe:
    return parse_recipe(copy.deepcopy(PAPER) | changes, list(overrides))


def refused(*overrides: str, **changes: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(*overrides, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_papers_set_up_in_one_word() -> None:
    """Section 2: 7,500 problems of MATH, Table 5, five benchmarks greedily, Qwen2.5-32B-Instruct over what the rule does not accept."""
    recipe = parse()
    assert (recipe.problems.source, recipe.problems.format, recipe.problems.num_problems) == (
        "hf:DigitalLearningGmbH/MATH-lighteval", "math", 7500,
    )  # fmt: skip
    assert (recipe.train.preset, recipe.train.batch_rows, recipe.train.max_tokens, recipe.train.workers) == (
        "paper-table5",
        8,
        16384,
        (4, 4),
    )
    assert list(recipe.evaluate.benchmarks) == ["math", "amc23", "gsm8k", "olympiadbench", "aime24"]
    assert (recipe.evaluate.temperature, recipe.evaluate.num_samples, recipe.evaluate.max_tokens) == (0.0, 1, 16000)
    judge = recipe.evaluate.judge
    assert judge is not None
    assert isinstance(judge.teacher, Teacher)
    assert (judge.asked, judge.teacher.model, judge.teacher.max_tokens) == ("not_right", "Qwen/Qwen2.5-32B-Instruct", 20)


def test_what_the_recipe_says_counts_key_by_key() -> None:
    recipe = parse(train={"epochs": 3}, serve={"num_gpus": 2}, evaluate={"judge": None, "benchmarks": ["math500"]}, seeds=[0, 1])
    assert (recipe.train.epochs, recipe.train.preset, recipe.train.use_gpu) == (3, "paper-table5", True)
    assert (recipe.serve.num_gpus, recipe.serve.labels) == (2, {"mixray/role": "student"})
    assert (recipe.evaluate.judge, list(recipe.evaluate.benchmarks), recipe.evaluate.preset) == (None, ["math500"], "paper")
    assert recipe.seeds == (0, 1)


def test_a_preset_leaves_no_trace_of_its_own_in_what_is_hashed(store: Store) -> None:
    """A recipe that says everything itself stands for the same artefacts as one that names a preset."""
    recipe = parse()
    told = recipe.model_dump(mode="json")
    assert "preset" not in told
    assert "preset" not in told["teachers"]["long"]
    assert "preset" not in told["students"]["qwen2.5-0.5b-instruct"]
    assert Recipe.model_validate(told).model_dump() == recipe.model_dump()


def test_teachers_by_name() -> None:
    recipe = parse()
    long, short = recipe.teachers["long"], recipe.teachers["short"]
    assert isinstance(long, Teacher)
    assert isinstance(short, Teacher)
    assert (long.model, long.num_gpus, long.max_tokens, long.labels) == ("Qwen/QwQ-32B-Preview", 4, 16384, {"mixray/role": "teacher"})
    assert (short.model, short.max_tokens, long.temperature) == ("Qwen/Qwen2.5-32B-Instruct", 2048, 0.0)
    assert long.price.per_hour == 0, "what a GPU costs is the user's to say"


def test_released_traces_by_name() -> None:
    """The data cards: the columns are problem and solution."""
    long = parse(teachers={"long": "released-long", "short": "released-short"}).teachers["long"]
    assert isinstance(long, ImportedTeacher)
    assert (long.traces, long.columns.question, long.columns.response) == ("hf:UWNSL/MATH_training_split_long_cot", "problem", "solution")
    mixed = parse(teachers={"long": "released-mix-long", "short": "released-short"}).teachers["long"]
    assert isinstance(mixed, ImportedTeacher)
    assert mixed.traces == "hf:UWNSL/Mix-Long_long_0.2_short_0.8"


@pytest.mark.parametrize("name", TEACHERS)
def test_every_shipped_teacher_can_be_named(name: str) -> None:
    assert parse(teachers={"long": name, "short": "released-short"}).teachers["long"]


@pytest.mark.parametrize("name", STUDENTS)
def test_every_shipped_student_can_be_named(name: str) -> None:
    recipe = parse(students=[name])
    train = recipe.train.for_student(recipe.students[name].train)
    assert (train.lora is not None) == any(size in name for size in ("14b", "32b", "70b")), "section 2.5: adapters from 14B on"
    assert train.offload_optimizer == any(size in name for size in ("7b", "8b"))


def test_students_by_name_with_changes() -> None:
    students = {
        "qwen2.5-7b-instruct": {"train": {"epochs": 1}},
        "qwen2.5-3b-instruct": None,
        "again": "qwen2.5-7b-instruct",
        "adapted": {"preset": "qwen2.5-3b-instruct", "train": {"lora": {"rank": 8}}},
        "own": {"model": "tiny:student-s"},
    }
    recipe = parse(students=students)
    assert {name: student.model for name, student in recipe.students.items()} == {
        "qwen2.5-7b-instruct": "Qwen/Qwen2.5-7B-Instruct", "qwen2.5-3b-instruct": "Qwen/Qwen2.5-3B-Instruct",
        "again": "Qwen/Qwen2.5-7B-Instruct", "adapted": "Qwen/Qwen2.5-3B-Instruct", "own": "tiny:student-s",
    }  # fmt: skip
    assert recipe.students["qwen2.5-7b-instruct"].train == {"offload_optimizer": True, "epochs": 1}


def test_an_override_changes_one_value_of_what_a_name_stands_for() -> None:
    recipe = parse(
        "teachers.long.max_tokens=8192", "students.qwen2.5-7b-instruct.train.epochs=1", "evaluate.benchmarks.math.num_problems=5",
        "evaluate.judge.teacher.num_gpus=2", "train.labels.zone=a", "teachers.short.labels.zone=b",
    )  # fmt: skip
    long, judge = recipe.teachers["long"], recipe.evaluate.judge
    assert isinstance(long, Teacher)
    assert (long.model, long.max_tokens) == ("Qwen/QwQ-32B-Preview", 8192)
    assert recipe.students["qwen2.5-7b-instruct"].train == {"offload_optimizer": True, "epochs": 1}
    assert "qwen2.5-0.5b-instruct" in recipe.students
    assert (recipe.evaluate.benchmarks["math"].num_problems, len(recipe.evaluate.benchmarks)) == (5, 5)
    assert judge is not None
    assert isinstance(judge.teacher, Teacher)
    assert (judge.teacher.num_gpus, judge.teacher.max_tokens, judge.asked) == (2, 20, "not_right")
    assert recipe.train.labels == {"mixray/role": "student", "zone": "a"}
    assert recipe.teachers["short"].labels == {"mixray/role": "teacher", "zone": "b"}  # type: ignore[union-attr]


def test_the_preset_itself_can_be_overridden_in_any_order() -> None:
    small = ("students=[{}]".format("qwen2.5-0.5b-instruct"), "serve.port=7", "evaluate.benchmarks.tiny.num_problems=3", "preset=lab")
    recipe = parse(*small)
    assert (recipe.serve.port, recipe.serve.max_model_len, recipe.train.epochs) == (7, 1024, 3)
    assert recipe.evaluate.benchmarks["tiny"].num_problems == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"preset": "papers"}, ["`preset`", '"papers"', "'paper' or 'lab'"]),
        ({"teachers": {"long": "qwq-32b", "short": "released-short"}}, ["`teachers.long`", '"qwq-32b"', "did you mean 'qwq-32b-preview'?"]),
        (
            {"teachers": {"long": {"preset": "released-lnog"}, "short": "released-short"}},
            ["`teachers.long`", "did you mean 'released-long'?"],
        ),
        ({"students": ["qwen2.5-0.5-instruct"]}, ["`students`", "'qwen2.5-0.5-instruct'", "did you mean 'qwen2.5-0.5b-instruct'?"]),
        ({"students": {"mine": {"train": {}}}}, ["`students`", "no shipped student is called 'mine'"]),
        ({"students": {"qwen2.5-3b-instruct": {"trian": {}}}}, ["`students.qwen2.5-3b-instruct.trian`", "did you mean 'train'?"]),
        ({"teachers": {"long": {"preset": "qwq-32b-preview", "max_token": 1}, "short": "released-short"}}, ["did you mean 'max_tokens'?"]),
    ],
)
def test_what_is_named_wrongly_is_told_with_what_there_is(changes: dict[str, Any], told: list[str]) -> None:
    message = refused(**changes)
    assert [part for part in told if part not in message] == [], message


@pytest.mark.parametrize("override", ["students.nobody.train.epochs=1", "teachers.long.model.x=1", "preset.x=1"])
def test_an_override_of_what_is_not_there_is_refused(override: str) -> None:
    assert refused(override)


def test_the_schema_knows_names_and_refuses_others() -> None:
    schema = Recipe.model_json_schema()
    jsonschema.validate(PAPER, schema)
    for wrong in ({"preset": "papers"}, {"students": ["nobody"]}, {"teachers": {"long": "nobody"}}, {"trian": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(PAPER | wrong, schema)


def test_presets_are_plain_data_that_nobody_changes() -> None:
    before = copy.deepcopy({name: dict(blocks) for name, blocks in PRESETS.items()})
    parse("train.labels.zone=a", "evaluate.judge.teacher.max_tokens=7", "problems.num_problems=3")
    assert {name: dict(blocks) for name, blocks in PRESETS.items()} == before


def test_the_command_lists_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("recipes") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in shipped_recipes())
    assert "The whole method on the shipped micro-models" in told


def test_a_missing_recipe_leads_to_the_list() -> None:
    with pytest.raises(RecipeError, match="mixray recipes"):
        load_recipe("no-such-recipe")
