"""Where each attempt at a training keeps its checkpoints, and which one the next attempt goes on from.

Ray Train keeps a list of a run's checkpoints beside them, and removes those it no longer counts. Where an attempt can be taken over from
(see `mixray.locks`), the one before may still be alive, standing still, with a list of its own: so each has its own folder, named by its
number. An attempt begins with the last checkpoint of the newest one before it that has any; folders older than that are removed.

Ray Train writes its list in place: a kill, a power cut or a full disk can leave it torn. Then the checkpoints themselves say which of them
are whole. Nothing of Ray Train's does: workers upload their parts of a checkpoint at once and in no order, and what a killed upload left
stays. So each worker puts beside its part which files it has and how long they are.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path

from mixray.locks import Fence
from mixray.store import Store
from mixray.training.state import STATE, State

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list."""
TORN = f"{SNAPSHOT}.torn"
"""Where one goes that cannot be read."""
FOLDER = "train"
log = logging.getLogger("mixray.training")


def name(fence: Fence | None) -> str:
    """Return the name of an attempt's folder; where nobody can take over there is one for all, which Ray Train itself goes on with."""
    return FOLDER if fence is None else f"{FOLDER}-{fence.number:06d}"


def sign(folder: Path, rank: int) -> None:
    """Write down which files a worker's part of a checkpoint has and how long they are, once all are there."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    (folder / _part(rank)).write_text(json.dumps(sizes), encoding="utf-8")


def last_checkpoint(store: Store, work_path: str, own: str) -> str | None:
    """Return the path of the checkpoint an attempt begins with; None where there is none, or its own folder's list has them.

    A list of its own that is torn is moved aside: with it Ray Train would not begin.
    """
    store.fs.invalidate_cache()
    try:
        names = sorted(path.rstrip("/").rpartition("/")[2] for path in store.fs.ls(work_path, detail=False))
    except FileNotFoundError:  # an object store has no empty folders
        return None
    if own in names:
        listed, found = _last(store, f"{work_path}/{own}", is_own=True)
        if found is not None:
            return None if listed else found
    others = [other for other in names if other != own and other.partition("-")[0] == FOLDER]
    for index, other in reversed(list(enumerate(others))):
        _, found = _last(store, f"{work_path}/{other}")
        if found is not None:
            for older in others[:index]:
                store.fs.rm(f"{work_path}/{older}", recursive=True)
            return found
    return None


def _last(store: Store, folder: str, is_own: bool = False) -> tuple[bool, str | None]:
    """Return whether a folder's list names its last checkpoint, and the checkpoint: without a list the newest that is whole."""
    try:
        listed = _listed_last(store, folder)
    except ValueError:
        listed = None
        log.warning("Ray Train's list in %s is torn, as by a kill or a full disk: the newest checkpoint that is whole counts", folder)
        if is_own:
            store.fs.mv(f"{folder}/{SNAPSHOT}", f"{folder}/{TORN}")
    return listed is not None, listed or _newest_whole(store, folder)


def _listed_last(store: Store, folder: str) -> str | None:
    """Return the last checkpoint of a folder's list; None where there is no list yet.

    Raises:
        ValueError: the list is torn.
    """
    try:
        listed = json.loads(store.fs.cat_file(f"{folder}/{SNAPSHOT}"))["latest_checkpoint_result"]
        return f"{folder}/{listed['checkpoint_dir_name']}" if listed else None
    except FileNotFoundError:
        return None
    except (KeyError, TypeError) as error:
        raise ValueError(folder) from error


def _newest_whole(store: Store, folder: str) -> str | None:
    """Return the checkpoint with the most steps among those that are whole, listed or not; None where there is none."""
    store.fs.invalidate_cache()
    files: dict[str, dict[str, int]] = defaultdict(dict)
    for path, told in store.fs.find(folder, detail=True).items():
        name, _, file = path.removeprefix(f"{folder}/").partition("/")
        files[name][file] = told["size"]
    steps = {name: _steps_if_whole(store, f"{folder}/{name}", sizes) for name, sizes in files.items() if STATE in sizes}
    whole = [(step, name) for name, step in steps.items() if step is not None]
    return f"{folder}/{max(whole)[1]}" if whole else None


def _steps_if_whole(store: Store, checkpoint: str, sizes: dict[str, int]) -> int | None:
    """Return after how many steps a checkpoint was made, given how long its files are; None where it is not known to be whole."""
    try:
        state = State(**json.loads(store.fs.cat_file(f"{checkpoint}/{STATE}")))
        for rank in range(1 if state.finished else max(1, state.world_size)):  # the finished student is worker 0's alone
            for file, size in json.loads(store.fs.cat_file(f"{checkpoint}/{_part(rank)}")).items():
                if sizes.get(file) != size:
                    return None
    except (FileNotFoundError, ValueError, TypeError, AttributeError):  # not uploaded, or torn
        return None
    return state.step


def _part(rank: int) -> str:
    return f"part-{rank:06d}.json"
