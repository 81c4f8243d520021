"""Recipes sent to a Ray cluster: what travels, what the job is called, who runs it, and how it is followed."""

from mixray.submitting.cluster import Cluster
from mixray.submitting.environments import ENVIRONMENTS, runtime_environment
from mixray.submitting.follow import exit_code, follow
from mixray.submitting.order import Order, submitted

__all__ = ["ENVIRONMENTS", "Cluster", "Order", "exit_code", "follow", "runtime_environment", "submitted"]
