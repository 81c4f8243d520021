"""Workers killed at every kind of moment: the curve and the weights are those of the calm run, bit for bit. Real Ray Train, real kills."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray.cloudpickle
import test_train

from mixray import training
from mixray.errors import TrainingError
from mixray.progress import Display, StageProgress
from mixray.store import Artefact, Store
from mixray.training import fit
from mixray.training.job import Job

pytestmark = pytest.mark.e2e
# Two epochs of ten steps each, a checkpoint after every second step: the epoch ends with one.
SETTINGS = test_train.SETTINGS.model_copy(update={"epochs": 2, "checkpoint_every_steps": 2, "max_failures": 20})
EPOCH = 10
MOMENTS = {
    "before the first step": ("step", 0),
    "between two checkpoints, within a step": ("within", 5),
    "between saving and reporting": ("keep", 8),
    "at the boundary of the epoch": ("step", EPOCH),
    "in the first step of the next epoch": ("within", EPOCH),
    "with the finished student at hand": ("keep", 2 * EPOCH),
}
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
SOME = {name: MOMENTS[name] for name in MOMENTS if "within" in name or "saving" in name or "finished" in name}
"""A restart takes half a minute: the others, and a worker alone, are for `make soak`."""
some_and_all_moments = pytest.mark.parametrize(
    ("calm", "moments"),
    [
        pytest.param(2, SOME, id="2-workers"),
        pytest.param(2, MOMENTS, id="2-workers, all", marks=pytest.mark.soak),
        pytest.param(1, MOMENTS, id="1-worker, all", marks=pytest.mark.soak),
    ],
    indirect=["calm"],
)
two_workers = pytest.mark.parametrize("calm", [2], indirect=True, ids=["2-workers"])  # test_zero has other numbers without Ray


def doomed(marks: Path, last_rank: int, moments: dict[str, tuple[str, int]], seconds_per_step: float = 0) -> Any:
    """Return a worker's function in which the last worker kills itself once at each moment."""

    def kill(where: str, step: int) -> None:
        import ray.train

        if (where, step) not in moments.values() or ray.train.get_context().get_world_rank() != last_rank:
            return
        try:
            (marks / f"{where}-{step}").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def run(config: dict[str, Any]) -> None:
        from mixray.training import loop, worker
        from mixray.training.engine import Engine

        step, keep, take = loop._step, worker.RayHost.keep, Engine.step

        def doomed_step(work: Any, host: Any, engine: Any, planned: Any, number: int, *rest: Any) -> Any:
            kill("step", number)
            time.sleep(seconds_per_step)
            engine.number = number
            return step(work, host, engine, planned, number, *rest)

        def doomed_take(engine: Any, rate: float) -> float:
            kill("within", engine.number)
            return take(engine, rate)

        def doomed_keep(host: Any, folder: Path | None, state: Any) -> None:
            kill("keep", state.step)
            keep(host, folder, state)

        loop._step, worker.RayHost.keep, Engine.step = doomed_step, doomed_keep, doomed_take  # type: ignore[assignment, method-assign]
        worker.run(config["job"])

    return run


def settings(num_workers: int) -> Any:
    return SETTINGS.model_copy(update={"workers": (num_workers, num_workers)})


@pytest.fixture(scope="module")
def calm(
    ray_cluster: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, random_student: str
) -> tuple[int, Artefact]:
    store = Store(str(tmp_path_factory.mktemp("calm")))
    mixture = test_train.make_mixture(store)
    line = Display(quiet=True).stage("train")
    return request.param, training.run(store, "arm", mixture, random_student, settings(request.param), 0, line)


@some_and_all_moments
def test_killed_at_any_moment(
    calm: tuple[int, Artefact],
    moments: dict[str, tuple[str, int]],
    store: Store,
    random_student: str,
    quiet: StageProgress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    num_workers, undisturbed = calm
    monkeypatch.setattr(fit, "train_worker", doomed(tmp_path, num_workers - 1, moments))
    student = training.run(store, "arm", test_train.make_mixture(store), random_student, settings(num_workers), 0, quiet)
    assert sorted(path.name for path in tmp_path.glob("*-*")) == sorted(f"{where}-{step}" for where, step in moments.values())
    what_happened = [
        [
            {key: record[key] for key in ("step", "loss", "grad_norm", "learning_rate", "num_tokens")}
            for record in test_train.records_of(arm)
        ]
        for arm in (student, undisturbed)
    ]
    assert what_happened[0] == what_happened[1]
    weights = [Path(arm.path, "model.safetensors").read_bytes() for arm in (student, undisturbed)]
    assert weights[0] == weights[1]


@two_workers
def test_a_training_that_fails_too_often_says_so_and_the_same_command_goes_on(
    calm: tuple[int, Artefact], store: Store, random_student: str, quiet: StageProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_workers, undisturbed = calm
    impatient = settings(num_workers).model_copy(update={"max_failures": 0})
    mixture = test_train.make_mixture(store)
    with monkeypatch.context() as patched:
        patched.setattr(fit, "train_worker", doomed(tmp_path, 0, {"": ("within", 13)}, seconds_per_step=0.5))
        with pytest.raises(TrainingError, match=r"A training failed.*run the same command"):
            training.run(store, "arm", mixture, random_student, impatient, 0, quiet)
    other_size = impatient.model_copy(update={"workers": (3 - num_workers, 3 - num_workers)})
    student = training.run(store, "arm", mixture, random_student, other_size, 0, quiet)
    curves = [test_train.curve_of(arm) for arm in (student, undisturbed)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)
    # What the first run took and stored is not taken again: in the calm run's number of workers it is the same to the bit.
    assert curves[0][:2] == curves[1][:2]


def test_a_loss_that_is_no_number_is_told_with_the_rows_of_the_step(
    ray_cluster: None, store: Store, random_student: str, quiet: StageProgress
) -> None:
    wild = settings(1).model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30, "epochs": 1})
    with pytest.raises(TrainingError, match=r"no longer a number.*on the problems \d+.*train\.learning_rate") as caught:
        training.run(store, "arm", test_train.make_mixture(store), random_student, wild, 0, quiet)
    assert json.dumps(str(caught.value))


@two_workers
def test_a_checkpoint_short_of_its_plan_is_no_success(calm: tuple[int, Artefact]) -> None:
    from mixray.training.plan import read_plan
    from mixray.training.state import State

    _, student = calm
    plan = read_plan(student.store.open("plans", student.store.folders("plans")[0]))
    rows, tokens = plan.seen(len(plan))
    State(len(plan), rows, tokens).check(plan, at_end=True)
    for wrong in (State(len(plan), rows - 1, tokens), State(len(plan) - 1, *plan.seen(len(plan) - 1)), State(len(plan), rows, 0)):
        with pytest.raises(TrainingError, match="not where its plan says"):
            wrong.check(plan, at_end=True)


@two_workers
def test_checkpoints_hold_a_job(calm: tuple[int, Artefact]) -> None:
    """What workers are sent can be pickled, and names no rows."""
    _, student = calm
    job = Job(student.store.url, student.label, "arm", "t", "p", student.work_path, "m", "s", SETTINGS, 0)
    assert len(ray.cloudpickle.dumps(job)) < 10_000
