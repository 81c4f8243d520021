"""One model asked by itself, without a recipe."""

from __future__ import annotations

from pydantic import Field

from mixray.recipe.evaluation import Evaluate
from mixray.recipe.part import Name, Part, PromptTemplate
from mixray.recipe.serving import Serve
from mixray.recipe.students import Student


class Alone(Part):
    """Whom `mixray evaluate --model` asks, and how: the parts of a recipe that asking needs."""

    name: Name
    seed: int = Field(0, description="of sampling")
    student: Student
    student_prompt: PromptTemplate = "{question}"
    serve: Serve = Field(default_factory=lambda: Serve(port=0))
    evaluate: Evaluate
