"""Who is taught."""

from __future__ import annotations

from pydantic import Field

from mixray.recipe.part import Part


class Student(Part):
    """A small model to be taught."""

    model: str = Field(description="`tiny:<name>`, a model folder, or a hub id")
