"""What a student's responses have that the untouched student would not have written: each token's rank under the untouched student."""

from mixray.shifts.stage import Answered, handle, run

__all__ = ["Answered", "handle", "run"]
