"""Reading a recipe: a YAML file or a shipped recipe, with overrides.

In: a path or a name, and `--set key=value` overrides. Out: a `Recipe`, or a `RecipeError` that names the key, the value and the rule,
before anything is started.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mixray.errors import RecipeError
from mixray.recipe import KINDS_OF_TEACHER, Part, Recipe, nearest
from mixray.recipe.overrides import overridden
from mixray.recipe.training import read_json

# Of a bucket's address a container may stand before the @ (abfs://container@account), with no password.
_CREDENTIALS = re.compile(r"(?P<scheme>https?://)[^/?#@\s]*@|(?P<other>[a-z][\w+.-]*://)[^/?#@\s:]*:[^/?#@\s]*@", re.IGNORECASE)


def shipped_recipes() -> list[str]:
    """Return the names of the recipes inside the package: `tiny`, and `paper/e1-long-gap` of those in a folder."""
    return sorted(_named(resources.files("mixray") / "recipes"))


def headline(name: str) -> str:
    """Return the first line of a shipped recipe's comment, which says what it is for."""
    return _shipped(name).partition("\n")[0].removeprefix("#").strip()


def _named(folder: Traversable, above: str = "") -> Iterator[str]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _named(item, f"{above}{item.name}/")
        elif item.name.endswith(".yaml"):
            yield above + item.name.removesuffix(".yaml")


def _shipped(name: str) -> str:
    return resources.files("mixray").joinpath("recipes", *f"{name}.yaml".split("/")).read_text(encoding="utf-8")


def load_recipe(source: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file, or a shipped recipe by name, and apply `key=value` overrides.

    Raises:
        RecipeError: the file is missing or no YAML, a key is unknown, or a value breaks its rule.
    """
    return parse_recipe(_read(str(source)), overrides or [])


def plain_recipe(source: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Return a recipe as the plain data that `parse_recipe` takes, overrides applied: what travels to where it is run.

    Raises:
        RecipeError: as `load_recipe` does.
    """
    data = _read(str(source))
    parse_recipe(copy.deepcopy(data), overrides or [])
    return _with_configurations(overridden(data, overrides or []))


def _with_configurations(data: Any) -> Any:
    """Return a recipe with the content of DeepSpeed's configurations in the place of their files, which need not be where it is run."""
    if not isinstance(data, dict):
        return data
    return {key: read_json(value) if key == "deepspeed" else _with_configurations(value) for key, value in data.items()}


def parse_recipe(data: Any, overrides: list[str]) -> Recipe:
    """Validate a recipe given as plain data (see `load_recipe`)."""
    if not isinstance(data, dict):
        raise RecipeError("A recipe must be a mapping of keys", seen=type(data).__name__, do="see `mixray schema`")
    whole = _whole(data, overrides)
    try:
        return Recipe.model_validate(whole)
    except ValidationError as error:
        raise _explain(error) from None


def parse_part(kind: type[Part], data: dict[str, Any], overrides: list[str] | None = None) -> Any:
    """Validate one piece of a recipe, given on a command line; what is None is left to its default.

    Raises:
        RecipeError: a key is unknown, or a value breaks its rule.
    """
    data = {key: value for key, value in data.items() if value is not None}
    whole = _whole(data, overrides or [])
    try:
        return kind.model_validate(whole)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or kind.__name__
        raise RecipeError(f"An option is wrong: {key}", seen=first.get("input"), rule=first["msg"], do="see --help") from None


def _whole(data: dict[str, Any], overrides: list[str]) -> Any:
    """Return what is validated: the data with its overrides, and no secret among them."""
    whole = overridden(data, overrides)
    _refuse_credentials_within(whole)
    return whole


def _refuse_credentials_within(value: Any, key: str = "") -> None:
    """Refuse addresses with a name or a password in them, wherever they stand in plain data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, each in items:
        _refuse_credentials_within(each, f"{key}.{name}" if key else str(name))
    if isinstance(value, str):
        refuse_credentials(value, key)


def refuse_credentials(address: str, where: str) -> None:
    """Refuse an address with a name or a password in it, and do not repeat these; other text is none of this one's business.

    Raises:
        RecipeError: it holds one.
    """
    if found := _CREDENTIALS.match(address):
        raise RecipeError(
            f"An address holds a name or a password: {where}",
            seen=f"{found['scheme'] or found['other']}…@{address[found.end() :]}",
            rule="recipes, manifests, jobs and reports are shown to others",
            do="name the variable that holds an endpoint's key with `key_env`; what other addresses need belongs into the environment, "
            "as FSSPEC_SFTP_PASSWORD does for sftp://",
        )


def _read(source: str) -> Any:
    path = Path(source)
    if source in shipped_recipes():
        text = _shipped(source)
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        known = shipped_recipes()
        raise RecipeError(
            "There is no such recipe",
            seen=source,
            rule="a file, or a shipped recipe",
            do="see `mixray recipes`, or check the path" + nearest(source, [*known, *(name.rpartition("/")[2] for name in known)]),
        )
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError("The recipe is not valid YAML", seen=str(error).replace("\n", " "), do=f"mend {source}") from None


def _explain(error: ValidationError) -> RecipeError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part not in KINDS_OF_TEACHER)
    seen = first.get("input")
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _keys_at(first["loc"][:-1])
        rule = f"the keys here are {known}" + nearest(str(first["loc"][-1]), known)
        return RecipeError(f"The recipe has an unknown key `{key}`", seen=json.dumps(seen, default=str), rule=rule)
    if first["type"] == "value_error" and not isinstance(seen, str | int | float):
        where = f"is wrong at `{key}`" if first["loc"] else "names what does not exist or does not fit"
        return RecipeError(f"The recipe {where}", rule=rule)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return RecipeError(f"The recipe is wrong at `{key}`{more}", seen=json.dumps(seen, default=str), rule=rule)


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the field names valid at a place of the recipe, following names of teachers and the like."""
    whole: Any = Recipe.model_json_schema()
    node = whole
    for part in location:
        if part in KINDS_OF_TEACHER:
            return sorted(KINDS_OF_TEACHER[str(part)].model_fields)
        steps = [one.get("properties", {}).get(part) or _value(one) for one in _alternatives(node, whole)]
        node = next(filter(None, steps), {})
    return sorted({key for one in _alternatives(node, whole) for key in one.get("properties", {})})


def _value(node: dict[str, Any]) -> Any:
    return next(iter(node.get("patternProperties", {}).values()), None)


def _alternatives(node: dict[str, Any], whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a place's schema, or all that it may be: a name, a mapping, nothing."""
    if "$ref" in node:
        node = whole["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    for one in node.get("anyOf", []):
        yield from _alternatives(one, whole)
    yield node
