"""`mixray evaluate`: ask the students of a recipe, or one model by itself, and show how often they are right."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixray.errors import RecipeError
from mixray.models import name_of
from mixray.options import JsonOption, SetOption, StorageOption, log_path
from mixray.progress import Display
from mixray.recipe import BENCHMARKS, Alone
from mixray.recipe_file import load_recipe, parse_part
from mixray.store import Artefact, Store
from mixray.terminal import harmless, library_noise_in, print_table

COUNTS = ("truncated", "no_answer", "looping", "unknown", "errors")


def evaluate(
    recipe: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="ask what is trained of it, and its untouched students")] = None,
    model: Annotated[
        str | None, typer.Option(help="or one model: `tiny:<name>`, a folder, a hub id; with --endpoint its name there")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="base URL, up to /v1, of any OpenAI-compatible endpoint")] = None,
    key_env: Annotated[str | None, typer.Option(help="the environment variable that holds its key")] = None,
    student: Annotated[str | None, typer.Option(help="or one student of the storage, as `mixray student ls` shows it")] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(metavar="NAME[=FILE]", help="a benchmark by name, from a file if given; repeatable")
    ] = None,
    preset: Annotated[
        Literal["paper", "parity"] | None, typer.Option(help="the paper's prompts, greedy; or the training prompt, sampled")
    ] = None,
    num_problems: Annotated[int | None, typer.Option(min=1, help="of each benchmark; all where unset")] = None,
    prompt: Annotated[str | None, typer.Option(help="the user turn, with {question}, where no preset says; a student's own")] = None,
    name: Annotated[str | None, typer.Option(help="of the scores; the model's where unset")] = None,
    storage: StorageOption = "./runs",
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask what is there and nothing else: no teacher, no training. --set takes evaluate.* and serve.* as in a recipe."""
    if (recipe is not None) + (model is not None) + (student is not None) != 1:
        raise RecipeError("It is not said who is asked", rule="a RECIPE, or --model (with --endpoint), or --student", do="pass one of them")
    store = Store(storage)
    if recipe is not None:
        told = _recipe(recipe, store, storage, overrides)
    else:
        trained = _student(store, student) if student else None
        about = {"model": trained.path if trained else model, "endpoint": endpoint, "key_env": key_env}
        asked = {"benchmarks": _benchmarks(benchmark or [], num_problems)} | ({"preset": preset} if preset else {})
        turn = prompt or (_template(store, trained) if trained else None)
        parts = {"name": name, "student": about, "student_prompt": turn, "evaluate": asked, "serve": {"port": 0}}
        told = _alone(_parsed(parts, trained, overrides), trained, store, storage)
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        _print(told)


def _recipe(recipe: str, store: Store, storage: str, overrides: list[str] | None) -> list[dict[str, Any]]:
    loaded = load_recipe(recipe, overrides)
    with library_noise_in(log_path(storage, f"{loaded.name}-evaluate")) as terminal:
        from mixray import examine

        with Display(terminal.err) as display:
            arms = examine.evaluate(loaded, store, display)
    return [_told(arm.scores, arm.budgets) for arm in arms]


def _parsed(parts: dict[str, Any], trained: Artefact | None, overrides: list[str] | None) -> Alone:
    """Return whom to ask and how, of what was said on the command line; scores have the model's name where none was."""
    about = {key: value for key, value in parts["student"].items() if value is not None}
    name = parts["name"] or name_of(trained.name if trained else str(about["model"]))
    return parse_part(Alone, {**parts, "name": name, "student": about}, overrides)


def _alone(alone: Alone, trained: Artefact | None, store: Store, storage: str) -> list[dict[str, Any]]:
    with library_noise_in(log_path(storage, f"{alone.name}-evaluate")) as terminal:
        from mixray import examine

        with Display(terminal.err) as display:
            return [_told(*examine.evaluate_alone(alone, store, display, trained))]


def _student(store: Store, name: str) -> Artefact:
    from mixray.training import shelf

    return shelf.find(store, name)


def _template(store: Store, trained: Artefact) -> str:
    from mixray.training import shelf

    return shelf.template_of(store, trained)


def _benchmarks(given: list[str], num_problems: int | None) -> dict[str, dict[str, Any]]:
    """Return the benchmarks as a recipe has them: `math500`, or `mine=problems.jsonl`."""
    if not given:
        raise RecipeError("It is not said what is asked", rule="--benchmark names at least one", do="pass --benchmark math500")
    few = {"num_problems": num_problems} if num_problems else {}
    parted = (text.partition("=") for text in given)
    return {name: {"source": source} | few if equals else few if name in BENCHMARKS else {} for name, equals, source in parted}


def _told(scores: Artefact, budgets: Artefact | None) -> dict[str, Any]:
    from mixray import report

    out, intervals = scores.outcome, report.accuracies(scores)
    return {
        "scores": scores.label,
        "benchmarks": {
            name: figures | {key: intervals[name][key] for key in ("low", "high")} for name, figures in out["benchmarks"].items()
        },
        "warnings": out["warnings"],
        "budgets": budgets.outcome["benchmarks"] if budgets else {},
    }


def _print(told: list[dict[str, Any]]) -> None:
    table = Table("model", "benchmark", box=None, pad_edge=False)
    for column in ("right", "95 % interval", "problems", "answers", *(count.replace("_", " ") for count in COUNTS), "tokens"):
        table.add_column(column, justify="right")
    for each in told:
        for name, out in each["benchmarks"].items():
            interval = f"{out['low']:.1%} to {out['high']:.1%}"
            counts = [f"{out[key]:,}" for key in ("num_problems", "num_samples", *COUNTS)]
            cells = (escape(harmless(_name(each))), escape(harmless(name)), f"{out['accuracy']:.1%}", interval, *counts)
            table.add_row(*cells, f"{out['mean_response_tokens']:,.0f}")
    print_table(table)
    _print_budgets(told)
    console = Console(soft_wrap=True)
    for warning in dict.fromkeys(warning for each in told for warning in each["warnings"]):
        console.print(f"[yellow]{escape(harmless(warning))}[/yellow]")


def _print_budgets(told: list[dict[str, Any]]) -> None:
    points = [(_name(each), name, point) for each in told for name, points in each["budgets"].items() for point in points]
    if not points:
        return
    table = Table("\nmodel", "benchmark", box=None, pad_edge=False)
    for column in ("budget", "right", "answers cut", "right of those"):
        table.add_column(column, justify="right")
    for who, name, point in points:
        counts = (f"{point['forced']:,}", f"{point['right_forced']:,}")
        table.add_row(escape(harmless(who)), escape(harmless(name)), f"{point['budget_tokens']:,}", f"{point['accuracy']:.1%}", *counts)
    print_table(table)


def _name(each: dict[str, Any]) -> str:
    return str(each["scores"]).partition("/")[2].rpartition("-")[0]
