"""What the students were taught with: rows about mixtures, pools and overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mixray.store import Artefact

POOL_COLUMNS = ["problem_id", "verdict", "finish_reason", "status", "num_response_tokens"]
UNITS = ("rows", "tokens", "loss_tokens")
SHARES = ("row_share", "token_share", "loss_token_share")


def mixture_rows(mixtures: Mapping[str, Artefact]) -> list[dict[str, Any]]:
    """Return a row per mixture: shares are those of the hard pool; `dropped` counts traces left out for their length.

    A mixture that cuts what is too long has `cut`, the rows that were and the tokens they lost, by pool.
    `steps` tells what each pool had after every step, `cells` the same of the finished mixture by subject and level.
    """
    rows = []
    for name, artefact in mixtures.items():
        outcome = artefact.outcome
        first, last = outcome["steps"][0]["step"], outcome["steps"][-1]["step"]
        cells = [cell for cell in artefact.read_json("shares.json") if cell["step"] in (first, last)]
        rows.append(
            {
                "name": name,
                **{
                    key: outcome[key]
                    for key in ("alpha", "hard", "easy", "by", "sharing", "order", "num_rows", "num_problems", "max_tokens")
                },
                "asked_shares": outcome["shares"],
                **{share: outcome[share] for share in SHARES},
                "before": {share: outcome["before"][share] for share in SHARES},
                "dropped": sum(outcome["dropped"].values()),
                "dropped_by_pool": outcome["dropped"],
                **{key: outcome[key] for key in ("cut",) if key in outcome},
                "pools": outcome["pools"],
                "tokens": sum(pool["tokens"] for pool in outcome["pools"].values()),
                "loss_tokens": sum(pool["loss_tokens"] for pool in outcome["pools"].values()),
                "steps": outcome["steps"],
                "subjects": _grouped(cells, "subject", last),
                "levels": _grouped(cells, "level", last),
            }
        )
    return rows


def _grouped(cells: Iterable[Mapping[str, Any]], kind: str, last: str) -> list[dict[str, Any]]:
    """Return rows, tokens and loss tokens of each pool within each subject, or each level, the unnamed first.

    `right` counts the rows there were before anything was left out: of every pool, whether the mixture takes them from it or not.
    """
    found: dict[tuple[Any, str], dict[str, Any]] = {}
    for cell in cells:
        row = found.setdefault((cell[kind], cell["pool"]), {kind: cell[kind], "pool": cell["pool"], "right": 0, **dict.fromkeys(UNITS, 0)})
        if cell["step"] != last:
            row["right"] += cell["rows"]
            continue
        for unit in UNITS:
            row[unit] += cell[unit]
    return sorted(found.values(), key=lambda row: (row[kind] is not None, row[kind], row["pool"]))


def overlap_rows(overlaps: Artefact, most: int = 200) -> dict[str, Any]:
    """Return how many problems overlap a benchmark or repeat another, and the first `most` of each."""
    hits, twins = overlaps.read_json("hits.json"), overlaps.read_json("twins.json")
    return {**overlaps.outcome, "listed_hits": hits[:most], "listed_twins": twins[:most]}


def pool_rows(pools: Mapping[str, Artefact]) -> list[dict[str, Any]]:
    """Return a row per pool: how many traces were right, how long they are, what they cost, and how many rest on a judge's word.

    `seconds` is how long asking took, over all runs, starts left out. Imported traces may not tell their tokens; those count as none.
    """
    rows = []
    for teacher, artefact in pools.items():
        columns = artefact.read_table(POOL_COLUMNS).to_pydict()
        verdicts, tokens = columns["verdict"], columns["num_response_tokens"]
        right_tokens = [number for verdict, number in zip(verdicts, tokens, strict=True) if verdict == "right" and number is not None]
        solved = {problem for problem, verdict in zip(columns["problem_id"], verdicts, strict=True) if verdict == "right"}
        rows.append(
            {
                "teacher": teacher,
                "num_problems": len(set(columns["problem_id"])),
                "num_problems_solved": len(solved),
                "num_traces": len(verdicts),
                **{verdict: verdicts.count(verdict) for verdict in ("right", "wrong", "unknown")},
                "truncated": columns["finish_reason"].count("length"),
                "failed": columns["status"].count("error"),
                "response_tokens": sum(number or 0 for number in tokens),
                "mean_right_tokens": sum(right_tokens) / len(right_tokens) if right_tokens else None,
                **{
                    name: artefact.outcome[name]
                    for name in ("seconds", "judged", "right_by_judge", "cost", "cost_per_accepted_trace", "currency")
                },
            }
        )
    return rows
