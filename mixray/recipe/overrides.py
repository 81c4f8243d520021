"""`--set key=value`: one value of a recipe changed, while it is still plain data.

A value that a preset gives, or a shipped teacher, student or benchmark, is changed inside what it gives, and the rest stays.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mixray.errors import RecipeError
from mixray.recipe.presets import PRESETS
from mixray.recipe.shipped_models import STUDENTS, TEACHERS

_LISTS_OF_NAMES = (["students"], ["evaluate", "benchmarks"])


def overridden(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return plain data with `key=value` overrides applied to it, in place; `preset` goes first, for the others change what it says.

    Raises:
        RecipeError: an override is no key=value, or goes into a value that has no keys.
    """
    for override in sorted(overrides, key=lambda override: not override.startswith("preset=")):
        _apply(data, override)
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError("An override must read key=value", seen=override, do="for example --set train.epochs=1")
    place: Any = data
    said: Any = _of(PRESETS, data.get("preset"))
    path: list[str] = []
    parts = key.split(".")
    while True:
        path.append(_first_key(parts, [*place, *(said if isinstance(said, Mapping) else ()), *(STUDENTS if path == ["students"] else ())]))
        parts = parts[path[-1].count(".") + 1 :]
        if not parts:
            break
        place, said = _inside(place, said, path)
        if not isinstance(place, dict):
            raise RecipeError("An override names a key inside a value that has none", seen=key, do="see `mixray schema`")
    last = path[-1]
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        place[last] = text


def _first_key(parts: list[str], known: Sequence[Any]) -> str:
    """Return the first key of a path cut at its dots; names may hold dots themselves, as qwen2.5-3b-instruct does."""
    joined = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((key for key in joined if key in known), parts[0])


def _inside(place: dict[str, Any], said: Any, path: list[str]) -> tuple[Any, Any]:
    """Return what lies at a path, made a mapping where a name stands for one, and what is said of it elsewhere."""
    below = _of(said, path[-1])
    if len(path) > 1 and path[-1] not in place and below is not None:
        place[path[-1]] = copy.deepcopy(below)
    found = place.get(path[-1], {})
    if path in _LISTS_OF_NAMES:
        found = [found] if isinstance(found, str) else found
        found = dict.fromkeys(found) if isinstance(found, list) and all(isinstance(name, str) for name in found) else found
    elif _shipped(path) is not None:
        found = {"preset": found} if isinstance(found, str) else {} if found is None else found
        below = _of(_shipped(path), found.get("preset", path[-1])) if isinstance(found, dict) and "model" not in found else below
    elif path[:-1] == ["evaluate", "benchmarks"] and found is None:
        found = {}
    place[path[-1]] = found
    return found, below


def _shipped(path: list[str]) -> Mapping[str, Any] | None:
    """Return what a name at this place of a recipe is a name of."""
    if path[-1] == "teacher" or (len(path) == 2 and path[0] == "teachers"):
        return TEACHERS
    return STUDENTS if len(path) == 2 and path[0] == "students" else None


def _of(said: Any, key: Any) -> Any:
    return said.get(key) if isinstance(said, Mapping) and isinstance(key, str) else None
