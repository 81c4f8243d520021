"""How the arms of one student look where several lines share a plot: a colour and a dash each, the same in every such plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from mixray.report import plots

Row = Mapping[str, Any]

ROLES = ("mix", "easy", "hard")
COLOURS = ("line-1", "line-2", "line-3", "line-4", "line-5", *ROLES)
DASHES = ("solid", "dashed", "dotted")


@dataclass(frozen=True)
class Look:
    """Class of the colour and class of the dash."""

    colour: str
    dash: str


def of_student(groups: Sequence[Row]) -> dict[str, Look]:
    """Return the look of every arm of one student by label; every one differs until all colours and dashes are taken.

    The ends of a blend have the colours they have in every other plot, the first blend solid, the next dashed; so has its first mixture.
    """
    free = [Look(colour, dash) for dash, colour in product(DASHES, COLOURS)]
    whole = list(free)
    blends = list(dict.fromkeys(group["blend"] for group in groups if group["mixture"] is not None))
    found = {}
    for group in groups:
        if group["mixture"] is None:
            found[group["label"]] = Look("untouched", DASHES[0])
            continue
        wanted = Look(plots.role(group), DASHES[blends.index(group["blend"]) % len(DASHES)])
        kept = [look for look in free if look.colour not in ROLES] or free
        look = wanted if wanted in free else kept[0]
        free = [other for other in free if other != look] or list(whole)
        found[group["label"]] = look
    return found
