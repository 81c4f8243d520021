"""The names a recipe stands for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mixray.errors import RecipeError
from mixray.graph import build_graph
from mixray.pipeline import told_of
from mixray.recipe import Recipe
from mixray.recipe_file import parse_recipe
from mixray.store import Store


def small(model: str, **parts: Any) -> Recipe:
    """Return a recipe of two pools and one blend."""
    data = {
        "name": "small",
        "problems": {"source": "tiny", "num_problems": 8},
        "teachers": {"long": {"model": model}, "short": {"model": model}},
        "mixtures": {"mix": {"hard": "long", "easy": "short", "alpha": [0, 0.2]}},
        "students": {"one": {"model": model}},
        "evaluate": {"benchmarks": {"tiny": {"source": "tiny", "split": "test", "num_problems": 8}}},
    }
    return parse_recipe(data | parts, [])


def test_students_that_count_tokens_differently_have_mixtures_of_their_own(store: Store, random_student: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(random_student, other)
    template = other / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    students = {"one": {"model": random_student}, "same": {"model": random_student}, "other": {"model": str(other)}}
    recipe = small(random_student, students=students)
    graph = build_graph(recipe, store)
    names = [f"{mixture} of {student}" for student in (random_student, str(other)) for mixture in ("short", "mix-0.2")]
    assert list(graph.mixtures) == names
    assert len({artefact.hash for artefact in graph.mixtures.values()}) == 4


def test_a_merge_is_an_arm_for_each_student_alpha_and_seed(store: Store, random_student: str) -> None:
    students = {name: {"model": random_student} for name in ("one", "two")}
    merges = {"soup": {"hard": "mix-0.2", "easy": "short", "alpha": [0.2, 0.5], "method": "dare"}}
    graph = build_graph(small(random_student, students=students, merges=merges, seeds=[0, 1]), store)
    merged = [arm for arm in graph.arms if arm.merged]
    wanted = [f"{student}-soup-{alpha}-s{seed}" for student in students for alpha in (0.2, 0.5) for seed in (0, 1)]
    assert [arm.name for arm in merged] == wanted
    trained = {arm.name: arm.trained for arm in graph.arms if arm.mix}
    for arm in merged:
        assert arm.trained is not None
        parents = {"hard": trained[f"{arm.student}-mix-0.2-s{arm.seed}"], "easy": trained[f"{arm.student}-short-s{arm.seed}"]}
        assert arm.trained.made_by["inputs"] == {role: parent.hash for role, parent in parents.items() if parent}
        assert arm.scores.made_by["inputs"]["student"] == arm.trained.hash
    stages = [stage for stage, _ in graph.artefacts()]
    assert (stages.count("train"), stages.count("merge"), stages.count("evaluate")) == (8, 8, 18)
    assert stages == sorted(stages, key=["problems", "generate", "judge", "overlaps", "mix", "train", "merge", "evaluate"].index)


def test_a_merge_changes_nothing_of_the_other_arms(store: Store, random_student: str) -> None:
    without = build_graph(small(random_student), store).arms
    with_merge = build_graph(small(random_student, merges={"soup": {"hard": "mix-0.2", "easy": "short"}}), store).arms
    assert with_merge[:-1] == without


def test_a_sweep_to_another_alpha_makes_one_mixture_and_its_arms_and_nothing_of_the_pools(store: Store, random_student: str) -> None:
    blend = {"hard": "long", "easy": "short", "alpha": [0, 0.2, 0.5]}
    before, swept = (
        [(stage, artefact.label) for stage, artefact in build_graph(small(random_student, **parts), store).artefacts()]
        for parts in ({}, {"mixtures": {"mix": blend}})
    )
    assert set(before) <= set(swept)
    assert sorted(stage for stage, _ in set(swept) - set(before)) == ["evaluate", "mix", "train"]


def test_shifts_are_measured_where_the_recipe_asks_and_change_no_other_name(store: Store, random_student: str) -> None:
    merges = {"soup": {"hard": "mix-0.2", "easy": "short", "alpha": 0.2}}
    without, asked, with_untouched = (
        build_graph(small(random_student, merges=merges, **parts), store)
        for parts in ({}, {"shifts": {"num_responses": 3}}, {"shifts": {"num_responses": 3, "untouched": True}})
    )
    assert [arm.shifts for arm in without.arms] == [None] * 4
    assert [arm.scores for arm in asked.arms] == [arm.scores for arm in without.arms]
    assert [stage for stage, _ in without.artefacts()] == [stage for stage, _ in asked.artefacts() if stage != "shifts"]
    names = ["one-short-s0", "one-mix-0.2-s0", "one-soup-0.2-s0"]
    assert [arm.shifts.name for arm in asked.arms if arm.shifts] == names, "arms that were trained or merged"
    assert [arm.shifts.name for arm in with_untouched.arms if arm.shifts] == ["one-untouched", *names]
    for arm in asked.arms:
        assert arm.shifts is None or arm.shifts.made_by["inputs"] == {"scores": arm.scores.hash}


def test_shifts_of_a_benchmark_that_is_not_asked_are_refused(random_student: str) -> None:
    with pytest.raises(RecipeError, match=r"shifts\.benchmarks: no benchmark is called 'tinny'; did you mean 'tiny'\?"):
        small(random_student, shifts={"benchmarks": ["tiny", "tinny"]})


def test_a_merge_of_an_arm_that_departs_is_marked_as_unmatched(store: Store, random_student: str) -> None:
    merges = {"soup": {"hard": "mix-0.2", "easy": "short"}}
    for departures, matched in (({}, True), ({"mix-0.2": {"epochs": 1}}, False)):
        graph = build_graph(small(random_student, merges=merges, train={"departures": departures}), store)
        assert [arm.merged.matched for arm in graph.arms if arm.merged] == [matched]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"merges": {"soup": {"hard": "mix-0.3", "easy": "short"}}}, r"merges\.soup\.hard; seen: mix-0\.3; .+ did you mean 'mix-0\.2'\?"),
        ({"merges": {"soup": {"hard": "mix-0.2", "easy": "untouched"}}}, r"A merge names no mixture: merges\.soup\.easy; seen: untouched"),
        ({"merges": {"mix": {"hard": "mix-0.2", "easy": "short", "alpha": 0.2}}}, "A merge has the name of a mixture"),
        ({"merges": {"mix": {"hard": "mix-0.2", "easy": "short", "alpha": 0.5}}}, "A merge has the name of a mixture"),
        (
            {"merges": {"a": {"hard": "mix-0.2", "easy": "short", "alpha": 0.2}},
             "mixtures": {"mix": {"hard": "long", "easy": "short", "alpha": [0, 0.2]}, "a-0.2": {"pools": {"long": 0.5, "short": 0.5}}}},
            "A merge has the name of a mixture or of another merge; seen: a-0.2",
        ),
        (
            {"students": {"one": {"model": "M"}, "one-a": {"model": "M"}},
             "mixtures": {"b": {"pools": {"long": 0.5, "short": 0.5}}, "a-b": {"pools": {"long": 0.5, "short": 0.5}}}},
            "Two arms come to the same name; seen: one-a-b-s0",
        ),
    ],
)  # fmt: skip
def test_names_of_merges_and_arms_are_told_apart(parts: dict[str, Any], told: str, store: Store, random_student: str) -> None:
    students = {name: {"model": random_student} for name in parts.get("students", {"one": {}})}
    with pytest.raises(RecipeError, match=told):
        build_graph(small(random_student, **(parts | {"students": students})), store)


@pytest.mark.parametrize(
    ("merge", "told"),
    [
        ({"hard": "short", "easy": "short"}, "hard and easy must be two mixtures"),
        ({"hard": "mix-0.2", "easy": "short", "alpha": 1.2}, "less than or equal to 1"),
        ({"hard": "mix-0.2", "easy": "short", "alpha": [0.2, 0.2]}, "alphas must differ"),
        ({"hard": "mix-0.2", "easy": "short", "density": 0.3}, "density belongs to ties and dare"),
        ({"hard": "mix-0.2", "easy": "short", "method": "ties", "density": 0}, "greater than 0"),
        ({"hard": "mix-0.2", "easy": "short", "method": "slerp"}, "'linear', 'ties' or 'dare'"),
        ({"hard": "mix-0.2", "easy": "short", "weight": 1}, "weight"),
    ],
)
def test_a_wrong_merge_is_told(merge: dict[str, Any], told: str, random_student: str) -> None:
    with pytest.raises(RecipeError, match=told):
        small(random_student, merges={"soup": merge})


def test_a_student_behind_an_endpoint_is_asked_and_never_taught(store: Store, random_student: str) -> None:
    far = {"model": "big", "endpoint": "https://example.org/v1", "key_env": "KEY"}
    merges = {"soup": {"hard": "mix-0.2", "easy": "short"}}
    alone = build_graph(small(random_student, merges=merges), store)
    graph = build_graph(small(random_student, merges=merges, students={"one": {"model": random_student}, "far": far}), store)
    assert graph.arms[:-1] == alone.arms
    assert graph.mixes == alone.mixes
    arm = graph.arms[-1]
    assert (arm.name, arm.model, arm.mix, arm.trained, arm.merged, arm.budgets) == ("far-untouched", "big", None, None, None, None)
    assert arm.endpoint is not None
    assert arm.scores.made_by["settings"]["student"] == {"endpoint": far["endpoint"], "model": "big", "request": {}}


@pytest.mark.parametrize(
    ("student", "told"),
    [
        ({"model": "big", "endpoint": "https://example.org/v1"}, "at least one that can be trained"),
        ({"model": "big", "key_env": "KEY"}, "give endpoint, too"),
        ({"model": "big", "endpoint": "example.org"}, "students.one.endpoint"),
        ({"model": "big", "endpoint": "https://example.org/v1", "request": {"stop": ["Q:"]}}, "stop strings cut reasoning"),
        ({"model": "big", "endpoint": "https://example.org/v1", "request": {"n": 2}}, "the evaluation's own"),
    ],
)
def test_a_student_that_cannot_be_is_told(student: dict[str, Any], told: str, random_student: str) -> None:
    with pytest.raises(RecipeError, match=told):
        small(random_student, students={"one": student})


def test_budgets_and_a_judge_leave_the_scores_that_were_asked_as_they_are(store: Store, random_student: str) -> None:
    asked = {"benchmarks": {"tiny": {"source": "tiny", "split": "test", "num_problems": 8}}}
    judge = {"teacher": {"model": "big", "endpoint": "https://example.org/v1"}}
    plain = build_graph(small(random_student), store).arms
    more = build_graph(small(random_student, evaluate={**asked, "budgets": [64], "judge": judge}), store)
    assert [arm.asked for arm in more.arms] == [arm.scores for arm in plain]
    for arm in more.arms:
        assert arm.scores.made_by["inputs"]["scores"] == arm.asked.hash
        assert arm.budgets is not None
        assert arm.budgets.made_by["inputs"] == {"scores": arm.asked.hash}
        assert (told_of(arm).scores, told_of(arm).budgets) == (arm.scores, arm.budgets)
        assert arm.scores.made_by["inputs"].get("student") == (arm.trained.hash if arm.trained else None)
    stages = [stage for stage, _ in more.artefacts()]
    assert stages[-9:] == ["evaluate"] * 3 + ["cut"] * 3 + ["opinions"] * 3
