"""How many replicas a student needs, from what its replicas say they are answering.

Requests reach a replica by `wire.py`, so Serve cannot count them itself. Its own rules for delays and bounds go on top of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

ONGOING = "ongoing_requests"


def by_ongoing_requests(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Return the number of replicas at which each has `target_ongoing_requests`; a request that waits for a first replica counts too."""
    told = (context.aggregated_metrics or {}).get(ONGOING, {})
    # Not `total_num_requests`: it counts the gates' looking for replicas, which would keep a student from sleeping.
    ongoing = sum(told.values()) + (context.total_queued_requests or 0)
    return ongoing / context.config.get_target_ongoing_requests(), {}
