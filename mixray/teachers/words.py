"""A pool's figures in words and rows, for the end of a run and for `mixray pool show`.

In: the outcome of a pool's manifest. Out: text. Pure.
"""

from __future__ import annotations

from typing import Any


def pool_in_words(out: dict[str, Any]) -> str:
    """Return one line: traces, verdicts, tokens and their speed, what it took, what it cost."""
    traces = max(out["num_traces"], 1)
    parts = [
        f"{out['num_traces']:,} traces of {out['num_problems']:,} problems",
        f"{out['right'] / traces:.1%} right, {out['wrong'] / traces:.1%} wrong, {out['unknown'] / traces:.1%} unknown",
        f"{out['response_tokens']:,} tokens" + (f" at {out['tokens_per_second']:,.0f}/s" if out["seconds"] else ""),
    ]
    if out["compute"] != "none":
        parts.append(f"{out['compute_seconds']:,.0f} {out['compute'].upper()} s")
    if out["cost"]:
        each = out["cost_per_accepted_trace"]
        told = f"{out['cost']:,.2f} {out['currency']}"
        parts.append(told if each is None else f"{told}, {each:.2g} for each of {out['accepted']:,} accepted traces")
    if out["num_set_aside"]:
        parts.append(f"{out['num_set_aside']:,} rows set aside")
    return "; ".join(parts)


def strata(out: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a pool's pass rates by subject and level: before rejection by traces, after it by what the accepted ones are made of."""
    kept = max(out["num_solved"], 1)
    return [
        {
            "subject": stratum["subject"] or "-",
            "level": stratum["level"],
            "problems": stratum["problems"],
            "share_before": stratum["problems"] / max(out["num_problems"], 1),
            "pass_rate": stratum["right"] / max(stratum["traces"], 1),
            "solved": stratum["solved"],
            "share_after": stratum["solved"] / kept,
        }
        for stratum in out["strata"]
    ]
