"""What `mixray pool` prints: tables of pools, one pool's figures, traces in frames.

In: artefacts, outcomes, rows. Out: the terminal. What models wrote is shown as text, never as markup.
"""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mixray.store import Artefact
from mixray.terminal import harmless, print_table

JUDGE = "judge_cost"
"""Stands in the outcome of pools with a judge's second opinions alone."""
COLOURS = {"right": "green", "wrong": "red", "unknown": "yellow"}


def figures(found: list[tuple[Artefact, dict[str, Any]]]) -> Table:
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


def show_pool(found: Artefact, out: dict[str, Any]) -> None:
    """Print what a pool came to, with pass rates by subject and level."""
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


def show_traces(traces: list[dict[str, Any]], as_json: bool) -> None:
    """Print traces whole, in a frame of their verdict's colour; or as JSON lines."""
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
