"""`mixray mixture`: look at mixtures in the terminal, hold two against each other, take them away."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from mixray import mixture_tables
from mixray.making import make_up_to
from mixray.options import JsonOption, RecipeArgument, SetOption, StorageOption, log_path
from mixray.store import Store
from mixray.terminal import harmless, library_noise_in, print_table

mixture = typer.Typer(help="Mixtures: the rows a student is trained on.", no_args_is_help=True)

MixtureArgument = Annotated[str, typer.Argument(metavar="MIXTURE", help="its name, hash, or both as `mixray mixture ls` shows them")]
LicenseOption = Annotated[str | None, typer.Option("--license", help="of the data, for the card, such as apache-2.0; unknown where unset")]
ForceOption = Annotated[bool, typer.Option("--force", help="replace a former export; nothing else is ever replaced")]
MOST_IDS = 5


@mixture.command("make")
def make(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None) -> None:
    """Make the mixtures of a recipe and stop there: a run without its students. Pools that are there are not made again."""
    make_up_to("mixtures", recipe, storage, overrides)


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
        print_table(mixture_tables.figures(found))
    elif not every:
        print(f"{storage} holds no mixture; `mixray mixture make RECIPE` makes some")
    if len(every) > len(found):
        print(f"not shown, of an earlier version: {', '.join(item.folder for item, out in every if not shelf.tells_its_pools(out))}")


@mixture.command("show")
def show(
    name: MixtureArgument,
    num_rows: Annotated[int, typer.Option("--rows", min=0, help="how many rows are shown")] = 2,
    storage: StorageOption = "./runs",
    as_json: JsonOption = False,
) -> None:
    """Show what is in a mixture: shares asked and got, subjects and levels, what each step dropped, the first rows."""
    from mixray.mixing import shelf, words

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
    if cut := words.cut_in_words(out):
        console.print(escape(cut))
    console.print(f"\nshares asked (of the {mixture_tables.words(out['by'])}) and got")
    print_table(mixture_tables.shares(out, shelf.shares_of(found)))
    console.print("\nwhat each step left out; the last two choose among the rest")
    print_table(mixture_tables.steps(out))
    for column, cells in strata.items():
        console.print(f"\nby {column}; share before: of all rows before the first filter, share after: of this mixture's")
        print_table(mixture_tables.strata(column, cells, list(out["pools"])))
    mixture_tables.show_rows(rows)


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
    table = mixture_tables.empty(("pool", "share of"), ["A", "B", "B - A"])
    for pool in dict.fromkeys([*shares[0], *shares[1]]):
        for count in ("rows", "tokens", "loss_tokens"):
            a, b = (side.get(pool, {}).get(count) or 0.0 for side in shares)
            table.add_row(escape(pool), mixture_tables.words(count), f"{a:.1%}", f"{b:.1%}", f"{(b - a) * 100:+.1f} points")
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
