"""`mixray pool`: make pools, look at their traces in the terminal, take them away, bring existing ones in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mixray.options import JsonOption, RecipeArgument, SetOption, StorageOption, log_path
from mixray.progress import Display
from mixray.recipe import ImportedTeacher, ProblemSet, TraceColumns
from mixray.recipe_file import load_recipe, parse_part
from mixray.store import Artefact, Store
from mixray.terminal import library_noise_in

pool = typer.Typer(help="Pools: a teacher's judged traces over a problem set.", no_args_is_help=True)

PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="a pool's name, hash, or both as `mixray pool ls` shows them")]
VerdictOption = Annotated[str | None, typer.Option(help="only traces that are right, wrong or unknown")]
StatusOption = Annotated[str | None, typer.Option(help="only traces that are ok, truncated, looping, garbled, empty or error")]
COLOURS = {"right": "green", "wrong": "red", "unknown": "yellow"}


@pool.command("make")
def make(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None) -> None:
    """Ask the teachers of a recipe and stop there: the pools of a run, without its students."""
    loaded = load_recipe(recipe, overrides)
    with library_noise_in(log_path(storage, f"{loaded.name}-pools")) as terminal:
        from mixray import pipeline

        with Display(terminal.err) as display:
            for made in pipeline.make_pools(loaded, Store(storage), display).values():
                terminal.answer(made.path if made.store.is_local else f"{storage.rstrip('/')}/{made.label}")


@pool.command("ls")
def ls(storage: StorageOption = "./runs", as_json: JsonOption = False) -> None:
    """List the pools of a storage with their figures."""
    from mixray.teachers import shelf

    found = [(item, item.outcome) for item in shelf.pools(Store(storage))]
    if as_json:
        print(json.dumps([{"pool": f"{item.name}-{item.hash}", **out} for item, out in found], indent=2))
        return
    table = Table("pool", "problems", "traces", "right", "wrong", "unknown", "accepted", "tokens", "cost", box=None, pad_edge=False)
    for item, out in found:
        told = f"{out['cost']:,.2f} {out['currency']}" if out["cost"] else "-"
        counts = [f"{out[name]:,}" for name in ("num_problems", "num_traces", "right", "wrong", "unknown", "accepted", "response_tokens")]
        table.add_row(f"{item.name}-{item.hash}", *counts, told)
    Console(soft_wrap=True).print(table if found else f"{storage} holds no pool; `mixray pool make RECIPE` makes some")


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
        print(json.dumps({"pool": f"{found.name}-{found.hash}", "made_by": found.made_by, "outcome": out}, indent=2))
        return
    _show_pool(found, out)


def _show_pool(found: Artefact, out: dict[str, Any]) -> None:
    from mixray.teachers import pool_in_words
    from mixray.teachers.words import strata

    console = Console(soft_wrap=True)
    console.print(f"[bold]{escape(found.label)}[/bold]\n{escape(pool_in_words(out))}")
    console.print("statuses: " + ", ".join(f"{count:,} {name}" for name, count in out["statuses"].items() if count))
    console.print("reasons:  " + ", ".join(f"{count:,} {name}" for name, count in out["verdict_reasons"].items()))
    if out["judged"]:
        console.print(
            f"judge:    asked about {out['judged']:,} answers; {out['right_by_judge']:,} of {out['right']:,} right ones rest on it"
        )
    table = Table("subject", "level", "problems", "share before", "pass rate", "solved", "share after", box=None, pad_edge=False)
    for row in strata(out):
        shares = (f"{row['share_before']:.1%}", f"{row['pass_rate']:.1%}", f"{row['solved']:,}", f"{row['share_after']:.1%}")
        table.add_row(escape(row["subject"]), str(row["level"]), f"{row['problems']:,}", *shares)
    console.print("\nby subject and level; shares are of all problems before rejection, of the solved ones after it")
    console.print(table)


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
        print("\n".join(json.dumps(trace) for trace in traces))
        return
    console = Console()
    for trace in traces:
        colour = COLOURS[trace["verdict"]]
        facts = f"{trace['status']}, {trace['num_response_tokens']} tokens, repetition {trace['repetition']:.2f}, {trace['engine']}"
        verdict = Text(f"{trace['verdict']} ({trace['verdict_reason']}): answer {trace['answer']!r}, gold {trace['gold']!r}", style=colour)
        body = Group(
            Text(trace["question"], style="bold"), Text(), Text(trace["response"] or trace["error"] or ""), Text(), verdict, Text(facts)
        )
        console.print(Panel(body, title=escape(trace["trace_id"]), title_align="left", border_style=colour))
    if not traces:
        console.print("no trace of this kind")


@pool.command("export")
def export(
    name: PoolArgument,
    out: Annotated[Path, typer.Argument(help="the file, or the folder for `datasets`")],
    form: Annotated[str, typer.Option("--format", help="parquet, jsonl or datasets (load_from_disk)")] = "parquet",
    accepted: Annotated[bool, typer.Option("--accepted", help="only what rejection sampling keeps: right and well-formed")] = False,
    verdict: VerdictOption = None,
    status: StatusOption = None,
    storage: StorageOption = "./runs",
) -> None:
    """Write a pool's traces to a file of their own, with the turns as `messages`."""
    from mixray.teachers import shelf

    if form not in ("parquet", "jsonl", "datasets"):
        raise typer.BadParameter(f"{form!r} is no format; parquet, jsonl and datasets are")
    wanted = shelf.Wanted(verdict=verdict, status=status, accepted=accepted)
    count = shelf.export(shelf.find(Store(storage), name), out, form, wanted)  # type: ignore[arg-type]
    print(f"{count:,} traces -> {out}")


@pool.command("import")
def import_(
    traces: Annotated[str, typer.Argument(help="a file or URL (jsonl, json, csv, parquet), or `hf:<data set>`")],
    name: Annotated[str, typer.Option(help="the teacher's name")],
    problems: Annotated[str, typer.Option(help="the problems they answer: a file or URL, or `hf:<data set>`")],
    form: Annotated[str, typer.Option("--format", help="the format of the problems, such as gsm8k or math")] = "plain",
    split: Annotated[str, typer.Option(help="of hub data sets")] = "train",
    columns: Annotated[
        list[str] | None, typer.Option("--column", metavar="KEY=PATH", help="response, question, problem_id, finish_reason, ...")
    ] = None,
    question: Annotated[str | None, typer.Option(help="the problems' column of the question; the format's where unset")] = None,
    answer: Annotated[str | None, typer.Option(help="the problems' column of the gold")] = None,
    response_after: Annotated[str | None, typer.Option(help="the response is what follows the last of this text")] = None,
    storage: StorageOption = "./runs",
) -> None:
    """Make a pool of traces that exist already, judged like any other."""
    given = {key: path for key, _, path in (column.partition("=") for column in columns or [])}
    teacher = parse_part(ImportedTeacher, {
        "traces": traces, "split": split, "columns": parse_part(TraceColumns, given), "response_after": response_after,
    })  # fmt: skip
    source = parse_part(ProblemSet, {
        "source": problems, "format": form, "split": split, "question_field": question, "answer_field": answer,
    })  # fmt: skip
    with library_noise_in(log_path(storage, f"import-{name}")) as terminal:
        from mixray import pipeline

        with Display(terminal.err) as display:
            made = pipeline.import_pool(name, teacher, source, Store(storage), display)
        terminal.answer(made.path if made.store.is_local else f"{storage.rstrip('/')}/{made.label}")
