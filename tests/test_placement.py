"""Where things run: what a recipe may say of it, what Ray is told, and that no hash knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixray.errors import RecipeError
from mixray.graph import build_graph
from mixray.placement import asked_for, matches, remote_options, selector
from mixray.recipe import Serve, Shifts, Teacher, Train
from mixray.recipe_file import load_recipe, parse_part
from mixray.serving.adapters import groups
from mixray.serving.app import bundles, student_config
from mixray.store import Store

ON_L4 = {"labels": {"mixray/role": "student"}, "accelerator_type": "L4"}
SELECTED = {"mixray/role": "student", "ray.io/accelerator-type": "L4"}


@pytest.fixture(autouse=True)
def on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixray.placement.is_private", lambda: False)


def test_a_machine_by_itself_runs_what_a_cluster_sends_to_nodes_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixray.placement.is_private", lambda: True)
    assert selector(Train(**ON_L4)) == {}
    assert asked_for(Train(**ON_L4)) == SELECTED, "as `mixray plan --cluster` tells it"
    assert remote_options(Teacher(model="m", **ON_L4)) == {}


def test_the_gpu_is_a_label_like_any_other() -> None:
    assert selector(Train(**ON_L4)) == SELECTED
    assert remote_options(Teacher(model="m", **ON_L4)) == {"label_selector": SELECTED}
    assert remote_options(Shifts()) == {}


@pytest.mark.parametrize(
    ("wanted", "labels", "met"),
    [
        ({}, {}, True),
        ({"role": "teacher"}, {"role": "teacher", "zone": "a"}, True),
        ({"role": "teacher"}, {"role": "student"}, False),
        ({"role": "teacher"}, {}, False),
        ({"role": "!teacher"}, {"role": "student"}, True),
        ({"role": "!teacher"}, {}, True),
        ({"role": "in(teacher, student)"}, {"role": "student"}, True),
        ({"role": "in(teacher,student)"}, {"role": "worker"}, False),
        ({"role": "!in(teacher, student)"}, {"role": "student"}, False),
        ({"role": "!in(teacher, student)"}, {"role": "worker"}, True),
    ],
)
def test_labels_are_matched_as_ray_does_it(wanted: dict[str, str], labels: dict[str, str], met: bool) -> None:
    assert matches(labels, wanted) == met


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"labels": {"a b": "x"}}, "no key of a label"),
        ({"labels": {"role": "one, other"}}, "does not select labels"),
        ({"labels": {"role": "in()"}}, "does not select labels"),
        ({"labels": {"ray.io/accelerator-type": "L4"}, "accelerator_type": "L4"}, "not both"),
    ],
)
def test_what_selects_nothing_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_part(Serve, given)


def test_what_the_recipe_takes_ray_takes() -> None:
    from ray._private.label_utils import validate_label_selector

    for value in ("teacher", "!teacher", "in(a, b)", "!in(a,b)", "A100-80G"):
        parse_part(Train, {"labels": {"mixray/role": value, "team/part": value}})
        assert validate_label_selector({"mixray/role": value, "team/part": value}) is None


def test_where_a_thing_runs_does_not_change_what_it_is(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    whole = ["judge={teacher: {model: 'tiny:long'}}", "shifts={}", "mixtures.mix.pick=fitting"]
    parts = ["teachers.long", "teachers.short", "judge.teacher", "train", "serve", "shifts"]
    placed = [f"{part}.{key}" for part in parts for key in ("labels.mixray/role=there", "accelerator_type=L4")]
    anywhere, there = (load_recipe("tiny", [*whole, *more]) for more in ([], placed))
    assert anywhere != there
    labels = [artefact.label for _, artefact in build_graph(anywhere, store).artefacts()]
    assert labels == [artefact.label for _, artefact in build_graph(there, store).artefacts()]


def test_every_bundle_of_a_student_goes_to_the_nodes_it_is_sent_to() -> None:
    serve = Serve(num_gpus=2, **ON_L4)
    assert bundles(serve) == [{"CPU": 0.5, "GPU": 1}] * 2
    (group,) = groups({"arm": "tiny:student-s"}, serve)
    options = student_config(group, serve, 1).deployment_config
    assert options["placement_group_bundle_label_selector"] == [SELECTED]
    (group,) = groups({"arm": "tiny:student-s"}, Serve())
    assert "placement_group_bundle_label_selector" not in student_config(group, Serve(), 1).deployment_config
