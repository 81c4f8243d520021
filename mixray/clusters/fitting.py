"""Whether what a run asks for fits a cluster, which nodes it will take and roughly what they cost.

In: stages and a cluster. Out: for each stage the nodes it takes, or why it cannot run. A forecast by Ray's rules as far as they are
written down: labels and sizes are exact; which of several types Ray takes first, it weighs in more ways.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixray.clusters.cluster_file import Cluster, NodeType
from mixray.clusters.stages import Demand, StageNeeds
from mixray.placement import matches

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Fitted:
    """What one stage takes of a cluster."""

    stage: str
    nodes: dict[str, int]
    """By type, where Ray has its first choice."""
    per_hour: float | None
    """Of these nodes and the head; None where a price is missing."""
    most_per_hour: float | None
    """Where it gets the dearest types that fit, such as no spot machine at all."""
    problems: tuple[str, ...]
    """Why it cannot run; empty where it can."""
    notes: tuple[str, ...]
    """What it would take and cannot have."""


Order = Callable[[NodeType], tuple[float, ...]]


def _first_choice(kind: NodeType) -> tuple[float, ...]:
    return -kind.priority, math.inf if kind.per_hour is None else kind.per_hour


def _dearest(kind: NodeType) -> tuple[float, ...]:
    return (-(kind.per_hour or 0.0),)


class _Nodes:
    """Nodes that are up, filled place by place; the head always is, and has room where it was given CPUs or GPUs."""

    def __init__(self, cluster: Cluster, order: Order) -> None:
        self.cluster, self.order = cluster, order
        self.up: list[tuple[NodeType, dict[str, float]]] = [(cluster.head, dict(cluster.head.resources))]
        self.count: Counter[str] = Counter()

    def place(self, demand: Demand) -> bool:
        """Find one place: on a node that is up, or on a new one; as Ray does, not on GPU nodes for what needs none, if there are others."""
        kinds = [kind for kind in (self.cluster.head, *self.cluster.workers) if fits_alone(kind, demand)]
        if not dict(demand.bundle)["GPU"]:
            kinds = [kind for kind in kinds if not kind.resources["GPU"]] or kinds
        for kind, left in self.up:
            if kind in kinds and all(left[name] + _ROUNDING >= amount for name, amount in demand.bundle):
                self._take(left, demand)
                return True
        for kind in sorted((kind for kind in kinds if kind in self.cluster.workers), key=self.order):
            if self.count[kind.name] < kind.most and self.count.total() < self.cluster.most:
                self.up.append((kind, dict(kind.resources)))
                self.count[kind.name] += 1
                self._take(self.up[-1][1], demand)
                return True
        return False

    def _take(self, left: dict[str, float], demand: Demand) -> None:
        for name, amount in demand.bundle:
            left[name] -= amount

    def per_hour(self) -> float | None:
        """What all of them cost, with the head."""
        prices = [kind.per_hour for kind, _ in self.up]
        return None if None in prices else sum(price for price in prices if price is not None)


def fits_alone(kind: NodeType, demand: Demand) -> bool:
    """Whether an empty node of this type holds one place."""
    return matches(kind.labels, dict(demand.labels)) and all(kind.resources[name] >= amount for name, amount in demand.bundle)


def fitted(needs: StageNeeds, cluster: Cluster) -> Fitted:
    """Return what a stage takes of a cluster, or why it cannot run there."""
    fewest = _filled(needs.demands, cluster, _first_choice, lambda demand: demand.fewest)[1]
    nodes, placed = _filled(needs.demands, cluster, _first_choice, lambda demand: demand.most)
    dearest, _ = _filled(needs.demands, cluster, _dearest, lambda demand: demand.most)
    problems = [_why_not(demand, fewest[demand], cluster) for demand in needs.demands if fewest[demand] < demand.fewest]
    notes = [
        f"{demand.what}: room for {placed[demand]} of {demand.most}"
        for demand in needs.demands
        if demand.fewest <= placed[demand] < demand.most
    ]
    return Fitted(needs.stage, dict(sorted(nodes.count.items())), nodes.per_hour(), dearest.per_hour(), tuple(problems), tuple(notes))


def _filled(demands: Sequence[Demand], cluster: Cluster, order: Order, wanted: Callable[[Demand], int]) -> tuple[_Nodes, Counter[Demand]]:
    """Place so many of each demand, all of what a stage must have before anything it may have, and the large before the small."""
    nodes, placed = _Nodes(cluster, order), Counter[Demand]()
    ordered = sorted(demands, key=lambda demand: [-amount for _, amount in reversed(demand.bundle)])
    for least in (True, False):
        for demand in ordered:
            goal = min(demand.fewest, wanted(demand)) if least else wanted(demand)
            while placed[demand] < goal and nodes.place(demand):
                placed[demand] += 1
    return nodes, placed


def _why_not(demand: Demand, num_placed: int, cluster: Cluster) -> str:
    where = f"{demand.what}: {demand.fewest} x ({demand.told})"
    change = f"lower or change {demand.key}" if demand.key else "add nodes"
    on_head = [cluster.head] if any(cluster.head.resources.values()) else []
    kinds = [
        f"{kind.name} (at most {1 if kind in on_head else kind.most})" for kind in (*on_head, *cluster.workers) if fits_alone(kind, demand)
    ]
    if kinds:
        most = f"with at most {cluster.most} nodes in all" + (" beside the head" if on_head else "")
        return f"{where} finds room for {num_placed} on {', '.join(kinds)}, {most}: raise max_workers, or {change}"
    reasons = "; ".join(_lacks(kind, demand) for kind in (*on_head, *cluster.workers)) or "there are no node types but the head"
    return f"{where} fits no node type: {reasons}: {change}, or add such a node type"


def _lacks(kind: NodeType, demand: Demand) -> str:
    small = [f"{kind.resources[name]:g} {name}" for name, amount in demand.bundle if kind.resources[name] < amount]
    other = [f"{key}={kind.labels.get(key, 'none')}" for key, value in demand.labels if not matches(kind.labels, {key: value})]
    return f"{kind.name} has {', '.join([*small, *other])}"
