"""Where in a cluster something runs: by labels of nodes, and by their GPU. No hash holds it: where a thing runs is not what it is."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from mixray.recipe.part import Part

ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""What Ray labels nodes with by itself."""
_WORD = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_KEY = re.compile(rf"(?:[a-zA-Z0-9.-]{{1,253}}/)?{_WORD}")
_VALUE = re.compile(rf"!?{_WORD}|!?in\({_WORD}(?:, ?{_WORD})*\)")


def _is_selector(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of a label: letters, digits, dashes, dots and underscores, with a prefix/ or without")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"{value!r} does not select labels: write a value, !value, in(one, other) or !in(one, other)")
    return labels


class Placed(Part):
    """What can be sent to nodes of a kind."""

    labels: Annotated[dict[str, str], AfterValidator(_is_selector)] = Field(
        default_factory=dict,
        description="of the nodes it may run on, such as {mixray/role: teacher}; a value can be !value, in(one, other) or !in(one, other); "
        "a machine by itself runs everything",
    )
    accelerator_type: Annotated[str, Field(pattern=rf"^{_WORD}$")] | None = Field(
        None, description=f"their GPU by Ray's name, such as L4 or A100: short for the label {ACCELERATOR_LABEL}"
    )

    @model_validator(mode="after")
    def _says_it_once(self) -> Placed:
        if self.accelerator_type is not None and ACCELERATOR_LABEL in self.labels:
            raise ValueError(f"give accelerator_type or the label {ACCELERATOR_LABEL}, not both")
        return self


PLACEMENT = frozenset(Placed.model_fields)
"""The keys that hashes leave out."""
