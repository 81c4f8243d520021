"""Students merged in weight space: the twin of mixing the rows they are trained on."""

from mixray.training.merging.stage import handle, run

__all__ = ["handle", "run"]
