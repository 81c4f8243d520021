"""From a mixture to a student: tokens, the batch plan, DeepSpeed ZeRO training on Ray Train, a Hugging Face folder."""

from mixray.training.stage import handle, run

__all__ = ["handle", "run"]
