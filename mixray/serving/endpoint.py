"""The endpoint's life: brought up, proven, given to the caller, taken down with every process it started.

In: students by arm name, the recipe's `serve` part, and Ray, already running. Out: a URL and a key. Nothing is written, so nothing
needs to survive a kill; what must not survive is the endpoint itself. On a private cluster Ray's processes die with the driver and the
engines live inside them; on a cluster that outlives the driver a watcher takes the endpoint down (see `mixray.serving.watch`).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixray import recipe
from mixray.errors import ServingError
from mixray.models import resolve
from mixray.progress import Display, StageProgress
from mixray.serving.app import APP_NAME, build
from mixray.serving.gate import key_digest
from mixray.serving.parity import prove
from mixray.serving.watch import cluster_outlives_driver, watched

KEY_VARIABLE = "MIXRAY_API_KEY"
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


@contextlib.contextmanager
def serve_students(
    models: Mapping[str, str | Path], serve: recipe.Serve, key: str | None = None, progress: StageProgress | None = None
) -> Iterator[Endpoint]:
    """Have the students behind one endpoint for the block; each model id is its arm's name.

    Args:
        models: model folder, `tiny:<name>` or hub id by arm name.
        serve: host, port and engine settings.
        key: what clients must send; MIXRAY_API_KEY where None, and a random one where that is unset.
        progress: shows how many students are up.

    Raises:
        ServingError: the port is taken, a student does not start, or it is not asked what it was trained on.
        MixrayError: a model is missing or unsafe.
    """
    sources = {arm: resolve(str(model)) for arm, model in models.items()}
    port = _claim(serve.host, serve.port)
    key = key or os.environ.get(KEY_VARIABLE) or secrets.token_urlsafe(24)
    address = f"[{serve.host}]" if ":" in serve.host else serve.host
    endpoint = Endpoint(f"http://{_reachable(address)}:{port}/v1", key, tuple(sources))
    with watched() if cluster_outlives_driver() else contextlib.nullcontext(), _serve_instance(serve.host, port):
        _start(sources, serve, key, progress)
        prove(endpoint.url, endpoint.key, sources)
        yield endpoint


def serve_forever(models: Mapping[str, str | Path], serve: recipe.Serve, display: Display, key: str | None = None) -> None:
    """Serve until interrupted, and show where and how to ask."""
    progress = display.stage("serve")
    with serve_students(models, serve, key, progress) as endpoint:
        progress.finish(f"{len(endpoint.models)} students answer")
        display.say(f"  url     {endpoint.url}\n  key     {endpoint.key}\n  models  {'  '.join(endpoint.models)}\n  Ctrl-C ends it")
        while True:
            time.sleep(POLL_SECONDS)


def _claim(host: str, port: int) -> int:
    """Return a port that can be bound now; 0 becomes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServingError(
                "The endpoint's port cannot be used",
                seen=f"{host}:{port} ({error.strerror})",
                rule="it must be free",
                do="pass --port 0 for any free one, or `--set serve.port=...`",
            ) from error
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)


@contextlib.contextmanager
def _serve_instance(host: str, port: int) -> Iterator[None]:
    from ray import serve

    # Serve tells every step on standard error; its files keep it all.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    if serve.status().proxies:
        raise ServingError(
            "Ray Serve already runs on this cluster",
            seen=sorted(serve.status().applications),
            rule="one run at a time has it",
            do="end the other run, or `serve shutdown`, or use another cluster",
        )
    # The driver's slow imports and the start of Serve's own processes take turns on nothing: they run side by side.
    imports = threading.Thread(target=importlib.import_module, args=("mixray.serving.engine",), daemon=True, name="imports")
    imports.start()
    try:
        _start_serve(host, port)
        imports.join()
        yield
    finally:
        serve.shutdown()


def _start_serve(host: str, port: int) -> None:
    """Start Serve's controller and proxy; tried again, since Serve gives a busy machine one minute and no more."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.schema import LoggingConfig

    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": host, "port": port},
                logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
            )
            return
        except (RayError, TimeoutError) as error:
            if attempt == START_ATTEMPTS:
                reason = str(error).strip().splitlines()[-1]
                raise ServingError(
                    "Ray Serve did not start", seen=f"{host}:{port}: {reason}", do="free processors, memory and the port"
                ) from error
            serve.shutdown()


def _start(sources: Mapping[str, str], settings: recipe.Serve, key: str, progress: StageProgress | None) -> None:
    from ray import serve

    application = build(sources, settings, key_digest(key))
    target = serve.RunTarget(target=application, name=APP_NAME, route_prefix="/")
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    deadline = time.monotonic() + START_SECONDS
    while True:
        state = serve.status().applications.get(APP_NAME)
        if state is not None:
            up = [name for name, deployment in state.deployments.items() if deployment.status == "HEALTHY" and ":" in name]
            if progress is not None:
                progress.update(len(up), len(sources))
            if state.status == "RUNNING":
                return
            if state.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise _failed(state)
        if time.monotonic() > deadline:
            raise _failed(state, f"after {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _failed(state: Any, when: str = "") -> ServingError:
    """Turn Serve's status into one message: why the first student in trouble did not start."""
    troubles = (
        {name: item.message for name, item in state.deployments.items() if item.status != "HEALTHY" and item.message} if state else {}
    )
    name, message = next(iter(troubles.items()), ("the application", state.message if state else "Serve says nothing"))
    return ServingError(
        f"The students did not come up {when}".rstrip(),
        seen=f"{name.partition(':')[2] or name}: {reason_in(message)}",
        do="check the model folder, memory, GPUs and serve.engine; the logs of Ray Serve tell more",
    )


def reason_in(message: str) -> str:
    """Return the last error a traceback names, with the lines that explain it, as one line."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and "For further information" not in line]
    named = [index for index, line in enumerate(lines) if ERROR_LINE.match(line)]
    reason = " ".join(lines[named[-1] :] if named else lines[-1:]) or "no reason given"
    return reason if len(reason) <= REASON_CHARACTERS else reason[:REASON_CHARACTERS] + " ..."
