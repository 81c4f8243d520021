"""`mixray pool`: make pools, look at their traces in the terminal, take them away, bring existing ones in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mixray import pool_tables
from mixray.errors import RecipeError
from mixray.making import make_up_to
from mixray.options import JsonOption, RecipeArgument, SetOption, StorageOption, log_path, place_of
from mixray.progress import Display
from mixray.recipe import NAME, ImportedTeacher, ProblemSet, TraceColumns, nearest
from mixray.recipe_file import parse_part
from mixray.store import Store
from mixray.terminal import library_noise_in, print_table

pool = typer.Typer(help="Pools: a teacher's judged traces over a problem set.", no_args_is_help=True)

PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="a pool's name, hash, or both as `mixray pool ls` shows them")]
VerdictOption = Annotated[Literal["right", "wrong", "unknown"] | None, typer.Option(help="only traces with this verdict")]
StatusOption = Annotated[
    Literal["ok", "truncated", "looping", "garbled", "empty", "error"] | None, typer.Option(help="only traces of this form")
]


@pool.command("make")
def make(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None) -> None:
    """Ask the teachers of a recipe and stop there: the pools of a run, without its students."""
    make_up_to("pools", recipe, storage, overrides)


@pool.command("ls")
def ls(storage: StorageOption = "./runs", as_json: JsonOption = False) -> None:
    """List the pools of a storage with their figures."""
    from mixray.teachers import shelf

    found = [(item, item.outcome) for item in shelf.pools(Store(storage))]
    if as_json:
        print(json.dumps([{"pool": item.folder, **out} for item, out in found], indent=2))
        return
    if not found:
        print(f"{storage} holds no pool; `mixray pool make RECIPE` makes some, `mixray pool import` takes in existing traces")
        return
    print_table(pool_tables.figures(found))


@pool.command("show")
def show(
    name: PoolArgument,
    trace: Annotated[str | None, typer.Argument(help="a trace's id: show it whole")] = None,
    storage: StorageOption = "./runs",
    as_json: JsonOption = False,
) -> None:
    """Show what a pool came to, with pass rates by subject and level; or one of its traces."""
    from mixray.teachers import shelf

    found = shelf.find(Store(storage), name)
    if trace is not None:
        pool_tables.show_traces([shelf.one(found, trace)], as_json)
        return
    out = found.outcome
    if as_json:
        print(json.dumps({"pool": found.folder, "made_by": found.made_by, "outcome": out}, indent=2))
        return
    pool_tables.show_pool(found, out)


@pool.command("sample")
def sample(
    name: PoolArgument,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="how many traces")] = 3,
    verdict: VerdictOption = None,
    status: StatusOption = None,
    problem: Annotated[str | None, typer.Option(help="only traces of this problem")] = None,
    seed: Annotated[int, typer.Option(help="of the draw")] = 0,
    storage: StorageOption = "./runs",
    as_json: JsonOption = False,
) -> None:
    """Look at some of a pool's traces, drawn by chance."""
    from mixray.teachers import shelf

    wanted = shelf.Wanted(verdict=verdict, status=status, problem=problem)
    pool_tables.show_traces(shelf.sample(shelf.find(Store(storage), name), count, wanted, seed), as_json)


@pool.command("export")
def export(
    name: PoolArgument,
    out: Annotated[Path, typer.Argument(help="the file, or the folder for `datasets`")],
    form: Annotated[
        Literal["parquet", "jsonl", "datasets"], typer.Option("--format", help="datasets is a folder for load_from_disk")
    ] = "parquet",
    accepted: Annotated[bool, typer.Option("--accepted", help="only what rejection sampling keeps: right and well-formed")] = False,
    verdict: VerdictOption = None,
    status: StatusOption = None,
    storage: StorageOption = "./runs",
) -> None:
    """Write a pool's traces to a file of their own, with the turns as `messages`."""
    from mixray.teachers import shelf
    from mixray.teachers.words import plural

    wanted = shelf.Wanted(verdict=verdict, status=status, accepted=accepted)
    print(f"{plural(shelf.export(shelf.find(Store(storage), name), out, form, wanted), 'trace')} -> {out}")


@pool.command("card")
def card(
    name: PoolArgument,
    license_id: Annotated[str | None, typer.Option("--license", help="of the data, such as apache-2.0; unknown where unset")] = None,
    storage: StorageOption = "./runs",
) -> None:
    """Print a pool's card, for a data set of its traces: teacher, verdicts, pass rates, columns."""
    from mixray.teachers import shelf
    from mixray.teachers.card import card as card_of

    print(card_of(shelf.find(Store(storage), name), license_id), end="")


@pool.command("import")
def import_(
    traces: Annotated[str, typer.Argument(help="a file or URL (jsonl, json, csv, parquet), or `hf:<data set>`")],
    name: Annotated[str, typer.Option(help="the teacher's name")],
    problems: Annotated[str, typer.Option(help="the problems they answer: a file or URL, or `hf:<data set>`")],
    form: Annotated[str, typer.Option("--format", help="the format of the problems, such as gsm8k or math")] = "plain",
    split: Annotated[str, typer.Option(help="of hub data sets")] = "train",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="KEY=PATH",
            help="where the traces keep what: KEY is response, question, problem_id, finish_reason or num_response_tokens, PATH a column "
            "such as turns[-1].content; repeatable",
        ),
    ] = None,
    question: Annotated[str | None, typer.Option(help="the problems' column of the question; the format's where unset")] = None,
    answer: Annotated[str | None, typer.Option(help="the problems' column of the gold")] = None,
    unboxed: Annotated[bool, typer.Option("--unboxed", help="where no box is found, the last number counts; gsm8k says so itself")] = False,
    verifier: Annotated[str | None, typer.Option(help="your own judge of the traces, as package.module:function")] = None,
    response_after: Annotated[str | None, typer.Option(help="the response is what follows the last of this text")] = None,
    storage: StorageOption = "./runs",
) -> None:
    """Make a pool of traces that exist already, judged like any other."""
    if not re.fullmatch(NAME, name):
        raise RecipeError("A teacher's name is wrong", seen=name, rule="small letters, digits, dots, - and _", do="pass another --name")
    teacher = parse_part(ImportedTeacher, {
        "traces": traces, "split": split, "columns": _columns(columns or []), "response_after": response_after,
    })  # fmt: skip
    source = parse_part(ProblemSet, {
        "source": problems, "format": form, "split": split, "question_field": question, "answer_field": answer, "unboxed": unboxed,
        "verifier": verifier,
    })  # fmt: skip
    with library_noise_in(log_path(storage, f"import-{name}")) as terminal:
        from mixray import pipeline

        with Display(terminal.err) as display:
            made = pipeline.import_pool(name, teacher, source, Store(storage), display)
        terminal.answer(place_of(made, storage))


def _columns(given: list[str]) -> TraceColumns:
    paths: dict[str, Any] = {}
    for text in given:
        key, _, path = text.partition("=")
        known = list(TraceColumns.model_fields)
        if key not in known or not path:
            rule = f"KEY=PATH, where KEY is one of {', '.join(known)}{nearest(key, known) if key not in known else ''}"
            raise RecipeError("A --column is wrong", seen=text, rule=rule, do="see `mixray pool import --help`")
        paths[key] = path
    return TraceColumns(**paths)
