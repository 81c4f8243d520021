"""`mixray serve`: students behind one OpenAI-compatible endpoint, until Ctrl-C or as a configuration for a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from mixray.errors import RecipeError
from mixray.models import name_of, resolve
from mixray.options import SetOption, StorageOption, log_path
from mixray.progress import Display
from mixray.recipe import NAME, Recipe, Serve
from mixray.recipe.overrides import overridden
from mixray.recipe_file import load_recipe, parse_part, shipped_recipes
from mixray.store import Store
from mixray.terminal import library_noise_in

RECIPE_ENDINGS = (".yaml", ".yml")


def serve(
    what: Annotated[
        list[str], typer.Argument(metavar="RECIPE|STUDENT...", help="a recipe, or model folders, hub ids, tiny:<name>, name=folder")
    ],
    storage: StorageOption = "./runs",
    overrides: SetOption = None,
    host: Annotated[str | None, typer.Option(help="address to listen on; the recipe's where unset")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on; the recipe's where unset")] = None,
    keys_file: Annotated[str | None, typer.Option(help="a key, or name:key, on each line; MIXRAY_API_KEY where unset")] = None,
    config_only: Annotated[bool, typer.Option("--config-only", help="print what `serve deploy` and KubeRay take; start nothing")] = False,
    out: Annotated[Path | None, typer.Option(help="where the configuration goes, with --config-only")] = None,
) -> None:
    """Serve a recipe's trained students and the untouched ones, or any models, behind one OpenAI-compatible endpoint until Ctrl-C."""
    given = {"host": host, "port": port, "keys_file": keys_file}
    changed = [*(overrides or []), *(f"serve.{key}={value}" for key, value in given.items() if value is not None)]
    recipe = _recipe(what, changed)
    models = {} if recipe else _models(what)
    settings = recipe.serve if recipe else _settings(changed)
    name = recipe.name if recipe else "students"
    with library_noise_in(log_path(storage, f"{name}-serve")) as terminal:
        from mixray import pipeline

        if recipe:
            models = pipeline.students_of(recipe, Store(storage))
        if config_only:
            terminal.answer(_configured(models, settings, out))
            return
        if settings.access_log is None:
            settings = settings.model_copy(update={"access_log": str(log_path(storage, f"{name}-access"))})
        with Display(terminal.err) as display:
            pipeline.serve(models, settings, display, {"student_prompt": recipe.student_prompt} if recipe else None)


def _configured(models: dict[str, str], settings: Serve, out: Path | None) -> str:
    from mixray.serving import deploy

    text = deploy.as_yaml(models, settings)
    if out is None:
        return text
    out.write_text(text, encoding="utf-8")
    return f"{len(models)} students -> {out}"


def _recipe(what: list[str], overrides: list[str]) -> Recipe | None:
    """Return the recipe that is named; None where models are."""
    recipes = [one for one in what if one in shipped_recipes() or one.endswith(RECIPE_ENDINGS)]
    if recipes and len(what) > 1:
        raise RecipeError("A recipe is served alone", seen=" ".join(what), do="name one recipe, or only models")
    return load_recipe(recipes[0], overrides) if recipes else None


def _models(what: list[str]) -> dict[str, str]:
    models: dict[str, str] = {}
    for one in what:
        name, model = _named(one)
        if name in models:
            raise RecipeError("Two students have one name", seen=name, do="name them: one=FOLDER other=FOLDER")
        models[name] = resolve(model)
    return models


def _settings(overrides: list[str]) -> Serve:
    data: dict[str, Any] = overridden({"serve": {}}, overrides)
    if set(data) != {"serve"}:
        raise RecipeError("Without a recipe there are only settings of serve", seen=min(set(data) - {"serve"}))
    settings: Serve = parse_part(Serve, data["serve"])
    return settings


def _named(one: str) -> tuple[str, str]:
    """Return the name a model is asked by, and the model."""
    name, equals, model = one.partition("=")
    if not equals:
        name, model = name_of(one), one
    if not re.fullmatch(NAME, name):
        raise RecipeError("A student's name cannot be used", seen=name, rule=f"it must match {NAME}", do="write name=FOLDER")
    return name, model
