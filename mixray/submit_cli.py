"""`mixray submit` and `mixray jobs`: a recipe sent to a Ray cluster, followed, looked at, stopped."""

from __future__ import annotations

import functools
import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from mixray.errors import RecipeError
from mixray.jobs import JOBS, made
from mixray.options import AddressOption, JsonOption, RecipeArgument, SetOption, StorageOption, place_of
from mixray.recipe import Placed, Recipe
from mixray.recipe_file import parse_part, parse_recipe, plain_recipe
from mixray.store import Artefact, Store
from mixray.terminal import harmless, print_table

if TYPE_CHECKING:
    from mixray.submitting import Cluster, Order

DETACHED = 130
jobs = typer.Typer(help="Jobs on a cluster: list them, read their logs, stop one.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="as `mixray jobs ls` shows it")]


def submit(
    recipe: RecipeArgument,
    further: Annotated[list[str] | None, typer.Argument(metavar="[-- OPTION...]", help="further options of the job, after `--`")] = None,
    address: AddressOption = None,
    job: Annotated[str, typer.Option(help=f"one of {', '.join(JOBS)}")] = "run",
    storage: StorageOption = "./runs",
    overrides: SetOption = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="show the job's log until it ends; Ctrl-C leaves it running")] = True,
    env: Annotated[Literal["baked", "pip", "uv"], typer.Option(help="how nodes come by mixray: in their image, or installed")] = "baked",
    extra: Annotated[Literal["gpu", "cpu"], typer.Option(help="which build, with --env pip and uv")] = "gpu",
    secret: Annotated[list[str] | None, typer.Option(help="a variable that the nodes must have; repeatable")] = None,
    send_secret: Annotated[
        list[str] | None, typer.Option(help="a variable sent along with its value, which the cluster keeps in the clear; repeatable")
    ] = None,
    shared_paths: Annotated[bool, typer.Option("--shared-paths", help="absolute paths in the recipe are the same files on nodes")] = False,
    driver_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="of the node that the job's driver may run on; repeatable")
    ] = None,
) -> None:
    """Run a recipe as a job on a Ray cluster; what is asked for twice is done once. The exit code is the job's."""
    if job not in JOBS:
        raise RecipeError("There is no such job", seen=job, rule=f"one of {', '.join(JOBS)}", do="pass another --job")
    labels = _labels(driver_label or [])
    data = plain_recipe(recipe, overrides)
    loaded, place = parse_recipe(plain_recipe(recipe, overrides), []), _as_nodes_find_it(storage)
    there = None if further else _made(job, loaded, storage)  # the words after `--` may make it another recipe
    if isinstance(there, Artefact):
        _say(f"it is done: {there.label}")
        print(place_of(there, storage))
        return
    from mixray.submitting import Cluster, Order, runtime_environment, submitted

    order = Order(job, loaded, data, place, tuple(further or ()), shared_paths, labels)
    environment = functools.partial(runtime_environment, env, extra=extra, secrets=secret or (), sent=send_secret or ())
    cluster = Cluster(address)
    submission_id, how = submitted(cluster, order, environment, lambda: None if further else _is_made(job, loaded, storage))
    _tell(cluster, order, submission_id, how)
    if how == "done":
        return
    if not follow:
        print(submission_id)
        return
    _follow(cluster, submission_id)


def _labels(given: list[str]) -> dict[str, str]:
    """Return what was asked for of the driver's node, by Ray's rules for labels."""
    pairs = [text.partition("=")[::2] for text in given]
    return parse_part(Placed, {"labels": dict(pairs)}).labels


def _made(job: str, recipe: Recipe, storage: str) -> Artefact | bool | None:
    """Return what the job would make, if it is there; False where it is not, None where nobody here can say."""
    if JOBS[job].makes is None or _is_elsewhere(storage):
        return None
    try:
        return made(job, recipe, Store(storage)) or False
    except Exception:  # the nodes' storage, files and models need not be within reach from here, and each has errors of its own
        return None


def _is_elsewhere(storage: str) -> bool:
    """Whether a storage is a folder of a disk that the nodes alone have."""
    return "://" not in storage and not Path(storage).absolute().parent.is_dir()


def _is_made(job: str, recipe: Recipe, storage: str) -> bool | None:
    there = _made(job, recipe, storage)
    return there if there is None else bool(there)


def _as_nodes_find_it(storage: str) -> str:
    """Return the storage's address, the same from every folder."""
    return storage.rstrip("/") if "://" in storage else Store(storage).absolute_url


def _tell(cluster: Cluster, order: Order, submission_id: str, how: str) -> None:
    if how == "done":
        _say(f"it is done: job {submission_id} on {cluster.address}, storage {order.storage}")
        return
    _say(f"{'job' if how == 'begun' else 'it is under way: job'} {submission_id} on {cluster.address}")
    if how == "begun" and "://" not in order.storage:
        _say(f"the storage is a folder: every node must see {order.storage}")


def _follow(cluster: Cluster, submission_id: str) -> NoReturn:
    """Show a job's log until it ends, and leave with its exit code; Ctrl-C leaves the job alone."""
    from mixray.submitting import exit_code, follow

    try:
        job = follow(cluster, submission_id, sys.stdout)
    except KeyboardInterrupt:
        at = f"{submission_id} --address {shlex.quote(cluster.address)}"
        _say(f"\nthe job goes on; `mixray jobs logs {at} --follow` shows it again, `mixray jobs stop {at}` ends it")
        sys.exit(DETACHED)
    code = exit_code(job)
    if code and job.driver_exit_code is None:  # otherwise its log has said why
        _say(f"job {submission_id}: {job.status}; {_first_line(job.message)}")
    sys.exit(code)


def _say(text: str) -> None:
    print(f"{'' if text.startswith(chr(10)) else 'mixray: '}{harmless(text)}", file=sys.stderr, flush=True)


def _first_line(text: str | None) -> str:
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "")


@jobs.command("ls")
def ls(address: AddressOption = None, as_json: JsonOption = False) -> None:
    """List the jobs of a cluster, the latest last."""
    from mixray.submitting import Cluster

    rows = [_row(job) for job in Cluster(address).jobs()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("job", "state", "began", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    table.add_column("storage")
    for row in rows:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["began"])) if row["began"] else "-"
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:,.0f}"
        table.add_row(*(escape(harmless(cell)) for cell in (row["job"], row["state"], began, seconds, row["storage"] or "-")))
    print_table(table)


def _row(job: Any) -> dict[str, Any]:
    began, ended = (moment / 1000 if moment else None for moment in (job.start_time, job.end_time))
    about = job.metadata or {}
    return {
        "job": job.submission_id,
        "state": str(job.status),
        "began": began,
        "seconds": None if began is None else (ended or time.time()) - began,
        "exit_code": job.driver_exit_code,
        "node": job.driver_node_id,
        "recipe": about.get("mixray_recipe"),
        "kind": about.get("mixray_job"),
        "storage": about.get("mixray_storage"),
    }


@jobs.command("logs")
def logs(
    submission_id: IdArgument,
    address: AddressOption = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="until it ends; Ctrl-C leaves it running")] = False,
) -> None:
    """Print a job's log; with --follow until the job ends, with its exit code."""
    from mixray.submitting import Cluster

    cluster = Cluster(address)
    if follow:
        cluster.job(submission_id)
        _follow(cluster, submission_id)
    print(harmless(cluster.log(submission_id)), end="")


@jobs.command("stop")
def stop(submission_id: IdArgument, address: AddressOption = None) -> None:
    """Stop a job, and wait until it has ended; the same `mixray submit` goes on from there."""
    from mixray.submitting import Cluster

    cluster = Cluster(address)
    if not cluster.stop(submission_id):
        _say(f"job {submission_id} has ended already")
        return
    while not (job := cluster.job(submission_id)).status.is_terminal():
        time.sleep(0.5)
    _say(f"job {submission_id}: {job.status}")
