"""Sources of problems: the tiny world, files and hub data sets of several formats, read into one schema.

In: a `ProblemSet` of the recipe. Out: an artefact of kind `problems` with the good rows in parts and, beside them, every row that was
set aside and why.
"""

from mixray.problems.stage import handle, read, run

__all__ = ["handle", "read", "run"]
