"""The recipe as frozen models: every key, its rule and its description; the only home of every default.

`recipe_file.py` reads them from YAML. A recipe knows nothing of Ray.
"""

from mixray.recipe.alone import Alone
from mixray.recipe.benchmarks import BENCHMARKS, Benchmark
from mixray.recipe.evaluation import Evaluate
from mixray.recipe.merges import Merge, Merging
from mixray.recipe.mixtures import Blend
from mixray.recipe.part import NAME, Name, Part, PositiveInt, PromptTemplate, Share, nearest
from mixray.recipe.placement import ACCELERATOR_LABEL, PLACEMENT, Placed
from mixray.recipe.problems import ProblemFormat, ProblemSet
from mixray.recipe.reporting import Report
from mixray.recipe.serving import Limits, Serve
from mixray.recipe.shifts import Shifts
from mixray.recipe.students import Student
from mixray.recipe.teachers import (
    KINDS_OF_TEACHER,
    AnyTeacher,
    Asked,
    AskedTeacher,
    ImportedTeacher,
    LlmJudge,
    Price,
    RemoteTeacher,
    Teacher,
    TraceColumns,
    Until,
)
from mixray.recipe.training import MIXED, Lora, Train
from mixray.recipe.whole import Recipe

__all__ = [
    "ACCELERATOR_LABEL",
    "BENCHMARKS",
    "KINDS_OF_TEACHER",
    "MIXED",
    "NAME",
    "PLACEMENT",
    "Alone",
    "AnyTeacher",
    "Asked",
    "AskedTeacher",
    "Benchmark",
    "Blend",
    "Evaluate",
    "ImportedTeacher",
    "Limits",
    "LlmJudge",
    "Lora",
    "Merge",
    "Merging",
    "Name",
    "Part",
    "Placed",
    "PositiveInt",
    "Price",
    "ProblemFormat",
    "ProblemSet",
    "PromptTemplate",
    "Recipe",
    "RemoteTeacher",
    "Report",
    "Serve",
    "Share",
    "Shifts",
    "Student",
    "Teacher",
    "TraceColumns",
    "Train",
    "Until",
    "nearest",
]
