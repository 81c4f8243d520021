"""What a run says of itself in its storage, so that anybody can see how far it is, also when the cluster it ran on is gone.

`<storage>/.runs/<recipe>-<run>.json` is written when a run begins work, every few seconds and when it ends. Nothing rests on it: a run
that cannot write it goes on. One that was killed says "running" for ever; when it last said so tells.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import posixpath
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from mixray import steady
from mixray.errors import by_interrupt
from mixray.ids import attempt_id, run_id
from mixray.progress import Display
from mixray.session import drives_on_head, ray_session
from mixray.store import Store

FOLDER = ".runs"
BEAT_SECONDS = 10.0
SILENT_SECONDS = 60.0
"""A run that has said nothing for so long is stopped, frozen, or cut off from its storage."""
log = logging.getLogger("mixray.runs")


@contextlib.contextmanager
def at_work(store: Store, recipe: str, display: Display, on_cluster: bool = True) -> Iterator[None]:
    """Have a run on record for the block, and Ray where it needs a cluster."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_recorded(store, recipe, display))
        if on_cluster:
            stack.enter_context(ray_session())
            if drives_on_head():
                display.say("the driver runs on the head node; `mixray submit`, or --entrypoint-num-cpus 1, keeps it off")
        yield


@contextlib.contextmanager
def _recorded(store: Store, recipe: str, display: Display) -> Iterator[None]:
    record = {
        "run": run_id(), "attempt": attempt_id(), "recipe": recipe, "host": socket.gethostname(), "pid": os.getpid(),
        "began": time.time(), "state": "running", "error": None,
    }  # fmt: skip
    path, ended = f"{store.root}/{FOLDER}/{recipe}-{record['run']}.json", threading.Event()

    def say() -> None:
        stages = [{"stage": name, "began": line.began_at, **line.now} for name, line in list(display.at_work.items())]
        told = json.dumps(record | {"seen": time.time(), "stages": stages}, default=str)
        try:
            with steady.briefly():
                store.put(path, told.encode())
        except Exception as error:  # whatever is wrong with the storage, in its own words or ours, the stages tell it better
            log.info("a run's record cannot be written: %s", error)

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            say()

    with steady.briefly(), contextlib.suppress(Exception):  # as in `say`
        store.fs.makedirs(posixpath.dirname(path), exist_ok=True)
    say()
    beating = threading.Thread(target=beat, daemon=True, name="mixray-record")
    beating.start()
    try:
        yield
        record["state"] = "done"
    except BaseException as error:
        record |= {"state": "interrupted" if by_interrupt(error) else "failed", "error": str(error) or None}
        raise
    finally:
        ended.set()
        beating.join(BEAT_SECONDS)  # or what it is about to write comes after the last word
        say()


def runs_of(store: Store, recipe: str) -> list[dict[str, Any]]:
    """Return the records of a recipe's runs, the latest last; with `silent_seconds` of those that say they are running."""
    folder = f"{store.root}/{FOLDER}"
    store.fs.invalidate_cache()
    if not store.fs.exists(folder):
        return []
    found = []
    for path in store.fs.ls(folder, detail=False):
        if posixpath.basename(path).startswith(f"{recipe}-") and path.endswith(".json"):
            with contextlib.suppress(OSError, ValueError):  # being replaced
                record = json.loads(store.fs.cat_file(path))
                if record["recipe"] == recipe:
                    running = record["state"] == "running"
                    found.append(record | {"silent_seconds": time.time() - record["seen"] if running else None})
    return sorted(found, key=lambda record: float(record["began"]))
