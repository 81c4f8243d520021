"""`mixray pool`: make pools, look at their traces in the terminal, take them away, bring existing ones in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mixray.errors import RecipeError
from mixray.options import JsonOption, RecipeArgument, SetOption, StorageOption, log_path, place_of
from mixray.progress import Display
from mixray.recipe import NAME, ImportedTeacher, ProblemSet, TraceColumns, nearest
from mixray.recipe_file import load_recipe, parse_part
from mixray.store import Artefact, Store
from mixray.terminal import harmless, library_noise_in, print_table

pool = typer.Typer(help="Pools: a teacher's judged traces over a problem set.", no_args_is_help=True)

PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="a pool's name, hash, or both as `mixray pool ls` shows them")]
VerdictOption = Annotated[Literal["right", "wrong", "unknown"] | None, typer.Option(help="only traces with this verdict")]
StatusOption = Annotated[
    Literal["ok", "truncated", "looping", "garbled", "empty", "error"] | None, typer.Option(help="only traces of this form")
]
JUDGE = "judge_cost"
"""Stands in the outcome of pools with a judge's second opinions alone."""
COLOURS = {"right": "green", "wrong": "red", "unknown": "yellow"}


@pool.command("make")
def make(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None) -> None:
    """Ask the teachers of a recipe and stop there: the pools of a run, without its students."""
    loaded = load_recipe(recipe, overrides)
    with library_noise_in(log_path(storage, f"{loaded.name}-pools")) as terminal:
        from mixray import pipeline

        with Display(terminal.err) as display:
            for made in pipeline.make_pools(loaded, Store(storage), display).values():
                terminal.answer(place_of(made, storage))


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
    print_table(_figures(found))


def _figures(found: list[tuple[Artefact, dict[str, Any]]]) -> Table:
    """Return a row for each pool; a column that says nothing of any pool is left out."""
    columns: dict[str, list[str]] = {
        name: [f"{out[key]:,}" for _, out in found]
        for name, key in (
            ("problems", "num_problems"),
            ("traces", "num_traces"),
            *((key, key) for key in ("right", "wrong", "unknown", "accepted")),
        )
    }
    columns["by judge"] = [f"{out['right_by_judge']:,}" if JUDGE in out else "-" for _, out in found]
    columns["tokens"] = [f"{out['response_tokens']:,}" if out["response_tokens"] else "-" for _, out in found]
    columns["cost"] = [f"{out['cost']:,.2f} {out['currency']}" if out["cost"] else "-" for _, out in found]
    told = {name: cells for name, cells in columns.items() if set(cells) != {"-"}}
    table = Table("pool", box=None, pad_edge=False)
    for name in told:
        table.add_column(name, justify="right")
    for (item, _), *cells in zip(found, *told.values(), strict=True):
        table.add_row(item.folder, *cells)
    return table


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
        _show_traces([shelf.one(found, trace)], as_json)
        return
    out = found.outcome
    if as_json:
        print(json.dumps({"pool": found.folder, "made_by": found.made_by, "outcome": out}, indent=2))
        return
    _show_pool(found, out)


def _show_pool(found: Artefact, out: dict[str, Any]) -> None:
    from mixray.quarantine import FILE
    from mixray.teachers import pool_in_words
    from mixray.teachers.words import plural, strata

    console = Console(soft_wrap=True)
    console.print(f"[bold]{escape(found.label)}[/bold]\n{escape(pool_in_words(out))}")
    console.print("statuses: " + ", ".join(f"{count:,} {name}" for name, count in out["statuses"].items() if count))
    console.print("reasons:  " + ", ".join(f"{count:,} {name}" for name, count in out["verdict_reasons"].items()))
    if JUDGE in out:
        resting = f"{out['right_by_judge']:,} of {out['right']:,} right ones rest on it"
        cost = f"; it cost {out['judge_cost']:,.2f} {out['judge_currency']}" if out["judge_cost"] else ""
        console.print(f"judge:    asked about {plural(out['judged'], 'answer')}; {resting}{cost}")
    if out["num_set_aside"]:
        console.print(f"set aside: see {escape(found.path)}/{FILE}")
    table = Table("subject", "level", box=None, pad_edge=False)
    for column in ("problems", "share before", "pass rate", "solved", "share after"):
        table.add_column(column, justify="right")
    for row in strata(out):
        shares = (f"{row['share_before']:.1%}", f"{row['pass_rate']:.1%}", f"{row['solved']:,}", f"{row['share_after']:.1%}")
        table.add_row(escape(harmless(row["subject"])), str(row["level"] or "-"), f"{row['problems']:,}", *shares)
    console.print("\nby subject and level; share before: of all problems, share after: of those with an accepted trace (solved)")
    print_table(table)


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
    _show_traces(shelf.sample(shelf.find(Store(storage), name), count, wanted, seed), as_json)


def _show_traces(traces: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for trace in traces:
            print(json.dumps(trace))
        return
    console = Console()
    for trace in traces:
        colour = COLOURS[trace["verdict"]]
        paragraphs = [
            Text(harmless(trace["question"]), style="bold"),
            Text(harmless(trace["response"] or trace["error"] or "")),
            Text(harmless(_verdict(trace)), style=colour),
        ]
        body = Group(*(part for paragraph in paragraphs for part in (paragraph, Text())), Text(_facts(trace)))
        console.print(Panel(body, title=escape(harmless(trace["trace_id"])), title_align="left", border_style=colour))
    if not traces:
        print("no trace of this kind")


def _verdict(trace: dict[str, Any]) -> str:
    answer = "no answer" if trace["answer"] is None else f"answer {trace['answer']}"
    rule = f"; the rule had said {trace['rule_verdict']} ({trace['rule_reason']})" if trace["rule_verdict"] else ""
    return f"{trace['verdict']} ({trace['verdict_reason']}{rule}): {answer}, gold {trace['gold']}"


def _facts(trace: dict[str, Any]) -> str:
    tokens, seconds = trace["num_response_tokens"], trace["seconds"]
    facts = [trace["status"], f"{tokens:,} tokens" if tokens else "", f"{seconds:,.1f} s" if seconds else ""]
    return ", ".join(fact for fact in [*facts, f"repetition {trace['repetition']:.2f}", trace["engine"]] if fact)


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
