"""Trainings on clusters of several nodes that come late, grow, are lost or are told to go. Real nodes, real kills, real drains."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_train
from cluster_driver import BULK
from clusters import LABELS, Driver, Nodes
from growing import growing, kind

from mixray import training
from mixray.errors import ClusterError
from mixray.progress import Display, StageProgress
from mixray.recipe import Train
from mixray.store import Artefact, Store

pytestmark = pytest.mark.e2e
# Four epochs of ten steps.
SETTINGS = test_train.SETTINGS.model_copy(update={"epochs": 4, "checkpoint_every_steps": 5, "checkpoint_every_minutes": None})
NUM_STEPS = 40


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    folder = tempfile.mkdtemp(prefix="mr", dir="/tmp")  # short: sockets lie there
    nodes = Nodes(folder)
    yield nodes
    nodes.cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


Start = Callable[..., Driver]


@pytest.fixture
def start_on(calm: Artefact, tmp_path: Path, random_student: str) -> Iterator[Callable[[str, dict[str, str]], Start]]:
    drivers: list[Driver] = []
    # The tokens are the same for all.
    shutil.copytree(calm.store.root, tmp_path / "store", ignore=shutil.ignore_patterns("students", ".work"))

    def start_on(address: str, environment: dict[str, str]) -> Start:
        def start(train: Train, **order: Any) -> Driver:
            placed = train.model_copy(update={"labels": LABELS})  # no part of the hash: `calm` is the same student
            drivers.append(Driver(tmp_path, address, environment, train=placed, student=random_student, **order))
            return drivers[-1]

        return start

    yield start_on
    for driver in drivers:
        driver.process.kill()
        driver.process.wait()


@pytest.fixture(scope="module")
def calm(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, random_student: str) -> Artefact:
    """A training nobody disturbed."""
    store = Store(str(tmp_path_factory.mktemp("calm")))
    line = Display(quiet=True).stage("train")
    return training.run(store, "arm", test_train.make_mixture(store), random_student, SETTINGS, 0, line)


@pytest.fixture
def start(nodes: Nodes, start_on: Callable[[str, dict[str, str]], Start]) -> Start:
    return start_on(nodes.cluster.address, nodes.environment)


def with_workers(fewest: int, most: int, **changes: Any) -> Train:
    return SETTINGS.model_copy(update={"workers": (fewest, most), **changes})


def same_curve(student: Artefact, calm: Artefact) -> None:
    records = test_train.records_of(student)
    assert [record["step"] for record in records] == list(range(1, NUM_STEPS + 1))
    assert test_train.curve_of(student) == pytest.approx(test_train.curve_of(calm), rel=1e-6)


def test_a_private_cluster_that_cannot_hold_the_workers_says_so_at_once(
    ray_cluster: None, store: Store, random_student: str, quiet: StageProgress
) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"nodes with \d+ CPU: room for \d+; rule: 1000 workers of 1 CPU each; do: lower train\.workers"):
        training.run(store, "arm", test_train.make_mixture(store), random_student, with_workers(1000, 1000), 0, quiet)
    assert time.monotonic() - began < 60, "an autoscaling cluster is given half an hour"


@pytest.mark.soak
def test_a_joined_cluster_that_stays_too_small_says_so_node_by_node(nodes: Nodes, start: Start) -> None:
    nodes.have(1)
    driver = start(with_workers(2, 2, node_wait_minutes=0.05))
    assert driver.end() == 1
    assert "train: 1/2  waiting for nodes" in driver.log()
    assert "ClusterError: The cluster cannot hold a training's workers" in driver.log()
    told = driver.log().rsplit("seen: ")[-1]
    assert told.startswith("nodes with 1 CPU: room for 1; rule: 2 workers of 1 CPU each, on nodes labelled mixray/role=student; do: lower")


@pytest.mark.soak
def test_nodes_that_come_late_are_waited_for(nodes: Nodes, start: Start) -> None:
    nodes.have(1)
    driver = start(with_workers(2, 2, epochs=1, checkpoint_every_steps=None))
    driver.wait(lambda: "train: 1/2  waiting for nodes" in driver.log())
    assert not driver.events()
    nodes.have(2)
    assert driver.end() == 0, driver.log()[-3000:]
    assert test_train.curve_of(driver.student()) == pytest.approx(test_train.GOLDEN_LOSS, rel=1e-5)


@pytest.mark.soak
def test_a_lost_node_costs_a_worker_and_its_return_brings_one_back(nodes: Nodes, start: Start, calm: Artefact) -> None:
    first, _ = nodes.have(2)
    driver = start(with_workers(1, 2), seconds_per_step=0.4, alone_until=20, resize_seconds=5)
    driver.wait(lambda: 13 in driver.steps(2) and driver.has_stored())
    nodes.lose(first)
    lost = time.time()
    driver.wait(lambda: driver.steps(1))
    alone = next(event for event in driver.events() if event["size"] == 1)
    print(f"alone at step {alone['step']} {alone['time'] - lost:.1f} s after the loss at {driver.steps(2)[-1]}")
    assert alone["step"] in (5, 10)
    nodes.have(2)
    back, before = time.time(), len(driver.steps(2))
    driver.wait(lambda: len(driver.steps(2)) > before)
    again = next(event for event in driver.events() if event["size"] == 2 and event["time"] > back)
    print(f"two again at step {again['step']} {again['time'] - back:.1f} s after the return, left at {driver.steps(1)[-1]}")
    assert again["step"] > alone["step"]
    assert driver.end() == 0, driver.log()[-3000:]
    same_curve(driver.student(), calm)


@pytest.mark.soak
def test_a_training_without_its_nodes_gives_up_after_the_wait(nodes: Nodes, start: Start) -> None:
    first, _ = nodes.have(2)
    driver = start(with_workers(2, 2, node_wait_minutes=0.1), seconds_per_step=0.4)
    driver.wait(lambda: 3 in driver.steps(2))
    nodes.lose(first)
    lost = time.monotonic()
    assert driver.end() == 1
    print(f"gave up {time.monotonic() - lost:.1f} s after the loss")
    assert "waiting for nodes" in driver.log()
    assert "room for 1; rule: 2 workers of 1 CPU each" in driver.log()


@pytest.mark.soak
def test_an_unfinished_upload_is_never_gone_on_from(nodes: Nodes, start: Start, calm: Artefact) -> None:
    nodes.have(1)
    driver = start(with_workers(1, 1), bulk_step=10)
    driver.wait(lambda: any(event["event"] == "killed" for event in driver.events()))
    killed = next(event for event in driver.events() if event["event"] == "killed")
    left = Path(killed["scratch"]) / "step-10" / BULK
    assert left.exists()
    driver.wait(lambda: any(event["pid"] != killed["pid"] for event in driver.events()))
    assert not left.exists()
    again = next(event for event in driver.events() if event["pid"] != killed["pid"])
    print(f"killed with {killed['step']} bytes stored, went on from step {again['step']} {again['time'] - killed['time']:.1f} s later")
    assert again["step"] == 5
    assert driver.end() == 0, driver.log()[-3000:]
    assert not left.parents[2].exists()
    assert not Path(driver.student().work_path).exists()
    same_curve(driver.student(), calm)


@pytest.mark.soak
def test_a_cluster_grows_for_a_training(calm: Artefact, tmp_path: Path, start_on: Callable[[str, dict[str, str]], Start]) -> None:
    """A fake provider's nodes, of which there are none at first; the autoscaler is Ray's own."""
    kinds = {"other": kind({"CPU": 1}, {"mixray/role": "teacher"}, 2), "worker": kind({"CPU": 1}, LABELS, 2)}
    with growing(tmp_path, kinds, most=2) as (address, environment):
        driver = start_on(address, environment)(with_workers(2, 2, epochs=1, checkpoint_every_steps=None))
        waited = driver.wait(lambda: "train: 0/2  waiting for nodes" in driver.log())
        grown = driver.wait(driver.events)
        print(f"waits after {waited:.1f} s, first step {grown:.1f} s later")
        assert driver.end() == 0, driver.log()[-3000:]
    assert test_train.curve_of(driver.student()) == pytest.approx(test_train.GOLDEN_LOSS, rel=1e-5)


@pytest.mark.soak
def test_a_preempted_node_leaves_a_checkpoint_and_is_no_failure(nodes: Nodes, start: Start, calm: Artefact) -> None:
    first, _ = nodes.have(2)
    never = {"checkpoint_every_steps": None, "max_failures": 0}
    driver = start(with_workers(1, 2, **never), seconds_per_step=0.8)
    driver.wait(lambda: 2 in driver.steps(2))
    seconds = 20
    told = time.time()
    nodes.drain(first, seconds)
    driver.wait(lambda: any(event["event"] == "keep" for event in driver.events()), seconds)
    kept = next(event for event in driver.events() if event["event"] == "keep")
    print(f"kept step {kept['step']} {kept['time'] - told:.1f} s after the notice")
    driver.wait(lambda: time.time() > told + seconds)
    nodes.lose(first)
    driver.wait(lambda: driver.steps(1))
    alone = next(event for event in driver.events() if event["size"] == 1)
    print(f"alone at step {alone['step']} {alone['time'] - told - seconds:.1f} s after the end, which was at {driver.steps(2)[-1]}")
    assert alone["step"] == kept["step"]
    assert driver.end() == 0, driver.log()[-3000:]
    same_curve(driver.student(), calm)
