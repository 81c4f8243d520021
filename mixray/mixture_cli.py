"""`mixray mixture`: look at mixtures in the terminal, hold two against each other, take them away."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mixray.options import JsonOption, RecipeArgument, SetOption, StorageOption, log_path, place_of
from mixray.progress import Display
from mixray.recipe_file import load_recipe
from mixray.store import Artefact, Store
from mixray.terminal import harmless, library_noise_in, print_table

mixture = typer.Typer(help="Mixtures: the rows a student is trained on.", no_args_is_help=True)

MixtureArgument = Annotated[str, typer.Argument(metavar="MIXTURE", help="its name, hash, or both as `mixray mixture ls` shows them")]
LicenseOption = Annotated[str | None, typer.Option("--license", help="of the data, for the card, such as apache-2.0; unknown where unset")]
ForceOption = Annotated[bool, typer.Option("--force", help="replace a former export; nothing else is ever replaced")]
MOST_CHARACTERS = 1500
"""Of one turn of a sample row."""
MOST_IDS = 5


@mixture.command("make")
def make(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None) -> None:
    """Make the mixtures of a recipe and stop there: a run without its students. Pools that are there are not made again."""
    loaded = load_recipe(recipe, overrides)
    with library_noise_in(log_path(storage, f"{loaded.name}-mixtures")) as terminal:
        from mixray import pipeline

        with Display(terminal.err) as display:
            for made in pipeline.make_mixtures(loaded, Store(storage), display).values():
                terminal.answer(place_of(made, storage))


@mixture.command("ls")
def ls(storage: StorageOption = "./runs", as_json: JsonOption = False) -> None:
    """List the mixtures of a storage with what was asked and what they hold."""
    from mixray.mixing import shelf

    every = [(item, item.outcome) for item in shelf.mixtures(Store(storage))]
    found = [(item, out) for item, out in every if shelf.tells_its_pools(out)]
    if as_json:
        print(json.dumps([{"mixture": item.folder, **out} for item, out in found], indent=2))
        return
    if found:
        print_table(_figures(found))
    elif not every:
        print(f"{storage} holds no mixture; `mixray mixture make RECIPE` makes some")
    if len(every) > len(found):
        print(f"not shown, of an earlier version: {', '.join(item.folder for item, out in every if not shelf.tells_its_pools(out))}")


def _figures(found: list[tuple[Artefact, dict[str, Any]]]) -> Table:
    table = Table("mixture", box=None, pad_edge=False)
    for column in ("problems", "rows", "tokens", "loss tokens", "alpha"):
        table.add_column(column, justify="right")
    table.add_column("asked")
    table.add_column("of the loss tokens")
    for item, out in found:
        totals = [sum(pool[count] for pool in out["pools"].values()) for count in ("rows", "tokens", "loss_tokens")]
        trained = [f"{name} {pool['loss_tokens'] / max(totals[2], 1):.1%}" for name, pool in out["pools"].items()]
        asked = ", ".join(f"{name} {share:.1%}" for name, share in out["shares"].items())
        alpha = "-" if out["alpha"] is None else f"{out['alpha']:g}"
        numbers = (f"{number:,}" for number in (out["num_problems"], *totals))
        table.add_row(item.folder, *numbers, alpha, f"{asked} of the {_words(out['by'])}", ", ".join(trained))
    return table


def _words(count: str) -> str:
    return count.replace("_", " ")


@mixture.command("show")
def show(
    name: MixtureArgument,
    num_rows: Annotated[int, typer.Option("--rows", min=0, help="how many rows are shown")] = 2,
    storage: StorageOption = "./runs",
    as_json: JsonOption = False,
) -> None:
    """Show what is in a mixture: shares asked and got, subjects and levels, what each step dropped, the first rows."""
    from mixray.mixing import shelf

    found = shelf.find(Store(storage), name)
    strata = {column: shelf.strata(found, column) for column in ("subject", "level")}
    rows = shelf.first_rows(found, num_rows)
    out = found.outcome
    if as_json:
        told = {"mixture": found.folder, "made_by": found.made_by, "outcome": out, "strata": strata, "rows": rows}
        print(json.dumps(told, indent=2))
        return
    console = Console(soft_wrap=True)
    console.print(f"[bold]{escape(found.label)}[/bold]\n{out['num_rows']:,} rows over {out['num_problems']:,} problems")
    console.print(f"hard: {escape(out['hard'])}, easy: {escape(out['easy'])}; at most {out['max_tokens']:,} tokens")
    console.print(f"\nshares asked (of the {_words(out['by'])}) and got")
    print_table(_shares(out, shelf.shares_of(found)))
    console.print("\nwhat each step left out; the last two choose among the rest")
    print_table(_steps(out))
    for column, cells in strata.items():
        console.print(f"\nby {column}; share before: of all rows before the first filter, share after: of this mixture's")
        print_table(_strata(column, cells, list(out["pools"])))
    _show_rows(rows)


def _table(left: tuple[str, ...], right: list[str]) -> Table:
    table = Table(*left, box=None, pad_edge=False)
    for column in right:
        table.add_column(column, justify="right")
    return table


def _shares(out: dict[str, Any], shares: dict[str, dict[str, float | None]]) -> Table:
    table = _table(("pool",), ["asked", "rows", "of all", "tokens", "of all", "loss tokens", "of all", "too long"])
    for name, counts in out["pools"].items():
        share = shares[name]
        cells = [cell for count in ("rows", "tokens", "loss_tokens") for cell in (f"{counts[count]:,}", f"{share[count]:.1%}")]
        asked = "-" if share["asked"] is None else f"{share['asked']:.1%}"
        table.add_row(escape(name), asked, *cells, f"{out['dropped'].get(name, 0):,}")
    return table


def _steps(out: dict[str, Any]) -> Table:
    """Return a row for each step: what it dropped, and what it left of each pool."""
    pools = list(out["pools"])
    table = _table(("step",), ["problems dropped", "rows dropped", "rows before", "rows left", *(f"{pool} left" for pool in pools)])
    for step in out["steps"]:
        of_pools = [step["pools"].get(pool, {"rows": 0})["rows"] for pool in pools]
        left = sum(of_pools)
        numbers = (step["dropped_problems"], step["dropped_rows"], left + step["dropped_rows"], left, *of_pools)
        table.add_row(escape(step["step"]), *(f"{number:,}" for number in numbers))
    return table


def _strata(column: str, cells: list[dict[str, Any]], pools: list[str]) -> Table:
    table = _table((column,), ["rows", "share before", "share after", "tokens", "loss tokens", *(f"{pool} rows" for pool in pools)])
    for cell in cells:
        shares = (f"{cell['share_before']:.1%}", f"{cell['share_after']:.1%}")
        numbers = [cell["tokens"], cell["loss_tokens"], *(cell["pools"][pool]["rows"] for pool in pools)]
        value = "-" if cell[column] is None else str(cell[column])
        table.add_row(escape(harmless(value)), f"{cell['rows']:,}", *shares, *(f"{number:,}" for number in numbers))
    return table


def _show_rows(rows: list[dict[str, Any]]) -> None:
    console = Console()
    for row in rows:
        turns = [Text(harmless(_clipped(turn["content"])), style="" if turn["role"] == "assistant" else "bold") for turn in row["messages"]]
        facts = f"{row['num_tokens']:,} tokens, {row['num_loss_tokens']:,} of them trained; trace {row['trace_id']}"
        body = Group(*(part for turn in turns for part in (turn, Text())), Text(harmless(facts)))
        title = escape(harmless(f"{row['problem_id']} from {row['pool']}"))
        console.print(Panel(body, title=title, title_align="left"))


def _clipped(text: str) -> str:
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"{text[:MOST_CHARACTERS]} ... ({more:,} more characters)"


@mixture.command("diff")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="a mixture")],
    second: Annotated[str, typer.Argument(metavar="B", help="another mixture")],
    storage: StorageOption = "./runs",
    as_json: JsonOption = False,
) -> None:
    """Tell what is not the same in two mixtures: problems, pools, traces, shares; and whether one is nested in the other."""
    from mixray.mixing import shelf, words

    store = Store(storage)
    one, two = shelf.find(store, first), shelf.find(store, second)
    found = shelf.diff(one, two)
    shares = [shelf.shares_of(side) for side in (one, two)]
    if as_json:
        print(json.dumps({"first": one.folder, "second": two.folder, **asdict(found), "shares": shares}, indent=2))
        return
    print(f"A: {one.folder}\nB: {two.folder}\n")
    for line in words.difference_in_words(found, MOST_IDS):
        print(harmless(line))
    table = _table(("pool", "share of"), ["A", "B", "B - A"])
    for pool in dict.fromkeys([*shares[0], *shares[1]]):
        for count in ("rows", "tokens", "loss_tokens"):
            a, b = (side.get(pool, {}).get(count) or 0.0 for side in shares)
            table.add_row(escape(pool), _words(count), f"{a:.1%}", f"{b:.1%}", f"{(b - a) * 100:+.1f} points")
    print()
    print_table(table)


@mixture.command("export")
def export(
    name: MixtureArgument,
    out: Annotated[Path, typer.Argument(help="the file, or the folder for `llama-factory` and `datasets`")],
    form: Annotated[
        Literal["messages-jsonl", "trl", "axolotl", "prompt-completion", "llama-factory", "parquet", "datasets"],
        typer.Option("--format", help="trl and axolotl read messages-jsonl; prompt-completion is TRL's other form"),
    ] = "messages-jsonl",
    license_id: LicenseOption = None,
    force: ForceOption = False,
    storage: StorageOption = "./runs",
) -> None:
    """Write a mixture's rows in training order, for another trainer."""
    from mixray.mixing import shelf
    from mixray.mixing.export import export as export_mixture
    from mixray.teachers.words import plural

    print(f"{plural(export_mixture(shelf.find(Store(storage), name), out, form, license_id, force), 'row')} -> {out}")


@mixture.command("push")
def push(
    name: MixtureArgument,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="a data set repository of the hub; made if it is not there")],
    private: Annotated[bool, typer.Option("--private", help="nobody else may see it")] = False,
    license_id: LicenseOption = None,
    storage: StorageOption = "./runs",
) -> None:
    """Push a mixture to the Hugging Face hub, with a card; the token is that of HF_TOKEN."""
    from mixray.mixing import hub, shelf

    found = shelf.find(Store(storage), name)
    with library_noise_in(log_path(storage, f"push-{found.name}")) as terminal:
        terminal.answer(hub.push(found, repo, private, license_id))


@mixture.command("card")
def card(name: MixtureArgument, license_id: LicenseOption = None, storage: StorageOption = "./runs") -> None:
    """Print a mixture's card, as `push` sends it: shares, teachers with their verdicts, what was left out, columns."""
    from mixray.mixing import shelf
    from mixray.mixing.card import card as card_of

    print(card_of(shelf.find(Store(storage), name), license_id), end="")


@mixture.command("preferences")
def preferences(
    name: MixtureArgument,
    out: Annotated[Path, typer.Argument(help="the file of JSON lines")],
    force: ForceOption = False,
    storage: StorageOption = "./runs",
) -> None:
    """Write preference pairs for a later DPO: of each problem a right short trace, and a looping, truncated or wrong one."""
    from mixray.mixing import preferences, shelf, words

    print(f"{words.preferences_in_words(preferences.write(shelf.find(Store(storage), name), out, force))} -> {out}")
