"""What each arm cost: its teachers' tokens, seconds and price, and its training; and what a point over the untouched student cost.

A pool is asked once and mixed many times. An arm is charged the share of a pool that its mixture uses: the rows it takes over the pool's
right traces, so that wrong answers are paid for by the right ones. `asked_tokens` are those of the whole pools. What training costs is the
mean over seeds; a merge costs what the two students it is made of cost, and a trace that both were taught is paid for once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mixray.report.answers import Arm, SeedGroup
from mixray.store import Artefact

Row = Mapping[str, Any]
PER_POINT = {
    "teacher_tokens_per_point": "teacher_tokens", "training_seconds_per_point": "training_seconds", "cost_per_point": "teacher_cost",
}  # fmt: skip


def cost_rows(
    groups: Sequence[SeedGroup], mixtures: Mapping[str, Artefact], pools: Mapping[str, Artefact], trainings: Mapping[str, Row | None],
    changes: Mapping[tuple[str, str], Row],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row per student and mixture, or merge.

    Args:
        groups: arms pooled over seeds.
        mixtures: by name, as the report's arms and their trained students know them.
        pools: by teacher.
        trainings: each arm's figures (`curves.figures`), None where there are none.
        changes: the gap to the untouched student on the headline, by student and label.
    """
    by_hash = {artefact.hash: artefact for artefact in mixtures.values()}
    known = {(group.student, group.label): group for group in groups}
    rows = []
    for group in groups:
        if group.mixture is None:
            continue
        parts = [known.get((group.student, name)) for name in (group.merged.hard, group.merged.easy)] if group.merged else [group]
        spent = _spent([part for part in parts if part], by_hash, mixtures, pools, trainings) if all(parts) else _UNKNOWN
        gap = changes[group.student, group.label]
        points = 100 * gap["difference"]
        told = group.matched and points > 0
        rows.append(
            {
                "student": group.student,
                "label": group.label,
                **spent,
                "points": points,
                "shown": bool(gap["low"] > 0),
                **{name: spent[of] / points if told and spent[of] is not None else None for name, of in PER_POINT.items()},
            }
        )
    return rows


_UNKNOWN: dict[str, Any] = {
    "teacher_tokens": None, "asked_tokens": None, "teacher_seconds": None, "teacher_cost": None, "currency": None, "used_shares": {},
    "training_seconds": None, "training_tokens": None,
}  # fmt: skip


def _spent(
    parts: Sequence[SeedGroup], by_hash: Mapping[str, Artefact], mixtures: Mapping[str, Artefact], pools: Mapping[str, Artefact],
    trainings: Mapping[str, Row | None],
) -> dict[str, Any]:  # fmt: skip
    """Return what an arm cost, or a merge of several."""
    taught = [_mixture(part.arms[0], by_hash, mixtures) for part in parts]
    told = _UNKNOWN | (_of_teachers([mixture for mixture in taught if mixture], pools) if all(taught) else {})
    for name, key in (("training_seconds", "seconds"), ("training_tokens", "seen_tokens")):
        told[name] = _sum([_mean([_figure(trainings.get(arm.name), key) for arm in part.arms]) for part in parts])
    return told


def _mixture(arm: Arm, by_hash: Mapping[str, Artefact], mixtures: Mapping[str, Artefact]) -> Artefact | None:
    """Return what an arm was trained on: the mixture its student was made from, or the one of its name."""
    used = arm.trained.made_by["inputs"].get("mixture") if arm.trained else None
    return by_hash.get(used) if used else mixtures.get(arm.mixture or "")


def _of_teachers(mixtures: Sequence[Artefact], pools: Mapping[str, Artefact]) -> dict[str, Any]:
    """Return what the used shares of the pools cost; None where a pool does not tell, no price where none was set."""
    right: dict[str, int] = {}
    for mixture in mixtures:
        for name, pool in mixture.outcome["steps"][0]["pools"].items():
            right[name] = max(pool["rows"], right.get(name, 0))
    used = {name: rows / right[name] for name, rows in _taken(mixtures).items() if right.get(name) and rows}
    told = {name: pools[name].outcome for name in used if name in pools}
    if set(told) != set(used):
        return {"used_shares": used}
    tokens = {name: _sum([out.get("prompt_tokens", 0), out.get("response_tokens") or None]) for name, out in told.items()}
    currencies = {out.get("currency") for out in told.values()}
    prices = {name: out.get("cost") or None for name, out in told.items()}
    return {
        "teacher_tokens": _sum([_times(used[name], tokens[name]) for name in used]),
        "asked_tokens": _sum(list(tokens.values())),
        "teacher_seconds": _sum([_times(used[name], told[name].get("seconds")) for name in used]),
        "teacher_cost": _sum([_times(used[name], prices[name]) for name in used]) if len(currencies) == 1 else None,
        "currency": currencies.pop() if len(currencies) == 1 else None,
        "used_shares": used,
    }


def _taken(mixtures: Sequence[Artefact]) -> dict[str, int]:
    """Return how many rows were taken from each pool; one that several mixtures took counts once."""
    if len(mixtures) == 1:
        return {name: pool["rows"] for name, pool in mixtures[0].outcome["pools"].items()}
    tables = [mixture.read_table(["pool", "trace_id"]) for mixture in mixtures]
    rows = {(row["pool"], row["trace_id"]) for table in tables for row in table.to_pylist()}
    return dict(Counter(pool for pool, _ in sorted(rows)))


def _figure(training: Row | None, key: str) -> float | None:
    return training[key] if training else None


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return None if total is None else total / len(values)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _times(share: float, value: float | None) -> float | None:
    return None if value is None else share * value
