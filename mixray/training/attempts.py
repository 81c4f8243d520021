"""Where each attempt at a training keeps its checkpoints, and which one the next attempt goes on from.

Ray Train keeps a list of a run's checkpoints beside them, and removes those it no longer counts. Where an attempt can be taken over from
(see `mixray.locks`), the one before may still be alive, standing still, with a list of its own: so each has its own folder, named by its
number. An attempt begins with the last checkpoint of the newest one before it that has any; folders older than that are removed.
"""

from __future__ import annotations

import json

from mixray.locks import Fence
from mixray.store import Store

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list."""
FOLDER = "train"


def name(fence: Fence | None) -> str:
    """Return the name of an attempt's folder; where nobody can take over there is one for all, which Ray Train itself goes on with."""
    return FOLDER if fence is None else f"{FOLDER}-{fence.number:06d}"


def last_checkpoint(store: Store, work_path: str, own: str) -> str | None:
    """Return the path of the checkpoint an attempt begins with; None where there is none, or its own folder has them."""
    store.fs.invalidate_cache()
    try:
        names = sorted(path.rstrip("/").rpartition("/")[2] for path in store.fs.ls(work_path, detail=False))
    except FileNotFoundError:  # an object store has no empty folders
        return None
    others = [other for other in names if other != own and other.partition("-")[0] == FOLDER]
    for index, other in reversed(list(enumerate(others))):
        found = _listed_last(store, f"{work_path}/{other}")
        if found is not None:
            for older in others[:index]:
                store.fs.rm(f"{work_path}/{older}", recursive=True)
            return found
    return None


def _listed_last(store: Store, folder: str) -> str | None:
    try:
        listed = json.loads(store.fs.cat_file(f"{folder}/{SNAPSHOT}"))["latest_checkpoint_result"]
        return f"{folder}/{listed['checkpoint_dir_name']}" if listed else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none yet, or torn
        return None
