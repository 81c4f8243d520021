"""How a job finds mixray on the nodes, and which variables it is given: the one home of runtime environments.

* `baked` (the default): it is in the nodes' image, as it must be for GPUs to be used and not waited for.
* `pip`, `uv`: this copy of the package travels, and every node installs what it requires, once, before its first task; minutes, and
  a network. Ray itself is never installed this way: the nodes' own must be of the same version.

Secrets are names. `--secret NAME` says that the nodes have it, and the job refuses to start where they do not; the value is nowhere else.
`--send-secret NAME` puts the submitter's value into the job's environment: Ray's pages mask it, but the cluster keeps it in the clear, with
the job, and whoever holds the cluster's token can read it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from packaging.requirements import Requirement

from mixray.entry import SECRETS
from mixray.errors import RecipeError

Environment = Literal["baked", "pip", "uv"]
ENVIRONMENTS: tuple[str, ...] = get_args(Environment)
STORAGES = ("s3", "gcs")
"""Extras of the package, each for one kind of storage."""
STOP_SECONDS = 60
"""A job that is told to stop has so long to end in order; Ray's own patience is three seconds."""


def runtime_environment(
    kind: str, working_dir: str, extra: str = "gpu", secrets: Sequence[str] = (), sent: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a job's runtime environment, as Ray takes it.

    Args:
        kind: one of `ENVIRONMENTS`.
        working_dir: the folder that travels.
        extra: which build is installed with pip and uv: gpu or cpu.
        secrets: names of variables that the nodes must have.
        sent: names of variables whose values are sent from here.

    Raises:
        RecipeError: a variable to be sent is not set here, or the build cannot be installed in this way.
    """
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **_values(sent)}
    if secrets:
        variables[SECRETS] = ",".join(secrets)
    environment: dict[str, Any] = {"working_dir": working_dir, "env_vars": variables}
    if kind == "baked":
        return environment
    if (kind, extra) == ("pip", "cpu"):
        raise RecipeError(
            "pip finds no CPU build of torch",
            seen="--env pip --extra cpu",
            rule="it lies on PyTorch's own index, which uv knows and pip does not",
            do="pass --env uv, or have mixray in the nodes' image (--env baked)",
        )
    packages = requirements(extra)
    # The first option is Ray's own, which it leaves out where others are given.
    options = {"uv_pip_install_options": ["--no-cache", "--torch-backend=cpu"]} if extra == "cpu" else {}
    installed: Any = packages if kind == "pip" else {"packages": packages, **options}
    return environment | {"py_modules": [str(Path(__file__).parents[1])], kind: installed}


def _values(names: Sequence[str]) -> Mapping[str, str]:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise RecipeError("A variable to be sent is not set here", seen=", ".join(missing), do="set it, or leave --send-secret out")
    return {name: os.environ[name] for name in names}


def requirements(extra: str) -> list[str]:
    """Return what the package requires with one of its builds and any storage.

    Ray is not among it, only what it requires for what is used of it: replacing the node's own would break it.
    """
    wanted = _required("mixray", {extra, *STORAGES})
    of_ray = {part for each in wanted if each.name == "ray" for part in each.extras}
    return sorted({str(each) for each in [*wanted, *_required("ray", of_ray)] if each.name != "ray"})


def _required(package: str, extras: set[str]) -> list[Requirement]:
    found = []
    for text in metadata.requires(package) or []:
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            wanted.marker = None
            found.append(wanted)
    return found
