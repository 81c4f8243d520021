"""Ray for one run: joins the cluster a job runs on, or starts a quiet, private one on this machine.

A private cluster lives in its own temporary folder, listens on loopback only and dies with the process that started it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from mixray.errors import ClusterError
from mixray.ids import RUN, begin_stage, run_id
from mixray.terminal import LinesOfJson

# Set before vLLM, DeepSpeed or Ray are imported, here and in every worker.
WORKER_ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Serve replaces a proxy that is not ready in 5 s; on two busy cores its imports alone take longer, and it never is.
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
START_ATTEMPTS = 3
DRIVER_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


_PRIVATE = "MIXRAY_PRIVATE_CLUSTER"
_open: list[str] = []
"""The session of this process: Ray's folder if it is private, else empty. At most one."""


def is_private() -> bool:
    """Whether Ray is up and the driver's own cluster: this one machine, which never grows. Workers know it too."""
    folder = os.environ.get(_PRIVATE)
    if not folder:
        return False
    import ray

    return ray.is_initialized() and ray.get_runtime_context().get_temp_dir() == folder  # a child may have joined another one


def drives_on_head() -> bool:
    """Whether this driver sits on a node that is meant to run nothing, which a small head does not bear for long."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] == here]
    return any("node:__internal_head__" in node and not node.get("CPU") for node in nodes)


def logs_folder() -> str:
    """Return where the processes of this cluster write their logs, each on its own node; those of Serve lie in `serve/` there."""
    import ray

    if not ray.is_initialized():
        return "/tmp/ray/session_latest/logs"
    about = ray.get_runtime_context()
    return f"{about.get_temp_dir()}/{about.get_session_name()}/logs"


def log_in_actor(stage: str) -> None:
    """Have what mixray's loggers say in this actor written beside Ray's own logs of the node, `mixray-<pid>.jsonl`, with its run and stage.

    Outside an actor nothing changes. A log that cannot be written ends nothing.
    """
    import ray

    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    begin_stage(stage)
    logger = logging.getLogger("mixray")
    if not any(isinstance(handler.formatter, LinesOfJson) for handler in logger.handlers):
        handler = logging.FileHandler(Path(logs_folder()) / f"mixray-{os.getpid()}.jsonl", delay=True)
        handler.setFormatter(LinesOfJson())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


@contextlib.contextmanager
def ray_session(num_cpus: int | None = None) -> Iterator[None]:
    """Have Ray for the block; leave no process behind.

    Inside a Ray job, or where RAY_ADDRESS is set, that cluster is joined. Otherwise a local one is started with `num_cpus`
    logical CPUs (at least 4: serving and training reserve more slots than a small machine has cores). Within another session's
    block its Ray is used, and left up.

    Raises:
        ClusterError: Ray did not come up, RAY_ADDRESS is no cluster's, or this process had Ray from somebody else.
    """
    if _is_within_another():
        yield
        return
    joins = bool(os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_JOB_ID"))
    os.environ.update(DRIVER_ENVIRONMENT)
    os.environ.setdefault("RAY_AUTH_MODE", "token" if joins else "disabled")

    # Nobody takes a private node away, and each watcher is one more process to start; a joined cluster's nodes may be spot machines.
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "1" if joins else "0"
    # Sockets have path limits (107 bytes), so the folder must be short.
    folder = "" if joins else tempfile.mkdtemp(prefix="mixray-", dir=os.environ.get("RAY_TMPDIR") or None)
    private = {_PRIVATE: folder} if folder else {}
    options: dict[str, object] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": False,
        "runtime_env": {"env_vars": {**WORKER_ENVIRONMENT, **_gpu_environment(), **private, RUN: run_id()}},
    }
    if joins:
        options["address"] = os.environ.get("RAY_ADDRESS", "auto")
    else:
        # With this off, Ray gives the node the address 127.0.0.1 (it does so by itself on other systems than Linux).
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        options |= {
            "address": "local",
            "num_cpus": num_cpus or max(os.cpu_count() or 1, 4),
            "include_dashboard": False,
            "object_store_memory": 512 * 2**20,
            "_temp_dir": folder,
        }
    with _callers_sigterm():
        _start_ray(options, attempts=1 if joins else START_ATTEMPTS)
    import ray

    os.environ |= private
    _open.append(folder)
    try:
        yield
    except BaseException:
        logging.getLogger("mixray.session").error("the logs of Ray's processes lie in %s", logs_folder())
        folder = ""  # keep them
        raise
    finally:
        _open.pop()
        os.environ.pop(_PRIVATE, None)
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _is_within_another() -> bool:
    """Whether the Ray of an outer session is to be used; refuses a job server's address, and a Ray that is not ours."""
    if os.environ.get("RAY_ADDRESS", "").startswith("http"):
        raise ClusterError(
            "RAY_ADDRESS is a job server's",
            seen=os.environ["RAY_ADDRESS"],
            rule="a process joins a cluster at HOST:PORT, 6379 mostly, from one of its nodes",
            do="`mixray submit` runs it there as a job; or unset RAY_ADDRESS (RAY_API_SERVER_ADDRESS is for job servers alone)",
        )
    ray = sys.modules.get("ray")  # it reads its environment when it is imported: not before it is set
    if ray is None or not ray.is_initialized():
        return False
    if not _open:
        raise ClusterError(
            "this process has started Ray itself",
            rule="mixray starts or joins Ray with settings of its own, and would end what you started",
            do="call ray.shutdown() before, or run mixray in a process of its own; RAY_ADDRESS says which cluster to join",
        )
    return True


@contextlib.contextmanager
def _callers_sigterm() -> Iterator[None]:
    """Give SIGTERM back to the handler it had: Ray takes it for its own, which ends a program without a word."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if handler not in (signal.SIG_DFL, None) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _start_ray(options: dict[str, object], attempts: int) -> None:
    """Start or join Ray; a local start is tried again, since Ray gives a busy machine half a minute and no more."""
    import ray  # reads its environment when imported

    for attempt in range(1, attempts + 1):
        try:
            ray.init(**options)  # type: ignore[arg-type]
            return
        except Exception as error:  # a bare Exception is what Ray raises when the node is late
            ray.shutdown()
            if attempt == attempts:
                raise ClusterError(
                    "Ray did not start", seen=str(error).splitlines()[0], do="see the log file; free processors, memory and /tmp"
                ) from error


def _gpu_environment() -> dict[str, str]:
    """Return what a machine with NVIDIA devices needs changed: the accelerator DeepSpeed should find by itself."""
    return {"DS_ACCELERATOR": "cuda"} if Path("/dev/nvidiactl").exists() else {}
