"""Overlaps: training problems that repeat one another, or that a benchmark asks."""

from mixray.overlaps.stage import handle, run

__all__ = ["handle", "run"]
