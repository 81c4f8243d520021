"""A real engine under kills: the pool ends with every trace once, and nothing that was written is asked again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from asking import RULE

from mixray.progress import StageProgress
from mixray.recipe import Teacher
from mixray.rows import PROBLEM
from mixray.store import Artefact, Store
from mixray.teachers import handle, run
from mixray.teachers.parts import Parts

NUM_PROBLEMS = 400
START_SECONDS = 240.0
DRIVER = """
import sys
from test_teachers_e2e import generate
from mixray.session import ray_session
with ray_session():
    generate(sys.argv[1], sys.argv[2])
"""


def make_problems(store: Store) -> Artefact:
    artefact = store.artefact("problems", "sums", {"num_problems": NUM_PROBLEMS})
    if not artefact.is_done():
        rows = [
            {"problem_id": f"p{index:04d}", "question": f"{index} + 1 = ?", "answer": str(index + 1), "subject": "sums", "level": 1}
            for index in range(NUM_PROBLEMS)
        ]
        rows[7]["question"] = "1 + " * 400 + "1 = ?"  # longer than the model's 512 positions
        with artefact.staging() as staging:
            staging.write_table("part-00000.parquet", pa.Table.from_pylist(rows, schema=PROBLEM))
            staging.outcome = {"num_problems": NUM_PROBLEMS}
    return artefact


def make_teacher(model: str) -> Teacher:
    return Teacher(
        model=model, temperature=1.0, max_failed_share=1, max_tokens=80, block_rows=16, engine={"max_num_seqs": 32, "max_model_len": 512}
    )


def generate(url: str, model: str, progress: StageProgress | None = None) -> Artefact:
    from mixray.progress import Display

    store = Store(url)
    progress = progress or Display(quiet=True).stage("test")
    return run(store, "real", make_teacher(model), make_problems(store), 0, RULE, progress)


def parts_of(url: str, model: str) -> Path:
    store = Store(url)
    return Path(handle(store, "real", make_teacher(model), make_problems(store), 0, RULE).work_path, "parts")


def wait_for_parts(folder: Path, count: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(list(folder.glob("*.parquet"))) < count:
        assert time.monotonic() < deadline, f"fewer than {count} parts in {START_SECONDS} s"
        time.sleep(0.05)


def check_whole(pool: Artefact) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pool.read_table().to_pylist()
    assert [row["trace_id"] for row in rows] == [f"p{index:04d}/real/0" for index in range(NUM_PROBLEMS)]
    assert rows[7]["status"] == "error"
    assert "512" in str(rows[7]["error"])
    others = [row for index, row in enumerate(rows) if index != 7]
    assert all(row["finish_reason"] in ("stop", "length") for row in others)
    cut = [row for row in others if row["finish_reason"] == "length"]
    assert cut
    assert all((row["num_response_tokens"], row["verdict"], row["verdict_reason"]) == (80, "wrong", "truncated") for row in cut)
    # An untrained model's babble is cut off, and mostly something worse as well.
    assert {row["status"] for row in cut} <= {"truncated", "looping", "garbled"}
    assert pool.outcome["num_traces"] == NUM_PROBLEMS
    assert pool.outcome["statuses"]["error"] == 1
    return rows


def kill_teacher_actor(parts: Path, killed: list[int]) -> None:
    wait_for_parts(parts, 2)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # others come and go
            if "TeacherActor" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)
                return  # a process that the actor is about to start bears its name for a moment


@pytest.mark.e2e
@pytest.mark.soak  # test_chaos kills such actors whose teacher is scripted
@pytest.mark.usefixtures("ray_cluster")
def test_a_pool_outlives_its_teacher_actor(store: Store, quiet: StageProgress, random_student: str) -> None:
    killed: list[int] = []
    killer = threading.Thread(target=kill_teacher_actor, args=(parts_of(store.url, random_student), killed))
    killer.start()
    pool = generate(store.url, random_student, quiet)
    killer.join()
    assert len(killed) == 1
    check_whole(pool)


@pytest.mark.e2e
def test_a_pool_outlives_its_engines_own_process(store: Store, random_student: str) -> None:
    """As on GPUs, where vLLM's engine is a process beside the actor's."""
    parts = parts_of(store.url, random_student)
    with driving(store.url, random_student, VLLM_ENABLE_V1_MULTIPROCESSING="1") as driver:
        wait_for_parts(parts, 2)
        engines = [process for process in psutil.Process(driver.pid).children(recursive=True) if "EngineCore" in process.name()]
        assert len(engines) == 1
        engines[0].kill()
        assert driver.wait(2 * START_SECONDS) == 0
    check_whole(handle(store, "real", make_teacher(random_student), make_problems(store), 0, RULE))


@contextlib.contextmanager
def driving(url: str, model: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a driver of its own process and cluster for the block, and nothing of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="mx-", dir="/tmp") as ray_folder:
        environment = {**os.environ, "RAY_TMPDIR": ray_folder, "PYTHONPATH": str(Path(__file__).parent), **variables}
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, url, model], env=environment)
        yield driver
        driver.kill()
        driver.wait()
        gone_by = time.monotonic() + 60
        while any(ray_folder in " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])):
            assert time.monotonic() < gone_by, "Ray's processes outlive their driver"
            time.sleep(0.5)


@pytest.mark.e2e
@pytest.mark.soak  # test_pipeline kills the driver of whole runs
def test_a_pool_outlives_its_driver(store: Store, random_student: str, request: pytest.FixtureRequest, quiet: StageProgress) -> None:
    parts = parts_of(store.url, random_student)
    with driving(store.url, random_student):
        wait_for_parts(parts, 3)
    before = {row["trace_id"]: row for table in Parts(store, str(parts.parent), NUM_PROBLEMS).ordered(100) for row in table.to_pylist()}
    assert 0 < len(before) < NUM_PROBLEMS
    request.getfixturevalue("ray_cluster")
    pool = generate(store.url, random_student, quiet)
    rows = check_whole(pool)
    assert [row for row in rows if row["trace_id"] in before] == [before[key] for key in sorted(before)]
    assert pool.outcome["num_resumed"] >= len(before)
