"""What `mixray plan --cluster FILE` adds: which nodes the run will ask for, stage by stage, and what they cost at most."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from mixray.errors import ClusterError
from mixray.recipe import Recipe
from mixray.terminal import print_table

if TYPE_CHECKING:
    from mixray.clusters import Cluster, Fitted, StageNeeds
    from mixray.graph import Graph


@dataclass(frozen=True)
class OnCluster:
    """A run on a cluster: what each stage asks for and takes."""

    cluster: Cluster
    needs: list[StageNeeds]
    taken: list[Fitted]

    @classmethod
    def of(cls, recipe: Recipe, graph: Graph, path: str, is_reported: bool) -> OnCluster:
        """Hold what is to come of a run against a cluster file; `is_reported` says that its report is there.

        Raises:
            ClusterError: the file describes no cluster.
        """
        from mixray import clusters

        cluster, needs = clusters.read_cluster(path), clusters.stages_to_come(recipe, graph, is_reported)
        return cls(cluster, needs, [clusters.fitted(stage, cluster) for stage in needs])

    @property
    def fits(self) -> bool:
        """Whether every stage can run."""
        return not any(stage.problems for stage in self.taken)

    @property
    def dearest(self) -> Fitted | None:
        """The stage that costs most an hour; None where there is nothing to do, or not every price is known."""
        told = [stage for stage in self.taken if stage.most_per_hour is not None]
        return max(told, key=lambda stage: stage.most_per_hour or 0) if len(told) == len(self.taken) and told else None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        asked = {needs.stage: needs.demands for needs in self.needs}
        return {
            "name": self.cluster.name,
            "fits": self.fits,
            "currency": self.cluster.currency,
            "prices": self.cluster.prices,
            "head_per_hour": self.cluster.head.per_hour,
            "most_per_hour": self.dearest.most_per_hour if self.dearest else None,
            "stages": [
                asdict(stage)
                | {
                    "asks": [
                        {
                            "what": demand.what,
                            "bundle": dict(demand.bundle),
                            "labels": dict(demand.labels),
                            "fewest": demand.fewest,
                            "most": demand.most,
                        }
                        for demand in asked[stage.stage]
                    ]
                }
                for stage in self.taken
            ],
        }

    def check(self) -> None:
        """Refuse a run that cannot fit.

        Raises:
            ClusterError: a stage cannot run there.
        """
        problems = [f"{stage.stage}: {problem}" for stage in self.taken for problem in stage.problems]
        if problems:
            raise ClusterError("The recipe does not fit the cluster", seen=" | ".join(problems), do="change what the message names")

    def show(self) -> None:
        """Print the stages with their nodes, and what they would take and cannot have."""
        table = Table("stage", "asks for", "nodes at most", self._money, title=f"on cluster {self.cluster.name}", **_PLAIN)
        for needs, stage in zip(self.needs, self.taken, strict=True):
            nodes = ", ".join(f"{number} {name}" for name, number in stage.nodes.items())
            table.add_row(needs.stage, escape(_asked(needs)), nodes or "-", "does not fit" if stage.problems else _cost(stage))
        if self.taken:
            print()
            print_table(table)
        for stage in self.taken:
            for note in stage.notes:
                print(f"{stage.stage}: {note}: the run takes what there is")

    @property
    def _money(self) -> str:
        return f"{self.cluster.currency} an hour".strip()

    def summary(self) -> str:
        """Return the cost in words, of a run that fits."""
        if not self.taken:
            return f"Nothing is left to make: the run asks {self.cluster.name} for no node."
        told = f"It fits. Before and after the run the head alone is up: {_money(self.cluster.head.per_hour)} {self._money}."
        if self.dearest:
            told += f" At most {_money(self.dearest.most_per_hour)} while {self.dearest.stage} runs, head and driver included"
            told += ", more for minutes where nodes of the stage before are still idle."
        return told + f" Prices: {self.cluster.prices}."


_PLAIN: dict[str, Any] = {"title_justify": "left", "box": None, "pad_edge": False}


def _asked(needs: StageNeeds) -> str:
    """Return the demands in words, but those that every stage has."""
    return "; ".join(
        f"{demand.fewest if demand.fewest == demand.most else f'{demand.fewest} to {demand.most}'} x ({demand.told})"
        for demand in needs.demands
        if demand.what not in ("driver", "reading")
    )


def _cost(stage: Fitted) -> str:
    if stage.per_hour is None or stage.most_per_hour is None:
        return "unknown"
    first, most = _money(stage.per_hour), _money(stage.most_per_hour)
    return first if first == most else f"{first} to {most}"


def _money(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.2f}"
