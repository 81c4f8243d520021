"""`mixray audit`: two ways of judging the same responses held against each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer
from rich.markup import escape
from rich.table import Table

from mixray.errors import StoreError
from mixray.options import JsonOption, StorageOption
from mixray.recipe import nearest
from mixray.store import Artefact, Store
from mixray.terminal import harmless, print_table

if TYPE_CHECKING:
    from mixray.verify.audit import Totals

SCORES, POOLS = "scores", "pools"


def audit(
    name: Annotated[str, typer.Argument(metavar="POOL|ARM", help="a pool, as `mixray pool ls` shows it, or the scores of an arm")],
    first: Annotated[str, typer.Option(help="stored, rule, judge, mixray, exact or math-verify")] = "stored",
    second: Annotated[
        str, typer.Option(help="what to hold against it; also lm-eval's own, such as lm-eval:minerva-math-verify")
    ] = "math-verify",
    unboxed: Annotated[
        bool | None,
        typer.Option("--unboxed/--boxed", help="where no box is found, the last number counts, or not; as it was judged where unset"),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="rows shown")] = 50,
    storage: StorageOption = "./runs",
    as_json: JsonOption = False,
) -> None:
    """List where two ways of judging the same responses disagree: policies, what is stored, a model's second opinion, lm-eval's metrics."""
    from mixray.verify.audit import disagreements

    found, as_judged = _find(Store(storage), name)
    totals: Totals = {}
    rows = list(disagreements(found.tables(), first, second, as_judged if unboxed is None else unboxed, totals))
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))
        if found.kind == SCORES:
            told = {key: asdict(tally) for key, tally in totals.items()}
            print(json.dumps({"first": first, "second": second, "judged_by": _judged_by(first, second), "totals": told}))
        return
    asked_lm_eval = any(row.second_answer is not None for row in rows)
    table = Table("trace", "gold", "answer", *(["lm-eval's answer"] if asked_lm_eval else []), first, second, box=None, pad_edge=False)
    for row in rows[:most]:
        answers = [row.answer, row.second_answer] if asked_lm_eval else [row.answer]
        cells = (row.trace_id, row.gold, *("-" if answer is None else answer for answer in answers), row.first, row.second)
        table.add_row(*(escape(harmless(cell)) for cell in cells))
    if rows:
        print_table(table)
    _print_totals(totals, first, second)
    _print_last(totals, first, second, len(rows), most, "answer" if found.kind == SCORES else "trace")


def _find(store: Store, name: str) -> tuple[Artefact, bool | Mapping[str, bool]]:
    """Return a pool or the scores of an arm, and where it was judged by the last number."""
    from mixray import shelf
    from mixray.teachers import shelf as pools

    scores = shelf.fitting(store, SCORES, name)
    if scores and not shelf.fitting(store, POOLS, name):
        found = shelf.open_only(store, SCORES, name, scores)
        if "gold" not in next(found.tables(), pa.table({})).column_names:
            raise StoreError("Scores are of an earlier version", seen=found.label, rule="their rows tell golds", do="run the recipe again")
        return found, _unboxed(store, found)
    if not scores and not shelf.fitting(store, POOLS, name):
        known = [folder for kind in (POOLS, SCORES) for folder in shelf.folders(store, kind)]
        raise StoreError(
            "There is no such pool, nor scores of such an arm",
            seen=name,
            rule=f"one of {', '.join(known)}" if known else f"{store.url} holds neither",
            do=f"see `mixray pool ls` and `mixray student ls`{nearest(name, [*known, *(folder.rpartition('-')[0] for folder in known)])}",
        )
    pool = pools.find(store, name)
    return pool, pools.counts_unboxed(pool)


def _unboxed(store: Store, scores: Artefact) -> dict[str, bool]:
    """Return by benchmark whether the last number counted; scores that a judge went over were asked as those they were made from."""
    asked = scores.made_by["settings"].get("asked")
    if isinstance(asked, dict):
        return {name: bool(how["unboxed"]) for name, how in asked.items()}
    made_from = f"-{scores.made_by['inputs'].get('scores')}"
    before = next((folder for folder in store.folders(SCORES) if folder.endswith(made_from)), None)
    return _unboxed(store, store.open(SCORES, before)) if before is not None else {}


def _print_totals(totals: Totals, first: str, second: str) -> None:
    whys: Counter[str] = Counter()
    for tally in totals.values():
        whys.update(tally.whys)
    if whys:
        print("\nwhy: " + harmless("; ".join(f"{count:,} {reason}" for reason, count in whys.most_common())))
    if "" in totals:  # a pool has no benchmarks, and the last line tells the rest
        return
    table = Table("\nbenchmark", box=None, pad_edge=False)
    for column in ("\nanswers", f"right by\n{first}", f"right by\n{second}", "\ndifference", "agree\non right"):
        table.add_column(escape(column), justify="right")
    for benchmark, tally in totals.items():
        shares = [count / tally.num for count in (tally.first_right, tally.second_right)]
        cells: list[Any] = [f"{tally.num:,}", *(f"{share:.1%}" for share in shares), f"{100 * (shares[1] - shares[0]):+.1f}"]
        table.add_row(escape(harmless(benchmark)), *cells, f"{tally.agreed_on_right / tally.num:.2%}")
    print()
    print_table(table)


def _print_last(totals: Totals, first: str, second: str, num_rows: int, most: int, noun: str) -> None:
    from mixray.teachers.words import plural

    total = sum(tally.num for tally in totals.values())
    if by := _judged_by(first, second):
        print(f"judged by {by}")
    print(f"{first} and {second} disagree on {num_rows:,} of {plural(total, noun)} ({num_rows / max(total, 1):.2%})"
          + (f"; the first {most} are shown" if num_rows > most else ""))  # fmt: skip


def _judged_by(first: str, second: str) -> str | None:
    """Return lm-eval's version, where it was asked."""
    from mixray.verify import lm_eval_tasks

    return lm_eval_tasks.version() if any(name.startswith(lm_eval_tasks.PREFIX) for name in (first, second)) else None
