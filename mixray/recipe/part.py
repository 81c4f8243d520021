"""What every part of a recipe is made of: the types of its values, and models that refuse what they do not know."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[a-z0-9][a-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]


def as_tuple_of(item: Any) -> BeforeValidator:
    """Return what takes one item for a tuple of it, and says so in the JSON schema."""
    return BeforeValidator(_as_tuple, json_schema_input_type=item | tuple[item, ...])


def as_pair_of(first: Any, second: Any = None) -> BeforeValidator:
    """Return what takes one number for a pair of it twice, and says so in the JSON schema; `second` where it has another rule."""
    return _of_pair(first, second or first)


def _of_pair(first: Any, second: Any) -> BeforeValidator:
    return BeforeValidator(_as_pair, json_schema_input_type=second | tuple[first, second])


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value if isinstance(value, tuple) else (value,)


def _as_pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _asks(template: str) -> str:
    if "{question}" not in template:
        raise ValueError("must contain {question}")
    return template


PromptTemplate = Annotated[str, AfterValidator(_asks)]


class Part(BaseModel):
    """A frozen piece of the recipe that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def may_lack(*fields: str) -> Callable[[dict[str, Any]], None]:
    """Return what tells a JSON schema that a preset can give these fields, which a finished part must have."""

    def loosen(schema: dict[str, Any]) -> None:
        schema["required"] = [name for name in schema.get("required", []) if name not in fields]

    return loosen


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known word that is close to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
