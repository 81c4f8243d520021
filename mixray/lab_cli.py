"""`mixray lab`: the laboratory, claim by claim."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixray.errors import MixrayError
from mixray.options import StorageOption, log_path
from mixray.progress import Display
from mixray.recipe import nearest
from mixray.recipe_file import load_recipe
from mixray.store import Artefact, Store
from mixray.terminal import library_noise_in

if TYPE_CHECKING:
    from mixray.laboratory import Claim, Finding, Notebook


def lab(
    claims: Annotated[list[str] | None, typer.Argument(help="which claims; all where none is named")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="the quick subset alone: under half an hour on two cores")] = False,
    check: Annotated[bool, typer.Option("--check", help="write nothing; hold what is found against the committed numbers")] = False,
    storage: StorageOption = "./runs/lab",
    docs: Annotated[Path, typer.Option(help="where laboratory.md and its numbers and pictures are written")] = Path("docs"),
) -> None:
    """Hold what the paper and its neighbours claim against the tiny world; finds what is there already, and goes on where it was ended."""
    from mixray.laboratory import CLAIMS, Notebook, held_against

    for name in claims or []:
        if name not in CLAIMS:
            raise MixrayError(
                "There is no such claim", seen=name, rule=f"one of {', '.join(CLAIMS)}", do="check it" + nearest(name, CLAIMS)
            )
    wanted = [claim for claim in CLAIMS.values() if (not claims or claim.name in claims) and (claim.quick or not quick)]
    notebook, store, outside = Notebook.open(docs), Store(storage), 0
    with library_noise_in(log_path(storage, "lab")) as terminal, Display(terminal.err) as display:
        for claim in wanted:
            finding, made = _held(claim, store, display)
            terminal.answer(f"{claim.name}: {finding.verdict}")
            if check:
                is_inside, told = held_against(notebook.findings.get(claim.name), finding)
                terminal.answer("\n".join(f"  {each}" for each in told))
                outside += not is_inside
            else:
                _note(notebook, claim, finding, made)
    if outside:
        raise MixrayError(
            "The laboratory came to other numbers",
            seen=f"{outside} of {len(wanted)} claims",
            rule="inside the committed intervals",
            do="see above; another kind of machine rounds otherwise, but not as far",
        )


def _held(claim: Claim, store: Store, display: Display) -> tuple[Finding, Artefact]:
    """Run a claim's recipe as far as it is not there; return what it says of the claim, and the report."""
    from mixray import pipeline
    from mixray.graph import build_graph
    from mixray.laboratory import find, kept

    recipe = load_recipe(claim.recipe)
    is_there = pipeline.report_of(recipe, build_graph(recipe, store), store).is_done()
    with contextlib.nullcontext() if is_there else kept(store, claim.recipe):
        made, _ = pipeline.run(recipe, store, display)
    return find(claim, recipe, build_graph(recipe, store), made), made


def _note(notebook: Notebook, claim: Claim, finding: Finding, made: Artefact) -> None:
    """Write a finding down, with what its recipe took where this storage knows."""
    from mixray.laboratory import spent

    if seconds := spent(made.store, claim.recipe):
        notebook.seconds[claim.recipe] = round(seconds, 1)
        notebook.machine = machine()
    notebook.add(claim, finding, made.read_json("report.json"))


def machine() -> str:
    """Return what this ran on: processors by kind and number."""
    kind = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kind = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} cores of {kind}"
