"""Real training: Ray Train, DeepSpeed, gloo workers on CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray.cloudpickle
from transformers import AutoModelForCausalLM

from mixray import training
from mixray.errors import TrainingError
from mixray.progress import Display, StageProgress
from mixray.recipe import Train
from mixray.rows import EXAMPLE
from mixray.store import Artefact, Store
from mixray.tiny.problems import take
from mixray.tiny.styles import write
from mixray.training import attempts, fit, stage

pytestmark = pytest.mark.e2e
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
NUM_ROWS, CUT_TO = 60, 75
SETTINGS = Train(
    epochs=1, learning_rate=2e-3, batch_rows=6, max_tokens=256, packs_multiple=2, zero_stage=2, workers=(2, 2),
    dtype="float32", checkpoint_every_steps=4,
)  # fmt: skip
# Losses of the ten steps of SETTINGS, in full digits.
GOLDEN_LOSS = [
    6.2780351638793945,
    5.960916519165039,
    5.7440996170043945,
    5.604677677154541,
    5.438152313232422,
    5.307637691497803,
    5.191826820373535,
    5.124768257141113,
    5.093801498413086,
    5.023749351501465,
]


def make_mixture(store: Store) -> Artefact:
    rows = [
        {
            "messages": [{"role": "user", "content": problem.question}, {"role": "assistant", "content": write("short", problem)}],
            "problem_id": str(number), "trace_id": str(number), "pool": "short", "num_tokens": 0, "num_loss_tokens": 0,
        }
        for number, problem in enumerate(take("train", NUM_ROWS, (2, 3), 0))
    ]  # fmt: skip
    mixture = store.artefact("mixtures", "short", {})
    if not mixture.is_done():
        with mixture.staging() as staging:
            staging.write_table("part-00000.parquet", pa.Table.from_pylist(rows, schema=EXAMPLE))
            staging.outcome = {"order": "shuffled"}
    return mixture


def curve_of(student: Artefact) -> list[float]:
    return [record["loss"] for record in records_of(student)]


def records_of(student: Artefact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (student.local_folder() / "training.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def calm(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, random_student: str) -> Artefact:
    """A training nobody disturbed."""
    store = Store(str(tmp_path_factory.mktemp("calm")))
    return training.run(store, "arm", make_mixture(store), random_student, SETTINGS, 0, Display(quiet=True).stage("train"))


def test_a_student_is_a_plain_hugging_face_folder_with_the_golden_curve(calm: Artefact) -> None:
    assert curve_of(calm) == pytest.approx(GOLDEN_LOSS, rel=1e-5)
    model, report = AutoModelForCausalLM.from_pretrained(calm.local_folder(), output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.model_type == "qwen2"
    assert "trained by mixray" in (calm.local_folder() / "README.md").read_text()


def test_a_second_run_trains_nothing(calm: Artefact, random_student: str, quiet: StageProgress) -> None:
    written = os.stat(f"{calm.path}/model.safetensors").st_mtime_ns
    again = training.run(calm.store, "arm", make_mixture(calm.store), random_student, SETTINGS, 0, quiet)
    assert again == calm
    assert os.stat(f"{again.path}/model.safetensors").st_mtime_ns == written


DRIVER = """
import sys
from mixray import locks, training
locks.STALE_SECONDS = 2.0  # a killed run's lease, where there is one
from mixray.progress import Display
from mixray.session import ray_session
from mixray.store import Store
sys.path.insert(0, sys.argv[3])
import test_train
store = Store(sys.argv[1])
if len(sys.argv) > 4:  # so many seconds a step: time to be killed in
    import test_resume
    from mixray.training import fit
    fit.train_worker = test_resume.doomed(None, 0, {}, float(sys.argv[4]))
with ray_session(), Display(quiet=True) as display:
    training.run(store, "arm", test_train.make_mixture(store), sys.argv[2], test_train.SETTINGS, 0, display.stage("train"))
"""


@pytest.mark.soak  # test_pipeline kills the driver of whole runs, and test_resume compares what kills leave, bit for bit
@pytest.mark.parametrize("torn", [False, True], ids=["killed", "killed while Ray Train writes its list"])
def test_killed_driver_goes_on_from_the_checkpoint_bit_for_bit(
    torn: bool, calm: Artefact, store: Store, random_student: str, quiet: StageProgress, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRIVER, store.url, random_student, str(Path(__file__).parent)]
    log = (tmp_path / "log").open("w")
    with subprocess.Popen(command, stdout=log, stderr=log) as driver:
        student = training.handle(store, "arm", make_mixture(store), random_student, SETTINGS, 0)
        wait_for_checkpoint(Path(student.work_path), driver)
        driver.send_signal(signal.SIGKILL)
    assert not student.is_done()
    if torn:
        Path(student.work_path, "train", attempts.SNAPSHOT).write_text('{"ray_ver')
        assert attempts.last_checkpoint(store, student.work_path, "train") is not None
    began = time.time()
    training.run(store, "arm", make_mixture(store), random_student, SETTINGS, 0, quiet)
    assert not torn or records_of(student)[0]["time"] < began, "its first step was not taken again"
    assert curve_of(student) == curve_of(calm)
    weights = [Path(folder.path, "model.safetensors").read_bytes() for folder in (student, calm)]
    assert weights[0] == weights[1]
    assert not Path(student.work_path).exists()
    assert student.outcome["seconds"] >= sum(record["seconds"] for record in records_of(student)), "what was done before the kill counts"


def test_a_training_takes_at_least_what_its_steps_took() -> None:
    """The last run of one that was killed took less: most steps were there."""
    records: list[dict[str, Any]] = [{"loss": 2.0, "seconds": 30.0}, {"loss": 1.0, "seconds": 30.0}]
    assert [stage._outcome({}, records, "model", seconds)["seconds"] for seconds in (5.0, 65.5)] == [60.0, 65.5]


def wait_for_checkpoint(work: Path, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not list(work.glob("train/checkpoint_*/latest")):
        assert driver.poll() is None, "the driver ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_mixture_with_an_over_long_row_is_refused_in_one_message(
    ray_cluster: None, store: Store, random_student: str, quiet: StageProgress
) -> None:
    short = SETTINGS.model_copy(update={"max_tokens": 32})
    with pytest.raises(TrainingError, match=r"longer than a packed sequence.*at most 32") as caught:
        training.run(store, "arm", make_mixture(store), random_student, short, 0, quiet)
    assert json.dumps(str(caught.value))


def test_a_training_that_cuts_what_is_too_long_says_how_much_that_was(
    ray_cluster: None, store: Store, random_student: str, quiet: StageProgress
) -> None:
    cutting = SETTINGS.model_copy(update={"max_tokens": CUT_TO, "too_long": "cut", "batch_rows": 30})
    student = training.run(store, "arm", make_mixture(store), random_student, cutting, 0, quiet)
    tokens = store.open("tokens", store.folders("tokens")[0])
    lost = tokens.read_table()["num_cut_tokens"].to_numpy()
    assert 0 < (lost > 0).sum() < NUM_ROWS
    assert (student.outcome["num_cut_rows"], student.outcome["num_cut_tokens"]) == ((lost > 0).sum(), lost.sum())
    assert student.outcome["num_tokens"] == sum(record["num_tokens"] for record in records_of(student))
    assert f"of its 60 examples were cut at {CUT_TO} tokens" in (student.local_folder() / "README.md").read_text()


def test_a_student_whose_folder_could_not_be_written_is_not_trained_again(
    ray_cluster: None, random_student: str, quiet: StageProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("./runs")  # as `mixray run` has it by default: workers stand in another folder

    def refuse(*_: object) -> None:
        raise OSError("no room")

    few = SETTINGS.model_copy(update={"batch_rows": 30})
    with monkeypatch.context() as patched:
        patched.setattr(stage, "_lay_out", refuse)
        with pytest.raises(OSError, match="no room"):
            training.run(store, "arm", make_mixture(store), random_student, few, 0, quiet)
    monkeypatch.setattr(fit, "train_worker", without_steps)
    student = training.run(store, "arm", make_mixture(store), random_student, few, 0, quiet)
    assert len(curve_of(student)) == 2


def without_steps(config: dict[str, Any]) -> None:
    """A worker that may not take a step."""
    from mixray.training import loop, worker

    loop._step = None  # type: ignore[assignment]
    worker.run(config["job"])


def test_a_training_on_object_storage_is_the_training_on_a_disk_also_where_another_attempt_goes_on_with_it(
    calm: Artefact, s3_store: Store, random_student: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRIVER, s3_store.url, random_student, str(Path(__file__).parent)]
    log = tmp_path / "log"
    student = training.handle(s3_store, "arm", make_mixture(s3_store), random_student, SETTINGS, 0)
    with log.open("w") as file:
        with subprocess.Popen([*command, "1"], stdout=file, stderr=file) as driver:
            deadline = time.monotonic() + 300
            while attempts.last_checkpoint(s3_store, student.work_path, "") is None:
                assert driver.poll() is None, f"the driver ended before it was killed: {log.read_text()[-5000:]}"
                assert time.monotonic() < deadline, log.read_text()[-5000:]
                time.sleep(0.1)
            driver.send_signal(signal.SIGKILL)
        done = subprocess.run(command, stdout=file, stderr=file, timeout=600, check=False)
    assert done.returncode == 0, log.read_text()[-3000:]
    assert curve_of(student) == curve_of(calm)
    weights = [(folder.local_folder() / "model.safetensors").read_bytes() for folder in (student, calm)]
    assert weights[0] == weights[1]
