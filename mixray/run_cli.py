"""`mixray run`, `sweep`, `plan` and `status`: a whole recipe at once."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mixray.cluster_cli import OnCluster
from mixray.errors import RecipeError
from mixray.options import JsonOption, RecipeArgument, SetOption, StorageOption, log_path, place_of
from mixray.progress import Display
from mixray.recipe import Recipe
from mixray.recipe_file import load_recipe
from mixray.store import Store
from mixray.terminal import harmless, library_noise_in, print_table


def run(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None) -> None:
    """Make everything a recipe stands for, from teachers to the report; finds what is there already."""
    _run(load_recipe(recipe, overrides), storage)


def sweep(
    recipe: RecipeArgument,
    alpha: Annotated[str, typer.Option(help="shares of the hard pool, with commas between")] = "0,0.1,0.2,0.5,1",
    blend: Annotated[str | None, typer.Option(help="the blend to sweep; every blend of a hard and an easy pool where unset")] = None,
    storage: StorageOption = "./runs",
    overrides: SetOption = None,
) -> None:
    """Run a recipe at other alphas: the pools are made and judged once, and the report has the curve of each student."""
    loaded = load_recipe(recipe, overrides)
    swept = [name for name, each in loaded.mixtures.items() if each.pools is None and not each.stages and blend in (None, name)]
    if not swept:
        raise RecipeError(
            "There is nothing to sweep",
            seen=blend or ", ".join(loaded.mixtures),
            rule="a blend of a hard and an easy pool has an alpha; one by `pools` or `stages` has none",
            do=f"name one of {', '.join(loaded.mixtures)}, or give it hard and easy",
        )
    _run(load_recipe(recipe, [*(overrides or []), *(f"mixtures.{name}.alpha=[{alpha}]" for name in swept)]), storage)


def _run(loaded: Recipe, storage: str) -> None:
    with library_noise_in(log_path(storage, loaded.name)) as terminal:
        from mixray import pipeline

        with Display(terminal.err) as display:
            report, answer = pipeline.run(loaded, Store(storage), display)
        terminal.err.write(f"\n{answer}\n" + (f"\nopen {report.path}/index.html\n" if report.store.is_local else ""))
        terminal.err.flush()
        terminal.answer(place_of(report, storage))


def plan(
    recipe: RecipeArgument,
    storage: StorageOption = "./runs",
    overrides: SetOption = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="FILE", help="a file for `ray up`, or of KubeRay: whether the run fits, and its cost")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would make, what is there already, and what it needs. Starts nothing."""
    loaded = load_recipe(recipe, overrides)
    from mixray.graph import build_graph
    from mixray.needs import needs

    graph = build_graph(loaded, Store(storage))
    rows = [{"stage": stage, "artefact": item.label, "done": item.is_done()} for stage, item in graph.artefacts()]
    needed = needs(loaded, graph)
    on = None
    if cluster:
        from mixray.pipeline import report_of

        on = OnCluster.of(loaded, graph, cluster, report_of(loaded, graph, Store(storage)).is_done())
    if as_json:
        told = {"recipe": loaded.name, "artefacts": rows, "needs": needed.as_json()}
        print(json.dumps(told | ({"cluster": on.as_json()} if on else {}), indent=2))
        if on:
            on.check()
        return
    _table(f"plan of {loaded.name}", rows, lambda row: "there" if row["done"] else "to do")
    missing = sum(not row["done"] for row in rows)
    print(f"{missing} of {len(rows)} artefacts are to be made." + (f" Needs: {needed.in_words()}" if missing else ""))
    if on:
        on.show()
        on.check()
        print(on.summary())


def status(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Show how far a recipe has come: what is done, begun or missing, and which runs are at it; reads the storage alone."""
    loaded = load_recipe(recipe, overrides)
    from mixray.standing import runs_in_words, standing, state_in_words

    told = standing(loaded, Store(storage))
    if as_json:
        print(json.dumps(told, indent=2))
        return
    _table(f"status of {loaded.name}", told["artefacts"], state_in_words)
    for line in runs_in_words(told["runs"]):
        print(harmless(line))


def _table(title: str, rows: list[dict[str, Any]], state: Any) -> None:
    table = Table("stage", "artefact", "state", title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["stage"], escape(row["artefact"]), state(row))
    print_table(table)
