"""A run that stops early: `mixray pool make`, `mixture make` and `student make` are one command with three ends."""

from __future__ import annotations

from typing import Literal

from mixray.options import log_path, place_of
from mixray.progress import Display
from mixray.recipe_file import load_recipe
from mixray.store import Store
from mixray.terminal import library_noise_in


def make_up_to(end: Literal["pools", "mixtures", "students"], recipe: str, storage: str, overrides: list[str] | None) -> None:
    """Make what a recipe needs up to one kind of artefact; answer with where each of that kind lies, a line each."""
    loaded = load_recipe(recipe, overrides)
    with library_noise_in(log_path(storage, f"{loaded.name}-{end}")) as terminal:
        from mixray import pipeline

        make = {"pools": pipeline.make_pools, "mixtures": pipeline.make_mixtures, "students": pipeline.make_students}[end]
        with Display(terminal.err) as display:
            for made in make(loaded, Store(storage), display).values():
                terminal.answer(place_of(made, storage))
