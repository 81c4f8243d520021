"""Mixing: from verified pools to the rows one student is trained on."""

from mixray.mixing.mixture import Ingredients, handle, run

__all__ = ["Ingredients", "handle", "run"]
