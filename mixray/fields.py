"""Paths into rows of any shape: how a recipe names a column that lies within another.

In: a row as its file holds it, and a path such as `origin.answer` or `turns[-1].content`. Out: the value there, or an error that names
what the row has instead.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from mixray.errors import RecipeError

_PATH = re.compile(r"(?:[^.\[\]]+|\[-?\d+\])(?:\.[^.\[\]]+|\[-?\d+\])*")
_STEP = re.compile(r"\[(-?\d+)\]|[^.\[\]]+")
MOST_KEYS_TOLD = 20
MOST_CHARACTERS_TOLD = 60


class NoSuchField(ValueError):
    """A row lacks what a path names."""


def value_at(row: Any, path: str) -> Any:
    """Return what lies at `path` in `row`.

    Args:
        row: mappings and lists, nested in each other.
        path: keys with dots between them, `[i]` for an item of a list (`[-1]` is the last). A key that is spelled like the whole path
            (a column called `a.b`) comes first.

    Raises:
        NoSuchField: there is nothing; the message tells the path and what is there.
        RecipeError: `path` is no path.
    """
    if isinstance(row, Mapping) and path in row:
        return row[path]
    value, walked = row, ""
    for step in _steps(path):
        try:
            value = _inside(value, step)
        except (KeyError, IndexError):
            raise NoSuchField(f"`{path}` is missing: {walked or 'the row'} {_told(value)}") from None
        walked = f"{walked}[{step}]" if isinstance(step, int) else f"{walked}.{step}".removeprefix(".")
    return value


@functools.lru_cache
def _steps(path: str) -> tuple[str | int, ...]:
    if not _PATH.fullmatch(path):
        raise RecipeError("A field's path cannot be read", seen=path, rule="keys with dots between them, [i] for items: a.b[-1].c")
    return tuple(step[0] if step[1] is None else int(step[1]) for step in _STEP.finditer(path))


def _inside(value: Any, step: str | int) -> Any:
    if isinstance(step, str) and isinstance(value, Mapping):
        return value[step]
    if isinstance(step, int) and isinstance(value, list | tuple):
        return value[step]
    raise KeyError(step)


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = [ascii(key)[:MOST_CHARACTERS_TOLD] for key in list(value)[:MOST_KEYS_TOLD]]
        return f"has {', '.join(keys) or 'nothing'}{', ...' if len(value) > MOST_KEYS_TOLD else ''}"
    if isinstance(value, list | tuple):
        return f"is a list of {len(value)}"
    return "is null" if value is None else f"is no mapping but {type(value).__name__}"
