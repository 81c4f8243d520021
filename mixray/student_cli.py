"""`mixray student`: look at students in the terminal, talk to one, publish one, merge two."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixray.making import make_up_to
from mixray.options import JsonOption, RecipeArgument, SetOption, StorageOption, log_path, place_of
from mixray.progress import Display
from mixray.recipe import Merging
from mixray.recipe_file import parse_part
from mixray.store import Artefact, Store
from mixray.terminal import harmless, library_noise_in, print_table

if TYPE_CHECKING:
    pass

student = typer.Typer(help="Students: what was trained, and merged.", no_args_is_help=True)

StudentArgument = Annotated[str, typer.Argument(metavar="STUDENT", help="its name, hash, or both as `mixray student ls` shows them")]


@student.command("make")
def make(recipe: RecipeArgument, storage: StorageOption = "./runs", overrides: SetOption = None) -> None:
    """Train the students of a recipe and stop there: a run that asks them nothing. Pools and mixtures that are there are not made again."""
    make_up_to("students", recipe, storage, overrides)


@student.command("ls")
def ls(storage: StorageOption = "./runs", as_json: JsonOption = False) -> None:
    """List the students of a storage: what each was made from, how its loss fell, and how often it was right where it was asked."""
    from mixray.training import shelf

    store = Store(storage)
    asked = shelf.scores_by_student(store)
    rows = [_row(store, item, asked.get(item.hash, [])) for item in shelf.students(store)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(f"{storage} holds no student; `mixray run RECIPE` trains some")
        return
    table = Table("student", "base", "taught", box=None, pad_edge=False)
    for column in ("seed", "steps", "loss", "tokens trained"):
        table.add_column(column, justify="right")
    table.add_column("right")
    for row in rows:
        cells = (row["student"], row["base_model"] or "-", row["taught"], _count(row["seed"]), _count(row["num_steps"]))
        right = [f"{name} {score['accuracy']:.1%}" for scores in row["scores"] for name, score in scores["benchmarks"].items()]
        table.add_row(
            *map(_cell, cells), _fall(row["first_loss"], row["last_loss"]), _count(row["tokens_trained"]), ", ".join(right) or "-"
        )
    print_table(table)


def _row(store: Store, item: Artefact, asked: list[Artefact]) -> dict[str, Any]:
    from mixray.training import shelf

    out = item.outcome
    return {
        "student": item.folder,
        "base_model": shelf.base_of(item),
        "taught": shelf.taught(store, item, out),
        "seed": item.made_by["settings"].get("seed"),
        **{key: out.get(key) for key in ("num_steps", "first_loss", "last_loss")},
        "tokens_trained": shelf.tokens_trained(item, shelf.steps(item)),
        "scores": [{"scores": scores.label, "benchmarks": scores.outcome.get("benchmarks", {})} for scores in asked],
    }


def _cell(text: str) -> str:
    return escape(harmless(text))


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _fall(first: float | None, last: float | None) -> str:
    return "-" if first is None or last is None else f"{first:.2f} -> {last:.3f}"


@student.command("show")
def show(name: StudentArgument, storage: StorageOption = "./runs", as_json: JsonOption = False) -> None:
    """Show all that is known of a student: settings, figures, scores with intervals, files."""
    from mixray import report
    from mixray.training import shelf

    store = Store(storage)
    found = shelf.find(store, name)
    asked = shelf.scores_by_student(store).get(found.hash, [])
    row, steps, files = _row(store, found, asked), shelf.steps(found), found.manifest()["files"]
    scores = [{"scores": each.label, "settings": each.made_by["settings"], "benchmarks": report.accuracies(each)} for each in asked]
    if as_json:
        told = {"made_by": found.made_by, "outcome": found.outcome, "first_step": steps[:1], "last_step": steps[-1:], "files": files}
        print(json.dumps({**row, **told, "scores": scores}, indent=2))
        return
    console = Console(soft_wrap=True)
    console.print(f"[bold]{_cell(found.label)}[/bold]\nbase: {_cell(row['base_model'] or 'its manifest does not tell')}")
    console.print(f"taught: {_cell(row['taught'])}\ntokens trained: {_count(row['tokens_trained'])}")
    print_table(_pairs("setting", found.made_by["settings"]))
    print_table(_pairs("what came out", found.outcome))
    if steps:
        print_table(_pairs("last step", steps[-1]))
    for each in scores:
        console.print(f"\n{_cell(each['scores'])}, 95 % intervals")
        print_table(_right(each["benchmarks"]))
    table = Table("\nfile", box=None, pad_edge=False)
    table.add_column("bytes", justify="right")
    for entry in files:
        table.add_row(_cell(entry["path"]), f"{entry['bytes']:,}")
    print_table(table)


def _pairs(title: str, values: dict[str, Any]) -> Table:
    """Return a table of keys and values; what is inside of a value has dots in its key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
    table = Table(f"\n{title}", "", box=None, pad_edge=False)
    for key, value in flat.items():
        table.add_row(_cell(key), _cell(value if isinstance(value, str) else json.dumps(value)))
    return table


def _right(benchmarks: dict[str, dict[str, Any]]) -> Table:
    table = Table("benchmark", box=None, pad_edge=False)
    for column in ("right", "interval", "problems", "answers", "truncated"):
        table.add_column(column, justify="right")
    for name, score in benchmarks.items():
        numbers = (f"{score[key]:,}" for key in ("num_problems", "num_samples", "num_truncated"))
        table.add_row(_cell(name), f"{score['accuracy']:.1%}", f"[{score['low']:.1%}, {score['high']:.1%}]".replace("[", r"\["), *numbers)
    return table


@student.command("chat")
def chat(
    name: StudentArgument,
    prompt: Annotated[str | None, typer.Option(help="ask this and end; without it a conversation begins, until Ctrl-D")] = None,
    system: Annotated[str | None, typer.Option(help="a system prompt")] = None,
    template: Annotated[str | None, typer.Option(help="the user turn, with {question}; that of its training where unset")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 always takes the likeliest; the student's own where unset")] = None,
    top_p: Annotated[float | None, typer.Option(min=0.001, max=1, help="the student's own where unset")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="of one answer; the student's own, or 1,024, where unset")] = None,
    seed: Annotated[int | None, typer.Option(help="of sampling; another one each time where unset")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the GPU where there is one, if unset")] = None,
    storage: StorageOption = "./runs",
) -> None:
    """Talk to a student on this machine, through transformers. /new begins another conversation; Ctrl-D and Ctrl-C end it."""
    from mixray.conversation import Conversation
    from mixray.training import shelf
    from mixray.training.talk import Sampling, Talker

    store = Store(storage)
    found = shelf.find(store, name)
    with library_noise_in(log_path(storage, f"chat-{found.name}")) as terminal:
        turn = template or shelf.template_of(store, found)
        sampling = Sampling(temperature, top_p, max_tokens, seed)
        talk = Conversation(Talker(found.local_folder(), device), sampling, turn, system, terminal.out, terminal.err)
        if prompt is not None:
            talk.ask(prompt)
        else:
            talk.hold(found.name)


@student.command("push")
def push(
    name: StudentArgument,
    repo: Annotated[str, typer.Argument(metavar="OWNER/REPO", help="a model repository of the hub; made if it is not there")],
    private: Annotated[bool, typer.Option("--private", help="nobody else may see it")] = False,
    license_id: Annotated[
        str | None, typer.Option("--license", help="for the card, such as apache-2.0; the base model's, if it can be found, where unset")
    ] = None,
    storage: StorageOption = "./runs",
) -> None:
    """Push a student to the Hugging Face hub, with a card that tells its scores; the token is that of HF_TOKEN."""
    from mixray import cards
    from mixray.training import hub, shelf

    store = Store(storage)
    found = shelf.find(store, name)
    with library_noise_in(log_path(storage, f"push-{found.name}")) as terminal:
        terminal.answer(hub.push(found, repo, private, license_id, cards.measured(store, found)))


@student.command("card")
def card(
    name: StudentArgument,
    license_id: Annotated[str | None, typer.Option("--license", help="the base model's, if it can be found, where unset")] = None,
    storage: StorageOption = "./runs",
) -> None:
    """Print a student's card, as `push` sends it: what it was taught, scores and their distance to the untouched student, limits."""
    from mixray import cards
    from mixray.errors import TrainingError
    from mixray.hub import check_license
    from mixray.training import hub, shelf

    if license_id is not None:
        check_license(license_id, TrainingError)
    store = Store(storage)
    found = shelf.find(store, name)
    print(hub.card_of(found, license_id, cards.measured(store, found)), end="")


@student.command("merge")
def merge(
    hard: Annotated[str, typer.Argument(metavar="HARD", help="the student with weight alpha")],
    easy: Annotated[str, typer.Argument(metavar="EASY", help="the student with the rest")],
    alpha: Annotated[float, typer.Option(min=0, max=1, help="weight of the hard student")] = 0.2,
    method: Annotated[Literal["linear", "ties", "dare"], typer.Option(help="see `merges` in a recipe")] = "linear",
    density: Annotated[float | None, typer.Option(help="share of the differences that ties and dare keep; 0.5 where unset")] = None,
    seed: Annotated[int, typer.Option(help="of dare's draws")] = 0,
    base: Annotated[str | None, typer.Option(help="what both were trained from; their manifests' where unset")] = None,
    name: Annotated[str | None, typer.Option(help="of the merged student; method and alpha where unset")] = None,
    storage: StorageOption = "./runs",
) -> None:
    """Merge two students of one base in weight space; the last line is the merged student's folder."""
    from mixray import training
    from mixray.training import shelf

    store = Store(storage)
    of_hard, of_easy = shelf.find(store, hard), shelf.find(store, easy)
    how = parse_part(Merging, {"method": method, "density": density})
    called = parse_part(shelf.Named, {"name": name or f"{method}-{alpha:g}"}).name
    model = base or shelf.common_base(of_hard, of_easy)
    with library_noise_in(log_path(storage, f"merge-{called}")) as terminal, Display(terminal.err) as display:
        line = display.stage(f"merge {called}")
        made = training.merging.run(store, called, of_hard, of_easy, model, how, alpha, seed, line)
        line.finish(f"{method}, {alpha:g} of {of_hard.name} over {of_easy.name}")
        terminal.answer(place_of(made, storage))
