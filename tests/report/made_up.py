"""Made-up scores, mixtures and pools for the tests of the report. No number here was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mixray import rows
from mixray.report import Arm, Merged
from mixray.store import Artefact, Store

PROBLEMS = {"made-up-test": 120}
OUTCOME = {
    "num_steps": 90, "num_rows": 240, "num_packs": 180, "num_tokens": 12_000, "num_loss_tokens": 6_000, "seconds": 60.0,
    "first_loss": 2.0, "last_loss": 0.25,
}  # fmt: skip
SHARES = {None: 0.15, 0.0: 0.55, 0.2: 0.75, 0.5: 0.60, 1.0: 0.30}


def scores(store: Store, name: str, rights: Mapping[str, np.ndarray], tokens: int = 50, truncated: float = 0.1) -> Artefact:
    """Store score rows: `rights[benchmark]` of shape (problems, samples), 1 for right. Of the wrong, a share is truncated."""
    made: list[dict[str, Any]] = []
    for benchmark, right in rights.items():
        for (problem, sample), value in np.ndenumerate(right):
            cut = not value and (problem % 10) < 10 * truncated
            made.append(
                {
                    "problem_id": f"{benchmark}-{problem:04d}",
                    "benchmark": benchmark,
                    "sample": sample,
                    "seed": problem,
                    "question": f"Made-up question {problem}?",
                    "gold": "1",
                    "response": "made up",
                    "finish_reason": "length" if cut else "stop",
                    "num_prompt_tokens": 20,
                    "seconds": 0.5,
                    "status": "truncated" if cut else "ok",
                    "repetition": 0.0,
                    "num_response_tokens": tokens + problem % 5,
                    "answer": "1",
                    "verdict": "right" if value else "wrong",
                    "verdict_reason": "",
                }
            )
    artefact = store.artefact("scores", name, {"rows": rows.digest(made)})
    with artefact.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(made, schema=rows.SCORE))
    return artefact


def budgets(scores: Artefact, tokens: Sequence[int], is_right: Callable[[Mapping[str, Any], int], bool]) -> Artefact:
    """Store what an arm said at budgets of tokens; `is_right` tells of a row that is longer, and its budget, whether it is right then."""
    made = []
    for budget in tokens:
        for row in scores.read_table().to_pylist():
            forced = row["num_response_tokens"] > budget
            verdict = ("right" if is_right(row, budget) else "wrong") if forced else row["verdict"]
            said = {"budget_tokens": budget, "forced": forced, "response": "made up, cut" if forced else None, "verdict": verdict}
            made.append({name: {**row, **said}[name] for name in rows.BUDGET.names})
    artefact = scores.store.artefact("budgets", scores.name, {"budgets": list(tokens), "rows": rows.digest(made)}, {"scores": scores})
    with artefact.staging() as staging:
        staging.write_table("budgets.parquet", pa.Table.from_pylist(made, schema=rows.BUDGET))
    return artefact


def steps(num_steps: int = 90, last: float = 0.2, tokens: int = 400, seed: int = 0) -> list[dict[str, Any]]:
    """Make up a log of steps whose loss falls from about 2 to `last`."""
    generator = np.random.default_rng(seed)
    return [
        {
            "step": step,
            "loss": last + (2 - last) * float(np.exp(-6 * step / num_steps)) + 0.1 * float(generator.random()),
            "grad_norm": 1 + float(generator.random()),
            "learning_rate": 1e-3 * (1 - (step - 1) / num_steps),
            "num_tokens": tokens,
            "num_loss_tokens": tokens // 2,
            "num_rows": 8,
            "seconds": 0.5,
            "tokens_per_second": tokens / 0.5,
            "mfu": 0.25 + 0.01 * (step % 3),
            "padding_share": 0.2,
            "peak_memory_bytes": 2**30 + step,
        }
        for step in range(1, num_steps + 1)
    ]


def trained(store: Store, name: str, log: Sequence[Mapping[str, Any]] | None, outcome: Mapping[str, Any] | None = None) -> Artefact:
    """Store what the report reads of a student: its log of steps, where it has one, and what its manifest says came out."""
    artefact = store.artefact("students", name, {"log": rows.digest(list(log or ()))})
    with artefact.staging() as staging:
        if log is not None:
            lines = "".join(json.dumps(step) + "\n" for step in log)
            (staging.folder / "training.jsonl").write_text(lines, encoding="utf-8")
        staging.outcome = {**OUTCOME, **({"num_steps": len(log)} if log else {})} if outcome is None else dict(outcome)
    return artefact


def arm(
    store: Store, alpha: float | None, rights: Mapping[str, np.ndarray], *, student: str = "base", seed: int = 0, matched: bool = True,
    tokens: int = 50,
) -> Arm:  # fmt: skip
    """Make up one arm; its mixture is named by alpha as a blend of `long` and `short`."""
    label = {None: "untouched", 0.0: "short", 1.0: "long"}.get(alpha, f"mix-{alpha}")
    name = f"{student}-{label}" + ("" if alpha is None else f"-s{seed}")
    return Arm(
        name=name,
        student=student,
        mixture=None if alpha is None else label,
        blend=None if alpha is None else "mix",
        alpha=alpha,
        seed=None if alpha is None else seed,
        trained=None if alpha is None else trained(store, name, steps(last=0.4 - 0.3 * alpha, tokens=400 + int(1200 * alpha), seed=seed)),
        scores=scores(store, name, rights, tokens),
        matched=matched,
        model=f"students/{name}-0123456789ab" if alpha is not None else "made-up:base",
    )


def arms(
    store: Store, seeds: tuple[int, ...] = (0,), problems: Mapping[str, int] | None = None, students: tuple[str, ...] = ("base",),
    shares: Mapping[float | None, float] | None = None,
) -> list[Arm]:  # fmt: skip
    """Make up an untouched arm and one per alpha and seed for each student, with the wanted shares of right answers."""
    generator = np.random.default_rng(11)
    made = []
    for student in students:
        difficulty = {name: generator.random((num, 1)) for name, num in (problems or PROBLEMS).items()}
        for alpha, share in (shares or SHARES).items():
            for seed in seeds if alpha is not None else (0,):
                rights = {
                    name: (generator.random(hard.shape) < np.clip(share + 0.6 * (hard - 0.5), 0, 1)).astype(int)
                    for name, hard in difficulty.items()
                }
                made.append(arm(store, alpha, rights, student=student, seed=seed, tokens=50 + int(150 * (alpha or 0))))
    return made


def merged_arm(store: Store, alpha: float, rights: Mapping[str, np.ndarray], *, student: str = "base", seed: int = 0) -> Arm:
    """Make up an arm that is a merge, called `soup`, of the arms taught `long` and `short`."""
    name = f"{student}-soup-{alpha:g}-s{seed}"
    return Arm(
        name=name, student=student, mixture=f"soup-{alpha:g}", blend="soup", alpha=alpha, seed=seed, trained=None,
        scores=scores(store, name, rights), matched=True, model=f"students/{name}-0123456789ab", merged=Merged("long", "short", "ties"),
    )  # fmt: skip


def mixtures(store: Store) -> dict[str, Artefact]:
    """Make up mixtures of 903 problems: what came of them, and which traces they took; the report reads nothing else."""
    made = {}
    for name, alpha in {"short": 0.0, "mix-0.2": 0.2, "mix-0.5": 0.5, "long": 1.0}.items():
        token_share = 4 * alpha / (4 * alpha + 1 - alpha)
        told = {"row_share": alpha, "token_share": token_share, "loss_token_share": min(1.0, token_share * 1.02)}
        hard = round(903 * alpha)
        counts = {
            pool: {"rows": num_rows, "tokens": num_rows * length, "loss_tokens": num_rows * (length - 5)}
            for pool, num_rows, length in (("long", hard, 80), ("short", 903 - hard, 20))
        }
        every = {pool: {"rows": 910, "tokens": 910 * 50, "loss_tokens": 910 * 45} for pool in counts}
        artefact = store.artefact("mixtures", name, {"alpha": alpha})
        taken = ["long"] * hard + ["short"] * (903 - hard)
        with artefact.staging() as staging:
            traces = {"pool": taken, "trace_id": [f"p{number}/{pool}/0" for number, pool in enumerate(taken)]}
            staging.write_table("mixture.parquet", pa.table(traces))
            staging.write_json(
                "shares.json",
                [
                    {"step": "mixture", "pool": pool, "subject": subject, "level": None, **each}
                    for pool, each in counts.items()
                    for subject in ("algebra",)
                    if each["rows"]
                ],
            )
            staging.outcome = {
                "alpha": alpha,
                "shares": {"long": alpha, "short": 1 - alpha},
                "by": "rows",
                "sharing": "both_right",
                "order": "shuffled",
                "hard": "long",
                "easy": "short",
                "dropped": {"long": 7, "short": 0},
                "max_tokens": 512,
                "num_rows": 903,
                "num_problems": 903,
                "pools": counts,
                "steps": [
                    {"step": "right", "num_problems": 910, "dropped_rows": 0, "dropped_problems": 0, "pools": every},
                    {"step": "mixture", "num_problems": 903, "dropped_rows": 917, "dropped_problems": 7, "pools": counts},
                ],
                **told,
                "before": {"pools": counts, **told},
            }
        made[name] = artefact
    return made


def overlaps(store: Store) -> Artefact:
    """Make up one problem that a benchmark asks, and one that is there twice."""
    artefact = store.artefact("overlaps", "train", {})
    with artefact.staging() as staging:
        staging.write_json("hits.json", [{"problem_id": "p<1>", "benchmark": "made-up-test", "benchmark_id": "t1", "tier": "near"}])
        staging.write_json("twins.json", [{"problem_id": "p3", "of": "p2", "tier": "exact"}])
        staging.outcome = {
            "num_problems": 910, "num_contaminated": 1, "num_repeated": 1, "hits": {"made-up-test, near": 1}, "twins": {"exact": 1},
        }  # fmt: skip
    return artefact


def pools(store: Store) -> dict[str, Artefact]:
    """Make up two pools of 20 problems with two traces each."""
    made = {}
    for teacher, words in {"long": 200, "short": 50}.items():
        traces = [
            {
                "trace_id": rows.trace_id(f"p{number}", teacher, sample),
                "problem_id": f"p{number}",
                "teacher": teacher,
                "sample": sample,
                "seed": 0,
                "question": "made up",
                "gold": "1",
                "response": "made up",
                "finish_reason": "length" if number % 9 == 0 else "stop",
                "num_prompt_tokens": 5,
                "num_response_tokens": words + number,
                "seconds": 0.25,
                "status": "truncated" if number % 9 == 0 else "ok",
                "error": "",
                "answer": "1",
                "verdict": "wrong" if number % 4 == sample else "unknown" if number % 9 == 0 else "right",
                "verdict_reason": "",
            }
            for number in range(20)
            for sample in range(2)
        ]
        artefact = store.artefact("pools", teacher, {"teacher": teacher})
        with artefact.staging() as staging:
            staging.write_table("traces.parquet", pa.Table.from_pylist(traces, schema=rows.TRACE))
            staging.outcome = {
                "seconds": 90.0, "judged": 5, "right_by_judge": 3, "cost": 2.5, "cost_per_accepted_trace": 0.125, "currency": "USD",
            }  # fmt: skip
        made[teacher] = artefact
    return made
