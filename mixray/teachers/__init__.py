"""Teachers: language models whose answers make pools."""

from mixray.teachers.generate import handle, run

__all__ = ["handle", "run"]
