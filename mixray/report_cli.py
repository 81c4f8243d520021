"""`mixray compare` and `mixray report`: reports that are there already, to look at and to hold against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mixray.disk import write_whole
from mixray.errors import RecipeError
from mixray.options import JsonOption, StorageOption
from mixray.store import Store
from mixray.terminal import harmless, print_table

report = typer.Typer(help="Reports: what each student learned from each mixture.", no_args_is_help=True)

ReportArgument = Annotated[
    str, typer.Argument(metavar="REPORT", help="its name, hash, or both as `mixray report ls` shows them; or a folder, file or address")
]
ENDINGS = (".md", ".json")


@report.command("ls")
def ls(storage: StorageOption = "./runs", as_json: JsonOption = False) -> None:
    """List the reports of a storage, the newest first, with their answer in words."""
    from mixray import report as reports
    from mixray.report import found

    every = list(found.every(Store(storage)))
    if as_json:
        print(json.dumps([{"report": each.place, "name": each.told["name"], "answers": each.told["answers"]} for each in every], indent=2))
        return
    if not every:
        print(f"{storage} holds no report; `mixray run RECIPE` makes one")
    for each in every:
        print(f"{harmless(each.place)}\n{harmless(reports.answer(each.told))}\n")


@report.command("show")
def show(name: ReportArgument, storage: StorageOption = "./runs", as_json: JsonOption = False) -> None:
    """Show the answer of one report in words, or its report.json."""
    from mixray import report as reports
    from mixray.report import found

    each = found.find(Store(storage), name)
    print(json.dumps(each.told, indent=2) if as_json else f"{harmless(each.place)}\n{harmless(reports.answer(each.told))}")


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="a report: its name or hash, its folder, its report.json, or an address")],
    second: Annotated[str, typer.Argument(metavar="B", help="the report to hold against it")],
    out: Annotated[Path | None, typer.Option(help="write the comparison here, too: a .md or a .json")] = None,
    storage: StorageOption = "./runs",
    as_json: JsonOption = False,
) -> None:
    """Hold two reports against each other: what went in that differs, scores with the interval of their difference, changed verdicts."""
    from mixray.report import compare_words, found
    from mixray.report.compare import compare as compared

    if out is not None and out.suffix not in ENDINGS:
        raise RecipeError("A comparison is not written in this form", seen=out, rule=" or ".join(ENDINGS), do="pass another --out")
    store = Store(storage)
    told = compared(found.find(store, first), found.find(store, second))
    whole = {"sentences": compare_words.sentences(told), **told}
    if out is not None:
        text = json.dumps(whole, indent=2) + "\n" if out.suffix == ".json" else compare_words.markdown(told)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text.encode())
    if as_json:
        print(json.dumps(whole, indent=2))
        return
    print(f"A: {harmless(told['first']['report'])}\nB: {harmless(told['second']['report'])}\n")
    for line in compare_words.sentences(told):
        print(harmless(line))
    for section in compare_words.sections(told):
        table = Table(*section.columns, box=None, pad_edge=False)
        for row in section.rows:
            table.add_row(*(escape(harmless(cell)) for cell in row))
        print(f"\n{section.title}. {section.note}")
        print_table(table)
