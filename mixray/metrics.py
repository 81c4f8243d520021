"""What a run exports for Prometheus, through Ray: the one table of names, and the two ways to say a number.

In: numbers from teachers, training workers and evaluation. Out: metrics of the node's agent, each as `ray_<name>` (a counter as
`ray_<name>_total`), with Ray's own labels beside ours; `cluster/grafana/mixray.json` draws them. Without Ray nothing happens. A number
costs under two microseconds without Ray (measured), and is said per block, step or answer, never per token.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any, Literal

from mixray.ids import run_id

PREFIX = "ray_"
"""What Ray puts before each name."""
RUN_TAG = "run"
"""What every metric is told by beside its own tags."""


@dataclass(frozen=True)
class Metric:
    """One exported number."""

    kind: Literal["count", "level"]
    """A count only grows; a level is what it is now."""
    told: str
    tags: tuple[str, ...]

    def exported(self, name: str) -> str:
        """Return what Prometheus calls it."""
        return f"{PREFIX}{name}" + ("_total" if self.kind == "count" else "")


METRICS = {
    "mixray_teacher_prompt_tokens": Metric("count", "tokens that went into a teacher", ("teacher",)),
    "mixray_teacher_response_tokens": Metric("count", "tokens that a teacher answered", ("teacher",)),
    "mixray_traces": Metric("count", "answers of a teacher, judged and written", ("teacher", "verdict")),
    "mixray_teacher_failures": Metric("count", "answers cut off, empty, looping, garbled or failed", ("teacher", "status")),
    "mixray_teacher_cost": Metric("count", "a teacher's tokens at the recipe's price, without replica hours", ("teacher", "currency")),
    "mixray_teacher_queue": Metric("level", "problems that one actor has taken and not answered yet", ("teacher",)),
    "mixray_problems_waiting": Metric("level", "problems that a teacher has not answered yet", ("teacher",)),
    "mixray_training_step": Metric("level", "steps taken", ("arm",)),
    "mixray_training_loss": Metric("level", "mean loss over the last step's target tokens", ("arm",)),
    "mixray_training_grad_norm": Metric("level", "gradient norm before clipping", ("arm",)),
    "mixray_training_tokens_per_second": Metric("level", "speed of the last step, all workers", ("arm",)),
    "mixray_training_mfu": Metric("level", "share of the GPUs' peak that was useful work", ("arm",)),
    "mixray_training_tokens": Metric("count", "tokens trained on", ("arm",)),
    "mixray_student_answers": Metric("count", "answered requests of an evaluation", ("student", "finish_reason")),
    "mixray_student_response_tokens": Metric("count", "tokens that a student answered", ("student",)),
}


def count(name: str, amount: float, **tags: str) -> None:
    """Add to a count."""
    if amount > 0 and _is_on():
        _made(name).inc(amount, tags | {RUN_TAG: run_id()})


def level(name: str, value: float, **tags: str) -> None:
    """Say what a level is now."""
    if _is_on():
        _made(name).set(value, tags | {RUN_TAG: run_id()})


def _is_on() -> bool:
    ray = sys.modules.get("ray")  # whoever has not imported it is in no cluster
    return ray is not None and bool(ray.is_initialized())


@functools.cache
def _made(name: str) -> Any:
    from ray.util import metrics

    metric = METRICS[name]
    kind = metrics.Counter if metric.kind == "count" else metrics.Gauge
    return kind(name, metric.told, (*metric.tags, RUN_TAG))
