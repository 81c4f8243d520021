"""The endpoint's life: brought up, proven, given to the caller, taken down with every process it started.

In: students by arm name, the recipe's `serve` part, and Ray, already running. Out: a URL and a key. Nothing is written, so nothing
needs to survive a kill; what must not survive is the endpoint itself. On a private cluster Ray's processes die with the driver and the
engines live inside them; on a cluster that outlives the driver a watcher takes the endpoint down (see `mixray.serving.watch`).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixray import recipe
from mixray.errors import ServingError
from mixray.models import resolve
from mixray.progress import StageProgress
from mixray.serving.app import APP_NAME, build
from mixray.serving.keys import Keys
from mixray.serving.openness import check
from mixray.serving.parity import prove
from mixray.serving.port import claimed
from mixray.serving.watch import cluster_outlives_driver, taken_down, watched
from mixray.session import logs_folder

# Long enough for a large model to be downloaded and loaded; a start that fails says so at once.
START_SECONDS = 1800.0
POLL_SECONDS = 0.5
START_ATTEMPTS = 3
ERROR_LINE = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b")
REASON_CHARACTERS = 400


@dataclass(frozen=True)
class Endpoint:
    """Where the students answer: `url` ends in `/v1`; `key` goes into `Authorization: Bearer`."""

    url: str
    key: str = field(repr=False)
    models: tuple[str, ...]
    tls_cert: str | None = None
    """PEM file of its certificate, where it speaks https: the one to trust for who shares its machine (see `certificates`)."""
    made_key: bool = False
    """Whether the key was made for this endpoint, so that it must be told."""
    warnings: tuple[str, ...] = ()
    """What whoever opened it to others should know."""


@contextlib.contextmanager
def serve_students(
    models: Mapping[str, str | Path],
    serve: recipe.Serve,
    key: str | None = None,
    progress: StageProgress | None = None,
    prompts: Mapping[str, str] | None = None,
) -> Iterator[Endpoint]:
    """Have the students behind one endpoint for the block; each model id is its arm's name.

    Args:
        models: model folder, `tiny:<name>` or hub id by arm name.
        serve: host, port, limits and engine settings.
        key: what clients must send; those of serve.keys_file or MIXRAY_API_KEY where None, and a random one where there is neither.
        progress: shows how many students are up.
        prompts: user turns by name, with `{question}`, proven too.

    Raises:
        ServingError: the port is taken, keys or certificate do not do, a student does not start, or it is not asked what it was trained on.
        MixrayError: a model is missing or unsafe.
    """
    sources = {arm: resolve(str(model)) for arm, model in models.items()}
    opened = check(serve, key)
    keys = opened.keys or [("key-1", secrets.token_urlsafe(24))]
    with contextlib.ExitStack() as up:
        port = up.enter_context(claimed(serve.host, serve.port))
        host = _reachable(f"[{serve.host}]" if ":" in serve.host else serve.host)
        scheme = "https" if serve.tls_cert else "http"
        endpoint = Endpoint(f"{scheme}://{host}:{port}/v1", keys[0][1], tuple(sources), serve.tls_cert, not opened.keys, opened.warnings)
        if cluster_outlives_driver():
            up.enter_context(watched())
        up.enter_context(_serve_instance())
        _start(sources, serve, Keys.of(keys), port, progress)
        prove(endpoint.url, endpoint.key, sources, prompts, serve.tls_cert)
        yield endpoint


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)


@contextlib.contextmanager
def _serve_instance() -> Iterator[None]:
    from ray import serve

    # Serve tells every step on standard error; its files keep it all.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    state = serve.status()
    if state.proxies or state.applications:
        raise ServingError(
            "Ray Serve already runs on this cluster",
            seen=sorted(state.applications),
            rule="one run at a time has it",
            do="end the other run, or `serve shutdown`, or use another cluster",
        )
    # The driver's slow imports and the start of Serve's own processes take turns on nothing: they run side by side.
    imports = threading.Thread(target=importlib.import_module, args=("mixray.serving.engine",), daemon=True, name="imports")
    imports.start()
    try:
        _start_serve()
        imports.join()
        yield
    except BaseException:
        taken_down()
        raise
    if not taken_down():
        raise ServingError(
            "Ray Serve does not end, and may still listen", seen="its controller is up", do="`serve shutdown`, or end the cluster"
        )


def _start_serve() -> None:
    """Start Serve's controller, without a proxy: the gate listens itself. Tried again, since Serve gives a busy machine a minute only."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.schema import LoggingConfig

    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            serve.start(proxy_location="Disabled", logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False))
            return
        except (RayError, TimeoutError) as error:
            if attempt == START_ATTEMPTS:
                reason = str(error).strip().splitlines()[-1]
                raise ServingError("Ray Serve did not start", seen=reason, do="free processors and memory") from error
            taken_down()


def _start(sources: Mapping[str, str], settings: recipe.Serve, keys: Keys, port: int, progress: StageProgress | None) -> None:
    from ray import serve

    from mixray.serving.door import Door

    door = Door(settings.host, port, settings.tls_cert, settings.tls_key, settings.limits)
    application = build(sources, settings, keys, door, _own_node())
    target = serve.RunTarget(target=application, name=APP_NAME, route_prefix="/")
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    deadline = time.monotonic() + START_SECONDS
    while True:
        state = serve.status().applications.get(APP_NAME)
        if state is not None:
            students = {name: deployment for name, deployment in state.deployments.items() if ":" in name}
            if progress is not None and students:
                progress.update(sum(each.status == "HEALTHY" for each in students.values()), len(students))
            if state.status == "RUNNING":
                return
            if state.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise _failed(state)
        if time.monotonic() > deadline:
            raise _failed(state, f"after {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _own_node() -> str:
    """Return the resource that only the driver's node has: the gate must listen where the driver, and its user, are."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    resources = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == own)
    return next(name for name in resources if name.startswith("node:") and name != "node:__internal_head__")


def _failed(state: Any, when: str = "") -> ServingError:
    """Turn Serve's status into one message: why the first student in trouble did not start."""
    troubles = (
        {name: item.message for name, item in state.deployments.items() if item.status != "HEALTHY" and item.message} if state else {}
    )
    name, message = next(iter(troubles.items()), ("the application", state.message if state else "Serve says nothing"))
    return ServingError(
        f"The students did not come up {when}".rstrip(),
        seen=f"{name.partition(':')[2] or name}: {reason_in(message)}",
        do=f"check the model folder, memory, GPUs and serve.engine; {logs_folder()}/serve tells more",
    )


def reason_in(message: str) -> str:
    """Return the last error a traceback names, with the lines that explain it, as one line."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and "For further information" not in line]
    named = [index for index, line in enumerate(lines) if ERROR_LINE.match(line)]
    reason = " ".join(lines[named[-1] :] if named else lines[-1:]) or "no reason given"
    return reason if len(reason) <= REASON_CHARACTERS else reason[:REASON_CHARACTERS] + " ..."
