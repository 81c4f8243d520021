"""`mixray recipes`: what ships."""

from __future__ import annotations

import json

from rich.markup import escape
from rich.table import Table

from mixray.options import JsonOption
from mixray.recipe_file import headline, shipped_recipes
from mixray.terminal import print_table


def recipes(as_json: JsonOption = False) -> None:
    """List the shipped recipes, each with what it is for."""
    told = {name: headline(name) for name in shipped_recipes()}
    if as_json:
        print(json.dumps(told, indent=2))
        return
    table = Table("recipe", "what it is for", box=None, pad_edge=False)
    for name, line in told.items():
        table.add_row(escape(name), escape(line))
    print_table(table)
