"""The `mixray` command. Exit codes: 0 done, 1 a failure told in one message, 2 a bad recipe or usage, 130 Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mixray.audit_cli import audit
from mixray.errors import MixrayError, RecipeError, by_interrupt
from mixray.evaluate_cli import evaluate
from mixray.functions import checked_name
from mixray.lab_cli import lab
from mixray.mixture_cli import mixture
from mixray.options import SetOption, StorageOption, log_path
from mixray.pool_cli import pool
from mixray.progress import Display
from mixray.recipe import Recipe
from mixray.recipe_file import load_recipe
from mixray.recipes_cli import recipes
from mixray.report_cli import compare, report
from mixray.run_cli import plan, run, status, sweep
from mixray.serve_cli import serve
from mixray.store import Store
from mixray.student_cli import student
from mixray.submit_cli import jobs, submit
from mixray.terminal import harmless, library_noise_in

INTERRUPTED = 130
app = typer.Typer(
    help="Find out which mix of teachers is best for your small student, and train it.",
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
tiny = typer.Typer(help="The tiny world: the micro-models that ship with mixray.")
for command in (recipes, run, sweep, plan, status, submit, evaluate, audit, compare, serve, lab):
    app.command()(command)
for name, commands in (("tiny", tiny), ("pool", pool), ("mixture", mixture), ("student", student), ("report", report), ("jobs", jobs)):
    app.add_typer(commands, name=name)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    print(json.dumps(Recipe.model_json_schema(), indent=2))


@app.command()
def verify(
    file: Annotated[str, typer.Argument(metavar="FILE.jsonl|RECIPE", help="rows with a response and a gold; with --redo a recipe")],
    out: Annotated[Path | None, typer.Option(help="where the judged rows go")] = None,
    response: Annotated[str, typer.Option(help="the key of the response")] = "response",
    gold: Annotated[str, typer.Option(help="the key of the right answer")] = "answer",
    unboxed: Annotated[bool, typer.Option("--unboxed", help="where no box is found, the last number counts (GSM8K)")] = False,
    verifier: Annotated[str | None, typer.Option(help="your own judge of the rows, as package.module:function")] = None,
    redo: Annotated[bool, typer.Option("--redo", help="judge the pools and scores of a recipe again; nothing is asked")] = False,
    storage: StorageOption = "./runs",
    overrides: SetOption = None,
) -> None:
    """Judge the responses of a file: each row gets verdict, verdict_reason and answer. Or judge a recipe's pools and scores again."""
    if redo:
        _judge_again(load_recipe(file, overrides), storage)
        return
    if out is None:
        raise RecipeError("It is not said where the judged rows go", rule="--out is needed", do="pass --out OUT.jsonl")
    from mixray.verify import OwnVerifier, verify_file
    from mixray.verify import verify as by_policy

    judge = OwnVerifier.named(_own(verifier)) if verifier else by_policy
    counts = verify_file(Path(file), response, gold, out, unboxed, judge)
    print(", ".join(f"{value} {key}" for key, value in counts.items()) + f" -> {out}")


def _own(name: str) -> str:
    try:
        return checked_name(name)
    except ValueError as error:
        raise RecipeError("A --verifier is wrong", seen=name, rule=str(error), do="see verify/OWN.md") from None


def _judge_again(recipe: Recipe, storage: str) -> None:
    with library_noise_in(log_path(storage, f"{recipe.name}-redo")) as terminal:
        from mixray import pipeline

        with Display(terminal.err) as display:
            for made, redone in pipeline.judge_again(recipe, Store(storage), display):
                told = [f"{count:,} from {old} to {new}" for (old, new), count in sorted(redone.changes.items())]
                terminal.answer(f"{made.label}: {redone.num_traces:,} verdicts, " + (", ".join(told) or "none changed"))
                if redone.readers:
                    terminal.answer("  made from the former verdicts; remove them to have them made again: " + ", ".join(redone.readers))


@app.command()
@tiny.command("build")
def tiny_build(
    models: Annotated[list[str] | None, typer.Argument(help="which models; all where none is named")] = None,
    folder: Annotated[Path | None, typer.Option(help="where the models go; the package itself where unset")] = None,
    storage: StorageOption = "./runs/tiny-build",
) -> None:
    """Rebuild the shipped micro-models from nothing, with a fixed seed, and print how often each is right."""
    with library_noise_in(log_path(storage, "tiny-build")) as terminal:
        from mixray.tiny.build import build

        with Display(terminal.err) as display:
            for line in build(models or None, folder, Store(storage), display):
                terminal.answer(line)


def fail(text: str, code: int) -> NoReturn:
    """Say one last thing and leave, with the right exit code also where nobody reads it any more."""
    try:
        print(harmless(text), file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = None  # Python would flush it once more, and end with 120
    sys.exit(code)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; every failure ends in one message and the right exit code."""
    # `ray job stop` and process managers send SIGTERM: leave by the same way as on Ctrl-C, with nothing left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # Typer catches Ctrl-C itself and gives back the exit code.
        given = sys.argv[1:] if arguments is None else arguments
        if app(args=given or ["--help"], prog_name="mixray", standalone_mode=False) == INTERRUPTED:
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        fail(*_last_words(error))
    sys.exit(0)


def _last_words(error: BaseException) -> tuple[str, int]:
    if by_interrupt(error) or isinstance(error, typer.Abort):
        return "\nmixray: interrupted; the same command goes on from here", INTERRUPTED
    if isinstance(error, MixrayError):
        return f"mixray: {error}{_log_of(error)}", error.exit_code
    if isinstance(error, typer.exceptions.TyperException):
        return _usage(error), 2
    return f"mixray: an unexpected {type(error).__name__}: {error}{_log_of(error)}", 1


def _usage(error: typer.exceptions.TyperException) -> str:
    told = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)  # the kinds of error that have one are private to typer
    command = context.command_path if context else "mixray"
    return told if told.startswith("Usage:") else f"mixray: {told}; see `{command} --help`"


def _log_of(error: BaseException) -> str:
    path = error.__dict__.get("log_path")
    return f"\nlog: {path}" if path else ""


if __name__ == "__main__":
    main()
