"""Where the files in cluster/ are, and what they hold: shared by the tests of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"
LAUNCHER = ["aws.yaml", "gcp.yaml"]
KUBERAY = ["kuberay/raycluster.yaml", "kuberay/rayjob.yaml", "kuberay/rayservice.yaml"]
BASE = "kuberay/base.yaml"
DASHBOARDS = ["grafana/mixray.json"]


def documents(name: str) -> list[dict[str, Any]]:
    """Return the documents of a file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def document(name: str) -> dict[str, Any]:
    """Return the one document of a file."""
    (only,) = documents(name)
    return only


def spec_of(name: str) -> dict[str, Any]:
    """Return the RayCluster's specification in a manifest of KubeRay's."""
    spec = document(name)["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
