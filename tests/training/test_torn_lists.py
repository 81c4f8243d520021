"""Ray Train's list of checkpoints, torn by a kill or a full disk: the checkpoints themselves say which of them are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.train import CheckpointConfig
from ray.train.v2._internal.exceptions import CheckpointManagerInitializationError
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext

from mixray.store import Store
from mixray.training import attempts
from mixray.training.state import State, read_state, write_state

LISTED = (
    '{"ray_version": "2", "checkpoint_results": [], "latest_checkpoint_result": {"checkpoint_dir_name": "checkpoint_2", "metrics": {}}}'
)
TORN = {"empty": "", "half-written": LISTED[:90], "cut in a name": LISTED[:60], "of zeros": "\0" * 90}
torn = pytest.mark.parametrize("torn", TORN.values(), ids=TORN)


@pytest.fixture
def work(store: Store) -> Path:
    """The work folder of a student."""
    folder = Path(store.root, ".work", "students", "arm")
    folder.mkdir(parents=True)
    return folder


def checkpoint(folder: Path, step: int, finished: bool = False, name: str | None = None) -> Path:
    """Make a checkpoint as two workers and Ray Train leave it; of the finished student worker 0 alone has a part."""
    whole = folder / (name or f"checkpoint_{step}")
    for rank in range(1 if finished else 2):
        part = folder / "part"
        (part / "ds").mkdir(parents=True)
        (part / "ds" / f"weights-{rank}.pt").write_bytes(bytes(100 + rank))
        if rank == 0:
            write_state(part, State(step=step, world_size=2, finished=finished), [{"step": number + 1} for number in range(step)])
        attempts.sign(part, rank)
        for file in [file for file in part.rglob("*") if file.is_file()]:
            target = whole / file.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
        (part / "ds").rmdir()
        part.rmdir()
    return whole


def ray_begins_with(work: Path, name: str) -> CheckpointManager:
    return CheckpointManager(CheckpointConfig(num_to_keep=2), StorageContext(str(work), name))


@torn
def test_an_attempt_whose_list_is_torn_begins_with_the_newest_checkpoint_that_is_whole(
    store: Store, work: Path, torn: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = work / "train"
    checkpoint(own, 2)
    newest = checkpoint(own, 10, name="checkpoint_1")  # a clock may go back: steps do not
    (own / attempts.SNAPSHOT).write_text(torn)
    with pytest.raises(CheckpointManagerInitializationError):
        ray_begins_with(work, "train")
    assert attempts.last_checkpoint(store, str(work), "train") == str(newest)
    assert read_state(newest)[0].step == 10
    assert "is torn" in caplog.text
    assert (own / attempts.TORN).read_text() == torn
    assert ray_begins_with(work, "train").latest_checkpoint_result is None
    assert attempts.last_checkpoint(store, str(work), "train") == str(newest), "also where it was killed before it made a list"


def test_a_checkpoint_that_is_not_whole_is_never_begun_with(store: Store, work: Path) -> None:
    own = work / "train"
    whole = checkpoint(own, 2)
    (checkpoint(own, 3) / "ds" / "weights-1.pt").unlink()
    (checkpoint(own, 4) / "ds" / "weights-0.pt").write_bytes(bytes(99))
    (checkpoint(own, 5) / "part-000001.json").unlink()
    (checkpoint(own, 6) / "part-000000.json").write_text('{"ds/we')
    (checkpoint(own, 7) / "state.json").unlink()
    (checkpoint(own, 8) / "state.json").write_text('{"step": 8, "wor')
    (checkpoint(own, 9) / "training.jsonl").write_text('{"step": 1')
    (own / "checkpoint_11").mkdir()
    assert attempts.last_checkpoint(store, str(work), "train") == str(whole)
    (whole / "state.json").unlink()
    assert attempts.last_checkpoint(store, str(work), "train") is None


def test_a_finished_student_that_was_not_listed_is_found(store: Store, work: Path) -> None:
    checkpoint(work / "train", 10)
    finished = checkpoint(work / "train", 10, finished=True, name="checkpoint_11")
    assert attempts.last_checkpoint(store, str(work), "train") == str(finished)


def test_ray_train_itself_goes_on_with_a_list_that_can_be_read(store: Store, work: Path) -> None:
    own = work / "train"
    checkpoint(own, 2)
    checkpoint(own, 3)
    (own / attempts.SNAPSHOT).write_text(LISTED)
    assert attempts.last_checkpoint(store, str(work), "train") is None
    assert (own / attempts.SNAPSHOT).read_text() == LISTED


@torn
def test_the_steps_of_an_earlier_attempt_whose_list_is_torn_are_not_lost(store: Store, work: Path, torn: str) -> None:
    checkpoint(work / "train-000001", 2)
    (work / "train-000001" / attempts.SNAPSHOT).write_text(LISTED)
    newest = checkpoint(work / "train-000002", 5)
    (work / "train-000002" / attempts.SNAPSHOT).write_text(torn)
    assert attempts.last_checkpoint(store, str(work), "train-000003") == str(newest)
    assert not (work / "train-000001").exists()
    assert (work / "train-000002" / attempts.SNAPSHOT).read_text() == torn, "it may be alive, and writing it"


def test_an_earlier_attempt_without_a_whole_checkpoint_is_passed_over(store: Store, work: Path) -> None:
    checkpoint(work / "train-000001", 2)
    (work / "train-000001" / attempts.SNAPSHOT).write_text(LISTED)
    (checkpoint(work / "train-000002", 5) / "part-000001.json").unlink()
    (work / "train-000002" / attempts.SNAPSHOT).write_text("")
    assert attempts.last_checkpoint(store, str(work), "train-000003") == str(work / "train-000001" / "checkpoint_2")


def test_checkpoints_of_an_attempt_on_object_storage_are_found_without_a_list(object_store: Store, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 5)
    place = f"{object_store.root}/work/train-000001"
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        object_store.put(f"{place}/checkpoint_5/{file.relative_to(folder).as_posix()}", file.read_bytes())
    object_store.put(f"{place}/{attempts.SNAPSHOT}", b"")
    assert attempts.last_checkpoint(object_store, f"{object_store.root}/work", "train-000002") == f"{place}/checkpoint_5"
