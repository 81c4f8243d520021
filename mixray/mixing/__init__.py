"""Mixing: from verified pools to the rows one student is trained on."""

from mixray.mixing.mixture import Ingredients, handle, run
from mixray.mixing.overlap_stage import handle as overlaps_handle
from mixray.mixing.overlap_stage import run as find_overlaps

__all__ = ["Ingredients", "find_overlaps", "handle", "overlaps_handle", "run"]
