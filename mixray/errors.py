"""One family of errors, each telling what happened, the value seen, the rule it broke and what to do.

Every error survives pickling, because most of them are raised inside Ray workers and told to the user by the driver.
"""

from __future__ import annotations

from typing import Any


class MixrayError(Exception):
    """The root of every error mixray raises on purpose.

    Args:
        what: what happened, one sentence without a full stop.
        seen: the offending value, shown as it is.
        rule: what would have been right.
        do: what the user can do now.
    """

    exit_code = 1

    def __init__(self, what: str, *, seen: Any = None, rule: str | None = None, do: str | None = None) -> None:
        self.what, self.seen, self.rule, self.do = what, seen, rule, do
        super().__init__(what)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.what, self.seen, self.rule, self.do)

    def __str__(self) -> str:
        parts = [self.what]
        if self.seen is not None:
            parts.append(f"seen: {self.seen}")
        if self.rule:
            parts.append(f"rule: {self.rule}")
        if self.do:
            parts.append(f"do: {self.do}")
        return "; ".join(parts)


def _rebuild(kind: type[MixrayError], what: str, seen: Any, rule: str | None, do: str | None) -> MixrayError:
    return kind(what, seen=seen, rule=rule, do=do)


def by_interrupt(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C, or came of it: Python before 3.12 wraps what strikes a class while it is defined, as in an import."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


class RecipeError(MixrayError):
    """The recipe, or the command line that changes it, is wrong; told before anything starts."""

    exit_code = 2


class StoreError(MixrayError):
    """An artefact cannot be written, or is not what its manifest says."""


class SourceError(MixrayError):
    """A file or hub data set of rows cannot be read."""


class ProblemError(MixrayError):
    """A problem set cannot be read, or holds no usable problem."""


class TeacherError(MixrayError):
    """A teacher cannot be loaded, or too many of its answers failed."""


class VerifyError(MixrayError):
    """The verifier itself failed; a trace it cannot judge is a verdict, not an error."""


class MixtureError(MixrayError):
    """A mixture cannot be made from the pools at hand."""


class TrainingError(MixrayError):
    """A student cannot be trained as the recipe asks."""


class ServingError(MixrayError):
    """The endpoint cannot be brought up."""


class EvaluationError(MixrayError):
    """A student could not be asked, or did not answer."""


class ClusterError(MixrayError):
    """Ray cannot be started or reached, or lacks what a stage needs."""
