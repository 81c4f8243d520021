"""What `mixray mixture` prints: tables of mixtures, of shares, steps and strata, rows in frames.

In: artefacts, outcomes, rows. Out: the terminal. What models wrote is shown as text, never as markup.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mixray.store import Artefact
from mixray.terminal import harmless

MOST_CHARACTERS = 1500
"""Of one turn of a sample row."""


def figures(found: list[tuple[Artefact, dict[str, Any]]]) -> Table:
    """Return a row for each mixture: what it holds, what was asked."""
    table = Table("mixture", box=None, pad_edge=False)
    for column in ("problems", "rows", "tokens", "loss tokens", "alpha"):
        table.add_column(column, justify="right")
    table.add_column("asked")
    table.add_column("of the loss tokens")
    for item, out in found:
        totals = [sum(pool[count] for pool in out["pools"].values()) for count in ("rows", "tokens", "loss_tokens")]
        trained = [f"{name} {pool['loss_tokens'] / max(totals[2], 1):.1%}" for name, pool in out["pools"].items()]
        asked = ", ".join(f"{name} {share:.1%}" for name, share in out["shares"].items())
        alpha = "-" if out["alpha"] is None else f"{out['alpha']:g}"
        numbers = (f"{number:,}" for number in (out["num_problems"], *totals))
        table.add_row(item.folder, *numbers, alpha, f"{asked} of the {words(out['by'])}", ", ".join(trained))
    return table


def words(count: str) -> str:
    """Return the name of a count, such as `loss tokens`."""
    return count.replace("_", " ")


def empty(left: tuple[str, ...], right: list[str]) -> Table:
    """Return an empty table: columns of words, then columns of numbers."""
    table = Table(*left, box=None, pad_edge=False)
    for column in right:
        table.add_column(column, justify="right")
    return table


def shares(out: dict[str, Any], shares: dict[str, dict[str, float | None]]) -> Table:
    """Return a row for each pool: what was asked of it and what was got."""
    table = empty(("pool",), ["asked", "rows", "of all", "tokens", "of all", "loss tokens", "of all", "too long"])
    for name, counts in out["pools"].items():
        share = shares[name]
        cells = [cell for count in ("rows", "tokens", "loss_tokens") for cell in (f"{counts[count]:,}", f"{share[count]:.1%}")]
        asked = "-" if share["asked"] is None else f"{share['asked']:.1%}"
        table.add_row(escape(name), asked, *cells, f"{out['dropped'].get(name, 0):,}")
    return table


def steps(out: dict[str, Any]) -> Table:
    """Return a row for each step: what it dropped, and what it left of each pool."""
    pools = list(out["pools"])
    table = empty(("step",), ["problems dropped", "rows dropped", "rows before", "rows left", *(f"{pool} left" for pool in pools)])
    for step in out["steps"]:
        of_pools = [step["pools"].get(pool, {"rows": 0})["rows"] for pool in pools]
        left = sum(of_pools)
        numbers = (step["dropped_problems"], step["dropped_rows"], left + step["dropped_rows"], left, *of_pools)
        table.add_row(escape(step["step"]), *(f"{number:,}" for number in numbers))
    return table


def strata(column: str, cells: list[dict[str, Any]], pools: list[str]) -> Table:
    """Return a row for each subject or level."""
    table = empty((column,), ["rows", "share before", "share after", "tokens", "loss tokens", *(f"{pool} rows" for pool in pools)])
    for cell in cells:
        shares = (f"{cell['share_before']:.1%}", f"{cell['share_after']:.1%}")
        numbers = [cell["tokens"], cell["loss_tokens"], *(cell["pools"][pool]["rows"] for pool in pools)]
        value = "-" if cell[column] is None else str(cell[column])
        table.add_row(escape(harmless(value)), f"{cell['rows']:,}", *shares, *(f"{number:,}" for number in numbers))
    return table


def show_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows whole, their turns clipped."""
    console = Console()
    for row in rows:
        turns = [Text(harmless(_clipped(turn["content"])), style="" if turn["role"] == "assistant" else "bold") for turn in row["messages"]]
        facts = f"{row['num_tokens']:,} tokens, {row['num_loss_tokens']:,} of them trained; trace {row['trace_id']}"
        body = Group(*(part for turn in turns for part in (turn, Text())), Text(harmless(facts)))
        title = escape(harmless(f"{row['problem_id']} from {row['pool']}"))
        console.print(Panel(body, title=title, title_align="left"))


def _clipped(text: str) -> str:
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"{text[:MOST_CHARACTERS]} ... ({more:,} more characters)"
