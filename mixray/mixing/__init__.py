"""Mixing: from two verified pools to the rows one student is trained on."""

from mixray.mixing.mixture import handle, run

__all__ = ["handle", "run"]
