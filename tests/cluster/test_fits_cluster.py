"""`mixray plan --cluster FILE`: which nodes a run takes, what they cost, and why a run that cannot fit cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import called

from mixray import pipeline
from mixray.clusters import Cluster, NodeType, fitted, read_cluster, stages_to_come
from mixray.clusters.stages import DRIVER, Demand, StageNeeds
from mixray.errors import ClusterError
from mixray.graph import build_graph
from mixray.recipe_file import load_recipe
from mixray.store import Artefact, Store

FOLDER = Path(__file__).parents[2] / "cluster"
ON_GPUS = [
    "teachers.long.num_gpus=4", "teachers.long.replicas=[1,8]", "teachers.long.labels.mixray/role=teacher",
    "train.use_gpu=true", "train.workers=[2,8]", "train.labels.mixray/role=student", "train.accelerator_type=L4",
    "serve.num_gpus=0.5", "serve.labels.mixray/role=student",
]  # fmt: skip
HEAD = NodeType("head", {"CPU": 0, "GPU": 0}, {}, 0, 0, 0.1)
CPU = NodeType("cpu", {"CPU": 4, "GPU": 0}, {}, 3, 0, 1.0)
SPOT = NodeType("spot", {"CPU": 8, "GPU": 2}, {"role": "gpu"}, 2, 10, 3.0)
LISTED = NodeType("listed", {"CPU": 8, "GPU": 2}, {"role": "gpu"}, 2, 0, 10.0)
CLUSTER = Cluster("made-up", HEAD, (CPU, SPOT, LISTED), 6)


def asks(gpus: float, fewest: int, most: int, **labels: str) -> Demand:
    return Demand("places", (("CPU", 1.0), ("GPU", gpus)), tuple(labels.items()), fewest, most, "train")


def taken(*demands: Demand, cluster: Cluster = CLUSTER) -> Any:
    return fitted(StageNeeds("stage", demands), cluster)


def test_what_needs_no_gpu_keeps_off_gpu_nodes() -> None:
    assert taken(asks(0, 5, 5)).nodes == {"cpu": 2}
    assert taken(asks(0, 13, 13)).problems
    assert taken(asks(0, 2, 2, role="gpu")).nodes == {"spot": 1}


def test_a_place_is_on_one_node_and_spot_comes_first() -> None:
    assert taken(asks(1, 3, 3)).nodes == {"spot": 2}
    assert taken(asks(1, 5, 5)).nodes == {"spot": 2, "listed": 1}


def test_the_price_runs_from_the_first_choice_to_the_dearest() -> None:
    stage = taken(asks(1, 3, 3))
    assert (stage.per_hour, stage.most_per_hour) == (pytest.approx(6.1), pytest.approx(20.1))
    assert taken(asks(0, 1, 1), cluster=Cluster("c", HEAD, (NodeType("cpu", {"CPU": 1, "GPU": 0}, {}, 1),), 1)).per_hour is None


def test_more_than_there_is_is_a_note_and_less_than_is_needed_is_a_problem() -> None:
    stage = taken(asks(2, 1, 9))
    assert (stage.nodes, stage.problems, stage.notes) == ({"spot": 2, "listed": 2}, (), ("places: room for 4 of 9",))
    (problem,) = taken(asks(2, 5, 9)).problems
    assert "finds room for 4 on spot (at most 2), listed (at most 2), with at most 6 nodes in all: raise max_workers, or lower" in problem


def test_what_fits_no_node_is_told_node_by_node() -> None:
    (problem,) = taken(asks(4, 1, 1, role="gpu")).problems
    assert problem.startswith("places: 1 x (1 CPU + 4 GPU, role=gpu) fits no node type: cpu has 0 GPU, role=none; spot has 2 GPU;")
    assert "change train" in problem


def test_what_must_be_there_is_placed_before_what_may() -> None:
    both = taken(asks(2, 1, 4), asks(2, 2, 2, role="gpu"))
    assert not both.problems


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "kuberay/raycluster.yaml", "kuberay/rayjob.yaml"])
def test_a_recipe_on_gpus_fits_the_shipped_clusters(name: str, tmp_path: Path) -> None:
    recipe = load_recipe("tiny", ON_GPUS)
    cluster = read_cluster(FOLDER / name)
    stages = {stage.stage: fitted(stage, cluster) for stage in stages_to_come(recipe, build_graph(recipe, Store(str(tmp_path))))}
    assert not [problem for stage in stages.values() for problem in stage.problems]
    assert stages["teacher long"].nodes == {"worker": 1, "teacher-spot": 4, "teacher": 2}
    assert stages["teacher long"].notes == ("replicas: room for 6 of 8",)
    assert stages["teacher short"].nodes == {"worker": 1}
    assert stages["train"].nodes == {"worker": 1, "student-spot": 2}
    assert stages["ask students"].nodes == {"worker": 1, "student-spot": 1}


def test_what_is_done_asks_for_nothing(tmp_path: Path) -> None:
    recipe = load_recipe("tiny", ON_GPUS)
    graph = build_graph(recipe, Store(str(tmp_path)))
    for artefact in (graph.problems, graph.asked["long"]):
        with artefact.staging() as staging:
            staging.outcome = {}
    assert [stage.stage for stage in stages_to_come(recipe, graph)] == ["teacher short", "mixtures", "train", "ask students"]


def test_judges_fits_and_shifts_have_their_places(tmp_path: Path) -> None:
    more = ["judge={teacher: {model: 'tiny:long', num_gpus: 1}}", "shifts={num_gpus: 1}", "mixtures.mix.pick=fitting"]
    recipe = load_recipe("tiny", [*more, "evaluate.through=engine", "evaluate.judge={teacher: {model: 'tiny:long'}}"])
    stages = {stage.stage: stage.demands for stage in stages_to_come(recipe, build_graph(recipe, Store(str(tmp_path))))}
    assert {"judge of long", "judge of short", "judge of students", "shifts"} <= stages.keys()
    assert "the student reads pools" in [demand.what for demand in stages["mixtures"]]
    assert "engines" in [demand.what for demand in stages["ask students"]]


def test_the_command_tells_nodes_and_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "tiny", "--storage", str(tmp_path), "--cluster", str(FOLDER / "aws.yaml")]
    overrides = [word for override in ON_GPUS for word in ("--set", override)]
    assert called(*command, *overrides) == 0
    told = capsys.readouterr().out
    assert "1 to 8 x (1 CPU + 4 GPU, mixray/role=teacher)" in told
    assert "It fits." in told
    assert "check yours" in told
    assert called(*command, *overrides, "--json") == 0
    cluster = json.loads(capsys.readouterr().out)["cluster"]
    assert cluster["fits"]
    assert cluster["currency"] == "USD"
    assert cluster["stages"][0]["asks"][1]["bundle"] == {"CPU": 1.0, "GPU": 4.0}


def test_a_recipe_that_cannot_fit_ends_with_1_and_says_what_to_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "tiny", "--storage", str(tmp_path), "--cluster", str(FOLDER / "aws.yaml"), "--set", "teachers.long.num_gpus=8"]
    assert called(*command) == 1
    told = capsys.readouterr().err
    assert "fits no node type: worker has 0 GPU; teacher-spot has 4 GPU" in told
    assert "change teachers.long" in told
    assert called(*command, "--json") == 1
    assert not json.loads(capsys.readouterr().out)["cluster"]["fits"]


def test_a_run_of_which_the_report_alone_is_missing_needs_the_drivers_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def commit(artefact: Artefact) -> None:
        with artefact.staging() as staging:
            staging.outcome = {"num_problems": 1}

    recipe, store = load_recipe("tiny"), Store(str(tmp_path))
    graph = build_graph(recipe, store)
    for _, artefact in graph.artefacts():
        commit(artefact)
    assert [(stage.stage, stage.demands) for stage in stages_to_come(recipe, graph, is_reported=False)] == [("report", (DRIVER,))]
    command = ["plan", "tiny", "--storage", str(tmp_path), "--cluster", str(FOLDER / "aws.yaml")]
    assert called(*command, "--json") == 0
    assert [stage["nodes"] for stage in json.loads(capsys.readouterr().out)["cluster"]["stages"]] == [{"worker": 1}]
    commit(pipeline.report_of(recipe, graph, store))
    assert called(*command) == 0
    assert "asks mixray for no node" in capsys.readouterr().out


def test_a_head_with_cpus_is_a_node_like_others() -> None:
    alone = Cluster("alone", NodeType("head", {"CPU": 4, "GPU": 1}, {}, 0, 0, 2.0), (), 0)
    stage = taken(asks(1, 1, 1), asks(0, 2, 2), cluster=alone)
    assert (stage.problems, stage.nodes, stage.per_hour) == ((), {}, 2.0)
    (problem,) = taken(asks(1, 2, 2), cluster=alone).problems
    assert "finds room for 1 on head (at most 1), with at most 0 nodes in all beside the head" in problem
    (problem,) = taken(asks(2, 1, 1), cluster=alone).problems
    assert "fits no node type: head has 1 GPU" in problem
    both = Cluster("both", alone.head, (CPU,), 1)
    assert taken(asks(0, 4, 4), cluster=both).nodes == {"cpu": 1}, "what needs no GPU keeps off the head that has one"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("a: [", "cannot be read"),
        ("just: this", "describes no cluster"),
        ("available_node_types: {head: {resources: {}}}\nhead_node_type: head", "do not say how many CPUs"),
        ("kind: RayCluster\nmetadata: {name: x}", "incomplete"),
    ],
)
def test_a_file_that_is_no_cluster_is_told(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ClusterError, match=told):
        read_cluster(path)


def test_a_launcher_file_without_prices_is_read(tmp_path: Path) -> None:
    config = yaml.safe_load((FOLDER / "aws.yaml").read_text())
    del config["metadata"]
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    cluster = read_cluster(path)
    assert (cluster.head.per_hour, cluster.prices) == (None, "no prices")


def test_arms_trained_side_by_side_take_nodes_for_as_many_as_there_are(tmp_path: Path) -> None:
    def demanded(*overrides: str) -> tuple[int, int]:
        recipe = load_recipe("tiny", ["train.workers=[2,3]", *overrides])
        stages = stages_to_come(recipe, build_graph(recipe, Store(str(tmp_path))))
        (workers,) = [each for stage in stages if stage.stage == "train" for each in stage.demands if each.what == "workers"]
        return workers.fewest, workers.most

    assert demanded() == (2, 3)
    assert demanded("train.arms_at_once=2") == (2, 6)
    assert demanded("train.arms_at_once=9") == (2, 9), "there are three arms"


def test_arms_of_other_settings_are_trained_beside_and_counted(tmp_path: Path) -> None:
    """mix-0.2 departs, with larger workers; the others go beside it while there is room, and wait where there is none."""

    def told(*overrides: str) -> dict[str, list[tuple[str, float, int, int]]]:
        recipe = load_recipe("tiny", ["train.workers=[2,3]", "train.departures={mix-0.2: {epochs: 1}}", *overrides])
        stages = stages_to_come(recipe, build_graph(recipe, Store(str(tmp_path))))
        return {
            stage.stage: [(each.what, dict(each.bundle)["CPU"], each.fewest, each.most) for each in stage.demands if each.what != "driver"]
            for stage in stages
            if stage.stage.startswith("train")
        }

    size = told()["train"][0][1]
    own, beside = "workers", "workers of other arms"
    assert told() == {"train": [(own, size, 2, 3)], "train mix-0.2": [(own, size, 2, 3)]}
    assert told("train.arms_at_once=2") == {"train": [(own, size, 2, 6)], "train mix-0.2": [(own, size, 2, 3), (beside, size, 0, 3)]}
    assert told("train.arms_at_once=9") == {
        "train": [(own, size, 2, 6), (beside, size, 0, 3)],
        "train mix-0.2": [(own, size, 2, 3), (beside, size, 0, 6)],
    }
