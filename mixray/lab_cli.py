"""`mixray lab`: the laboratory, claim by claim."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from mixray.errors import MixrayError
from mixray.options import StorageOption, log_path
from mixray.progress import Display
from mixray.recipe import nearest
from mixray.recipe_file import load_recipe
from mixray.store import Store
from mixray.terminal import library_noise_in


def lab(
    claims: Annotated[list[str] | None, typer.Argument(help="which claims; all where none is named")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="the quick subset alone: under half an hour on two cores")] = False,
    check: Annotated[bool, typer.Option("--check", help="write nothing; hold what is found against the committed numbers")] = False,
    storage: StorageOption = "./runs",
    docs: Annotated[Path, typer.Option(help="where laboratory.md and its numbers and pictures are written")] = Path("docs"),
) -> None:
    """Hold what the paper and its neighbours claim against the tiny world; finds what is there already, and goes on where it was ended."""
    from mixray.laboratory import CLAIMS, Notebook, find, metered
    from mixray.laboratory.notebook import held_against

    for name in claims or []:
        if name not in CLAIMS:
            raise MixrayError(
                "There is no such claim", seen=name, rule=f"one of {', '.join(CLAIMS)}", do="check it" + nearest(name, CLAIMS)
            )
    wanted = [claim for claim in CLAIMS.values() if (not claims or claim.name in claims) and (claim.quick or not quick)]
    notebook, outside = Notebook.open(docs), 0
    with library_noise_in(log_path(storage, "lab")) as terminal:
        from mixray import pipeline
        from mixray.graph import build_graph

        store = Store(storage)
        with Display(terminal.err) as display:
            for claim in wanted:
                recipe = load_recipe(claim.recipe)
                is_there = pipeline.report_of(recipe, build_graph(recipe, store), store).is_done()
                with metered() as meter:
                    made, _ = pipeline.run(recipe, store, display)
                finding = find(claim, recipe, build_graph(recipe, store), made)
                terminal.answer(f"{claim.name}: {finding.verdict}")
                if check:
                    is_inside, told = held_against(notebook.findings.get(claim.name), finding)
                    terminal.answer("\n".join(f"  {each}" for each in told))
                    outside += not is_inside
                    continue
                if not is_there:
                    notebook.seconds[claim.recipe] = round(notebook.seconds.get(claim.recipe, 0.0) + meter.seconds, 1)
                    notebook.machine = machine()
                notebook.add(claim, finding, made.read_json("report.json"))
    if outside:
        raise MixrayError(
            "The laboratory came to other numbers",
            seen=f"{outside} of {len(wanted)} claims",
            rule="inside the committed intervals",
            do="see above; another kind of machine rounds otherwise, but not as far",
        )


def machine() -> str:
    """Return what this ran on: processors by kind and number."""
    kind = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kind = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} cores of {kind}"
