"""A recipe's placement as Ray takes it: one label selector for actors, for bundles of placement groups and for requests to the autoscaler.

A GPU's kind is a label like any other. Ray's own `accelerator_type` option is a resource instead, which Ray Serve and the autoscaler ask
for in ways of their own; labels mean the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixray.recipe import ACCELERATOR_LABEL, Placed
from mixray.session import is_private


def selector(placed: Placed) -> dict[str, str]:
    """Return the label selector for the cluster that is up; empty where it may run anywhere."""
    return {} if is_private() else asked_for(placed)


def asked_for(placed: Placed) -> dict[str, str]:
    """Return the labels that a recipe asks for, whatever is up."""
    return dict(placed.labels) | ({ACCELERATOR_LABEL: placed.accelerator_type} if placed.accelerator_type else {})


def remote_options(placed: Placed) -> dict[str, Any]:
    """Return options for `ray.remote`, and for the actors of Ray Data and Ray Serve."""
    wanted = selector(placed)
    return {"label_selector": wanted} if wanted else {}


def matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a node with these labels is selected, by Ray's rules: where a key is missing, only a negation is met."""
    return all(_meets(labels.get(key), value) for key, value in wanted.items())


def _meets(label: str | None, wanted: str) -> bool:
    text = wanted.removeprefix("!")
    values = [value.strip() for value in text[3:-1].split(",")] if text.startswith("in(") else [text]
    return (label in values) != wanted.startswith("!")


def resources_of_nodes(placed: Placed) -> list[dict[str, float]]:
    """Return what each node that is up and selected has in all. Ray must be up."""
    import ray

    wanted = selector(placed)
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and matches(node["Labels"], wanted)]
