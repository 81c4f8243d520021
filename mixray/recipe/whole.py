"""Everything one run needs to know, and the rules between its parts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from mixray.recipe.evaluation import Evaluate
from mixray.recipe.merges import Merge
from mixray.recipe.mixtures import Blend
from mixray.recipe.part import Name, Part, PromptTemplate, as_tuple_of, may_lack, nearest
from mixray.recipe.presets import filled_recipe
from mixray.recipe.problems import ProblemSet
from mixray.recipe.reporting import Report
from mixray.recipe.serving import Serve
from mixray.recipe.shifts import Shifts
from mixray.recipe.students import Student, Students
from mixray.recipe.teachers import AnyTeacher, LlmJudge
from mixray.recipe.training import MIXED, Train


class Recipe(Part):
    """Everything one run needs to know."""

    model_config = ConfigDict(json_schema_extra=may_lack("problems", "evaluate"))

    name: Name
    preset: Literal["paper", "lab"] | None = Field(
        None, exclude=True, description="what is not set here comes from it, key by key inside each block"
    )
    seed: int = Field(0, description="of generation, mixing and the bootstrap")
    problems: ProblemSet = Field(description="what the teachers are asked")
    teachers: dict[Name, AnyTeacher]
    judge: LlmJudge | None = Field(None, description="a model's second opinion on the teachers' answers")
    mixtures: dict[Name, Blend]
    students: Students = Field(description="names of shipped students, or {name: student, or what is otherwise in a shipped one}")
    student_prompt: PromptTemplate = Field(
        "{question}", description="the user turn in training and in asking alike; `{question}` is replaced"
    )
    train: Train = Field(default_factory=lambda: Train())
    seeds: Annotated[tuple[int, ...], as_tuple_of(int), Field(min_length=1)] = Field((0,), description="training seeds: an arm for each")
    merges: dict[Name, Merge] = Field({}, description="trained students merged in weight space: further arms")
    serve: Serve = Field(default_factory=lambda: Serve())
    evaluate: Evaluate
    shifts: Shifts | None = Field(None, description="which tokens the arms' responses took that the untouched student would not have")
    report: Report = Field(default_factory=lambda: Report())

    @model_validator(mode="before")
    @classmethod
    def _filled_from_preset(cls, given: Any) -> Any:
        return filled_recipe(given)

    @model_validator(mode="after")
    def _names_exist(self) -> Recipe:
        for part in ("teachers", "mixtures", "students"):
            if not getattr(self, part):
                raise ValueError(f"{part} must name at least one")
        if not any(student.is_taught for student in self.students.values()):
            raise ValueError(
                "students must name at least one that can be trained: one behind an endpoint is asked and never taught; "
                "`mixray evaluate --endpoint` asks one alone"
            )
        for name, student in self.students.items():
            self._check_training_of(name, student)
        for name, blend in self.mixtures.items():
            for pool in blend.names:
                if pool not in self.teachers:
                    raise ValueError(
                        f"mixtures.{name}{blend.key_of(pool)}: no pool is called {pool!r}; the pools are {sorted(self.teachers)}"
                        + nearest(pool, self.teachers)
                    )
        if self.serve.max_model_len is not None and self.evaluate.max_tokens >= self.serve.max_model_len:
            raise ValueError(
                f"evaluate.max_tokens ({self.evaluate.max_tokens}) must leave room for the question in "
                f"serve.max_model_len ({self.serve.max_model_len})"
            )
        for name in self.shifts.benchmarks or () if self.shifts else ():
            if name not in self.evaluate.benchmarks:
                raise ValueError(f"shifts.benchmarks: no benchmark is called {name!r}" + nearest(name, self.evaluate.benchmarks))
        for name in self.train.departures:
            known = [MIXED, *self.mixtures, *self.teachers]
            if name not in known and not any(name.startswith(f"{blend}-") for blend in self.mixtures):
                raise ValueError(f"train.departures: no mixture is called {name!r}" + nearest(name, known))
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from each other, got {list(self.seeds)}")
        return self

    def _check_training_of(self, name: str, student: Student) -> None:
        try:
            own = self.train.for_student(student.train)
            for departure in own.departures:
                own.departing(departure)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(".".join(["students", name, "train", *map(str, first["loc"])]) + f": {first['msg']}") from None
        except ValueError as error:
            raise ValueError(f"students.{name}.train: {error}") from None
