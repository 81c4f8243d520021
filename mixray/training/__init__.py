"""From a mixture to a student: tokens, the batch plan, DeepSpeed ZeRO training on Ray Train, a Hugging Face folder; merges of two."""

from mixray.training import merging
from mixray.training.fit import arms_at_once
from mixray.training.stage import check, check_students, handle, run

__all__ = ["arms_at_once", "check", "check_students", "handle", "merging", "run"]
