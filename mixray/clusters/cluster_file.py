"""Which nodes a cluster can have: read from a file for `ray up`, or from a KubeRay RayCluster, RayJob or RayService.

In: a file. Out: its node types, with what each holds, how its nodes are labelled, how many there can be and what one costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mixray.errors import ClusterError

SPEC_OF_KIND = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
PRICES, PRICE = "mixray/prices", "mixray/price-per-hour"
"""Annotations: what prices are of, on the resource; and one node's price, on the template of its pods."""


@dataclass(frozen=True)
class NodeType:
    """One kind of node."""

    name: str
    resources: Mapping[str, float]
    """CPU and GPU, as Ray counts them."""
    labels: Mapping[str, str]
    most: int
    priority: int = 0
    """Of two types that fit, Ray starts the one with the larger."""
    per_hour: float | None = None


@dataclass(frozen=True)
class Cluster:
    """Everything a file says about a cluster's nodes."""

    name: str
    head: NodeType
    workers: tuple[NodeType, ...]
    most: int
    """Nodes at once, over all types, without the head."""
    currency: str = ""
    prices: str = field(default="no prices", kw_only=True)
    """What they are, in words."""


def read_cluster(path: str | Path) -> Cluster:
    """Read a cluster file of either kind.

    Raises:
        ClusterError: it is missing, or no description of a cluster.
    """
    try:
        documents = [one for one in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")) if isinstance(one, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClusterError("A cluster file cannot be read", seen=f"{path}: {' '.join(str(error).split())}", do="check --cluster") from error
    try:
        for document in documents:
            if "available_node_types" in document:
                return _of_launcher(document)
            if document.get("kind") in SPEC_OF_KIND:
                return _of_kuberay(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ClusterError(
            "A cluster file is incomplete", seen=f"{path}: {type(error).__name__} {error}", do="see the files in cluster/"
        ) from error
    raise ClusterError(
        "A file describes no cluster",
        seen=str(path),
        rule=f"a file for `ray up`, or one of {', '.join(SPEC_OF_KIND)}",
        do="see the files in cluster/",
    )


def _of_launcher(document: dict[str, Any]) -> Cluster:
    prices = (document.get("metadata") or {}).get("prices") or {}
    most = int(document.get("max_workers", 2))
    kinds = {}
    for name, kind in document["available_node_types"].items():
        kinds[name] = NodeType(
            name,
            {key: float(kind["resources"].get(key, 0)) for key in ("CPU", "GPU")},
            kind.get("labels") or {},
            int(kind.get("max_workers", most)),
            int(kind.get("priority", 0)),
            _price(prices.get("per_hour", {}).get(name)),
        )
        if "CPU" not in kind["resources"]:
            raise ValueError(f"resources of {name} do not say how many CPUs (Ray looks them up at `ray up` alone)")
    head = kinds.pop(document["head_node_type"])
    return Cluster(
        document["cluster_name"], head, tuple(kinds.values()), most, prices.get("currency", ""), prices=prices.get("source", "no prices")
    )


def _of_kuberay(document: dict[str, Any]) -> Cluster:
    spec = document["spec"]
    for key in SPEC_OF_KIND[document["kind"]]:
        spec = spec[key]
    groups = tuple(_of_group(group) for group in spec.get("workerGroupSpecs") or [])
    told = (document["metadata"].get("annotations") or {}).get(PRICES, "no prices")
    currency = told.split()[0] if told != "no prices" else ""
    return Cluster(
        document["metadata"]["name"], _of_group(spec["headGroupSpec"]), groups, sum(group.most for group in groups), currency, prices=told
    )


def _of_group(group: dict[str, Any]) -> NodeType:
    """Return a group of pods as KubeRay's autoscaler sees it: the group's own word, then Ray's flags, then the limits of the pod."""
    template, flags = group["template"], group.get("rayStartParams") or {}
    asked = template["spec"]["containers"][0].get("resources") or {}
    pod = {**(asked.get("requests") or {}), **(asked.get("limits") or {})}
    own = group.get("resources") or {}
    cpus = own.get("CPU", flags.get("num-cpus", pod.get("cpu")))
    gpus = own.get("GPU", flags.get("num-gpus", next(_gpus(pod), 0)))
    if cpus is None:
        raise ValueError(f"group {group.get('groupName', 'head')} does not say how many CPUs")
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return NodeType(
        group.get("groupName", "head"),
        {"CPU": _count(cpus), "GPU": _count(gpus)},
        group.get("labels") or {},
        int(group.get("maxReplicas", 0)) * int(group.get("numOfHosts", 1)),
        int(group.get("priority", 0)),
        _price(annotations.get(PRICE)),
    )


def _gpus(pod: Mapping[str, Any]) -> Iterator[Any]:
    return (amount for name, amount in pod.items() if name.endswith("gpu"))


def _count(quantity: Any) -> float:
    """Return a quantity of Kubernetes, such as 500m, as whole ones: Ray rounds up."""
    text = str(quantity)
    return float(math.ceil(float(text[:-1]) / 1000 if text.endswith("m") else float(text)))


def _price(given: Any) -> float | None:
    return None if given is None else float(given)
