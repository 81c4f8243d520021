"""A pool's figures in words and rows, for the end of a run and for `mixray pool show`.

In: the outcome of a pool's manifest. Out: text. Pure.
"""

from __future__ import annotations

from typing import Any


def pool_in_words(out: dict[str, Any]) -> str:
    """Return one line: traces, verdicts, tokens and their speed, what it took, what it cost."""
    traces = max(out["num_traces"], 1)
    parts = [
        f"{plural(out['num_traces'], 'trace')} of {plural(out['num_problems'], 'problem')}",
        f"{out['right'] / traces:.1%} right, {out['wrong'] / traces:.1%} wrong, {out['unknown'] / traces:.1%} unknown",
    ]
    if out["response_tokens"]:  # imported traces mostly do not say
        speed = f" at {out['tokens_per_second']:,.0f}/s" if out["seconds"] else ""
        parts.append(f"{out['response_tokens']:,} tokens{speed}")
    if out["compute"] != "none":
        parts.append(f"{out['compute_seconds']:,.0f} {out['compute'].upper()} s")
    if out["cost"]:
        each = out["cost_per_accepted_trace"]
        told = f"{out['cost']:,.2f} {out['currency']}"
        parts.append(f"{told}, {each:.2g} for each accepted trace" if each is not None else f"{told}, no trace accepted")
    if out["num_set_aside"]:
        told = ", ".join(f"{count:,} {reason}" for reason, count in out["set_aside"].items())
        parts.append(f"{plural(out['num_set_aside'], 'row')} set aside ({told})")
    return "; ".join(parts)


def plural(count: int, noun: str) -> str:
    """Return `1 trace`, `2,000 traces`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


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
