"""Clusters as their files describe them, and whether a recipe fits one: `mixray plan --cluster FILE`. Starts nothing and asks nobody."""

from mixray.clusters.cluster_file import Cluster, NodeType, read_cluster
from mixray.clusters.fitting import Fitted, fitted
from mixray.clusters.stages import Demand, StageNeeds, stages_to_come

__all__ = ["Cluster", "Demand", "Fitted", "NodeType", "StageNeeds", "fitted", "read_cluster", "stages_to_come"]
