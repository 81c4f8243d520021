"""Evaluation: students asked over HTTP on held-out problems, every sample kept, truncation counted apart from wrong."""

from mixray.evaluation.score import handle, run

__all__ = ["handle", "run"]
