"""A training on the cluster that RAY_ADDRESS names, in a process of its own: `python cluster_driver.py ORDER.json`.

`ORDER.json` holds `{store, student, train, events, seconds_per_step, alone_until, resize_seconds, bulk_step}`. The workers write a line for
each step and each checkpoint to `events`. `seconds_per_step`: what several workers sleep; `alone_until`: a lone worker stays before this
step until the group grows; `bulk_step`: the checkpoint of this step is large, and its worker kills itself once a part of it is stored.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.cloudpickle

WAIT_SECONDS = 150
SNAPSHOT = "train/checkpoint_manager_snapshot.json"
"""What Ray Train writes once a checkpoint is stored, below a training's work folder."""
BULK, BULK_BYTES = "bulk", 2**29
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, though not without end."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def telling(order: dict[str, Any]) -> Any:
    """Return a worker's function that writes down what it does, and does it slowly."""

    def run(config: dict[str, Any]) -> None:
        from mixray.training import loop, worker

        step, keep = loop._step, worker.RayHost.keep

        def tell(host: Any, event: str, number: int) -> None:
            told = {
                "event": event,
                "step": number,
                "rank": host.rank,
                "pid": os.getpid(),
                "scratch": str(host.scratch),
                "size": host.world_size,
                "time": time.time(),
            }
            with open(order["events"], "a") as events:
                events.write(json.dumps(told) + "\n")

        def slow_step(work: Any, host: Any, engine: Any, planned: Any, number: int, *rest: Any) -> Any:
            tell(host, "step", number)
            if host.world_size == 1 and number == order.get("alone_until"):
                wait_until(lambda: False)  # growing ends this worker
            time.sleep(order.get("seconds_per_step", 0) if host.world_size > 1 else 0)
            return step(work, host, engine, planned, number, *rest)

        def die_within_the_upload(host: Any) -> None:
            while True:
                for part in Path(config["job"].work_path).glob(f"train/checkpoint_*/{BULK}"):
                    if 0 < part.stat().st_size < BULK_BYTES:
                        tell(host, "killed", part.stat().st_size)
                        os.kill(os.getpid(), signal.SIGKILL)

        def told_keep(host: Any, folder: Path | None, state: Any) -> None:
            if state.step == order.get("bulk_step"):
                wait_until(lambda: Path(config["job"].work_path, SNAPSHOT).exists())
            tell(host, "keep", state.step)
            if state.step == order.get("bulk_step") and '"killed"' not in Path(order["events"]).read_text():
                with (folder / BULK).open("wb") as bulk:
                    bulk.truncate(BULK_BYTES)
                threading.Thread(target=die_within_the_upload, args=(host,), daemon=True).start()
            keep(host, folder, state)

        loop._step, worker.RayHost.keep = slow_step, told_keep  # type: ignore[method-assign]
        worker.run(config["job"])

    return run


def main(order: dict[str, Any]) -> None:
    """Train, and tell mixray's errors as its command line does."""
    import test_train

    from mixray import progress, training
    from mixray.errors import MixrayError
    from mixray.recipe import Train
    from mixray.session import ray_session
    from mixray.store import Store
    from mixray.training import fit

    progress.PLAIN_SECONDS = 0.0
    fit.train_worker, fit.RESIZE_SECONDS = telling(order), order.get("resize_seconds", fit.RESIZE_SECONDS)
    store, train = Store(order["store"]), Train.model_validate(order["train"])
    try:
        with ray_session(), progress.Display() as display:
            training.run(store, "arm", test_train.make_mixture(store), order["student"], train, 0, display.stage("train"))
    except MixrayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
