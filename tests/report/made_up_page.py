"""A rich made-up report for the tests of the page, with responses worth reading. No number here was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import made_up
import numpy as np
import pyarrow as pa

from mixray import recipe, rows
from mixray.report import Arm, responses
from mixray.report.build import build
from mixray.store import Artefact, Store

BENCHMARKS = {"math": 5000, "gsm8k": 1319, "olympiadbench": 675, "amc23": 40, "aime24": 30}
SAMPLES = {"amc23": 8, "aime24": 8}
EASE = {"math": 0.0, "gsm8k": 0.2, "olympiadbench": -0.25, "amc23": -0.2, "aime24": -0.45}
# label: blend, alpha, what it adds to the share of right answers, mean tokens
ARMS: dict[str, tuple[str | None, float | None, float, int]] = {
    "untouched": (None, None, 0.0, 420),
    "short": ("long-short", 0.0, 0.06, 500),
    "mix-long-0.2": ("long-short", 0.2, 0.10, 1100),
    "long": ("long-short", 1.0, -0.04, 3300),
    "small": ("large-small", 0.0, 0.05, 480),
    "mix-large-0.2": ("large-small", 0.2, 0.07, 520),
    "large": ("large-small", 1.0, 0.03, 600),
}
STUDENTS = {"student-0.5b": 0.35, "student-3b": 0.6}
SUBJECTS = ("Algebra", "Geometry", "Number Theory", "Counting & Probability")
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    '<img src=x onerror="window.hacked = 3">',
    "\u202eright to left override and مرحبا بالعالم",
    "null \u0000 byte, bell \u0007, line \u2028 and paragraph \u2029 separators",
    "]]><!-- --> <!--<script> {{ 7 * 7 }} ${7 * 7}",
    "x" * 100_000,
)


def scores(store: Store, name: str, drawn: np.random.Generator, of: Mapping[str, Any]) -> Artefact:
    """Store the score rows of one arm; `of` holds share of right, mean tokens, limit, and the benchmarks with their sizes."""
    made: list[dict[str, Any]] = []
    for benchmark, (size, ease) in of["problems"].items():
        hardness = np.random.default_rng(len(benchmark)).random(size)
        for problem in range(size):
            for sample in range(SAMPLES.get(benchmark, 1)):
                tokens = int(of["tokens"] * drawn.lognormal(0, 0.6)) + 40
                chance = np.clip(of["share"] + ease + 0.8 * (0.5 - hardness[problem]), 0.01, 0.99)
                made.append(_row(benchmark, problem, sample, min(tokens, of["limit"]), tokens > of["limit"], drawn.random(2), chance))
    artefact = store.artefact("scores", name, {"made": name, "size": len(made)})
    with artefact.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(made, schema=rows.SCORE))
    return artefact


def _row(benchmark: str, problem: int, sample: int, tokens: int, cut: bool, draws: Any, chance: float) -> dict[str, Any]:
    right = not cut and draws[0] < chance
    looping = cut and draws[1] < 0.4
    silent = not right and not cut and draws[1] < 0.1
    gold = str((7 * problem + 3) % 97)
    answer = gold if right else "" if cut or silent else str(problem % 50 + 100)
    lines = [f"Step {step}: we have \\( x_{{{step}}} = {step * problem % 31} \\), so carry on." for step in range(1, 3 + tokens // 24)]
    if looping:
        lines += ["Wait, let me check that again."] * (tokens // 60)
    if answer:
        lines.append(f"Final Answer: \\boxed{{{answer}}}.")
    verdict = "right" if right else "unknown" if not cut and draws[1] > 0.97 else "wrong"
    return {
        "problem_id": f"{benchmark}-{problem:04d}", "benchmark": benchmark, "sample": sample, "seed": problem,
        "question": f"Let \\( n = {problem} \\). What is the remainder of \\( 7n + 3 \\) divided by 97?", "gold": gold,
        "subject": SUBJECTS[problem % len(SUBJECTS)], "level": 1 + problem % 5, "response": "\n".join(lines),
        "finish_reason": "length" if cut else "stop", "num_prompt_tokens": 60, "num_response_tokens": tokens, "seconds": 0.5,
        "status": "looping" if looping else "truncated" if cut else "ok", "repetition": 0.6 if looping else 0.1, "answer": answer,
        "verdict": verdict, "verdict_reason": "equal" if right else "cut off" if cut else "different",
    }  # fmt: skip


def arms(
    store: Store, scale: float = 1.0, seeds: Sequence[int] = (0, 1, 2), students: Sequence[str] = tuple(STUDENTS),
    labels: Sequence[str] = tuple(ARMS), limit: int = 8000,
) -> list[Arm]:  # fmt: skip
    """Make up the arms of the students on the paper's benchmarks; `scale` shrinks the large ones."""
    drawn = np.random.default_rng(5)
    problems = {name: (max(min(size, 12), int(size * scale)), EASE[name]) for name, size in BENCHMARKS.items()}
    made = []
    for student in students:
        for label in labels:
            blend, alpha, gain, tokens = ARMS[label]
            for seed in seeds if blend else (0,):
                name = student + "-" + label + (f"-s{seed}" if blend else "")
                share = STUDENTS[student] + gain * (1 if student == students[0] or label != "long" else -1) + 0.01 * drawn.standard_normal()
                told = {"share": share, "tokens": tokens, "limit": limit, "problems": problems}
                log = made_up.steps(200, last=0.4 - 0.3 * (alpha or 0), tokens=tokens, seed=seed)
                made.append(
                    Arm(
                        name=name,
                        student=student,
                        mixture=label if blend else None,
                        blend=blend,
                        alpha=alpha,
                        seed=seed if blend else None,
                        trained=made_up.trained(store, name, log) if blend else None,
                        scores=scores(store, name, drawn, told),
                        matched=True,
                        model=f"students/{name}-0123456789ab" if blend else f"made-up/{student}",
                    )
                )
    return made


def report(store: Store, given: Sequence[Arm], num_resamples: int = 400) -> dict[str, Any]:
    """Return the content of report.json of these arms, with every key the page draws."""
    settings = recipe.Report(num_resamples=num_resamples)
    made = (made_up.mixtures(store), made_up.pools(store), made_up.overlaps(store), settings, 0, {"name": "made-up"})
    return enriched(build("made-up", given, *made))


def told(store: Store, given: Sequence[Arm], content: Mapping[str, Any], most_bytes: int = responses.MOST_BYTES) -> responses.Responses:
    """Return the responses the page shows."""
    return responses.gather(given, content, most_bytes)


def enriched(content: dict[str, Any]) -> dict[str, Any]:
    """Add made-up rows for whatever the report does not tell yet."""
    for row in (*content["arms"], *content["groups"]):
        row.setdefault("weighted", dict(row["overall"]))
        for name, score in (*row["scores"].items(), ("all", row["overall"]), ("all", row["weighted"])):
            _score(score, SAMPLES.get(name, 1))
    for gap in content["gaps"]:
        gap.setdefault("detectable", 1.43 * (gap["high"] - gap["low"]) / 2)
        gap.setdefault("holds_jointly", not gap["low"] - 0.01 <= 0 <= gap["high"] + 0.01)
    shown = sum(not gap["low"] <= 0 <= gap["high"] for gap in content["gaps"])
    words = f"{shown} of {len(content['gaps'])} gaps are shown; about 4 would be by chance alone. Diamonds hold among all of them together."
    content.setdefault("multiplicity", {"num_gaps": len(content["gaps"]), "num_shown": shown, "text": words})
    for key, rows_of in (("lengths", _lengths), ("budget_curves", _budgets), ("costs", _costs), ("shifts", _shifts), ("cases", _cases)):
        if not content.get(key):
            content[key] = list(rows_of(content))
    if not content.get("scaling"):
        content["scaling"] = list(_scaling(content))
    for place, row in enumerate(content["provenance"]["artefacts"]):
        row.setdefault("made", {"seed": 0, "settings": {"temperature": 0, "max_tokens": 8000}})
        row.setdefault("inputs", {})
        row.setdefault("versions", {"mixray": "0.1.0"})
        row.setdefault("files", [{"path": "part-0.parquet", "bytes": 1000 + place, "sha256": f"{place:064x}", "rows": 120}])
        row.setdefault("outcome", {"rows": 120})
    return content


def _score(score: dict[str, Any], samples: int) -> None:
    accuracy = score["accuracy"]
    ks = [k for k in (1, 2, 4, 8) if k <= samples]
    score.setdefault("samples_per_problem", samples)
    score.setdefault("pass_at", {str(k): 1 - (1 - accuracy) ** k**0.5 for k in ks})
    score.setdefault("maj_at", {str(k): min(1, accuracy + 0.02 * k**0.5) for k in ks})
    rest = 1 - accuracy - score["truncated_share"] - score["unknown_share"]
    for key, part in {"wrong": 0.8, "no_answer": 0.1, "looping": 0.09, "error": 0.01}.items():
        score.setdefault(f"{key}_share", max(0.0, rest * part))
    score.setdefault(
        "token_quantiles",
        {
            name: int(score["mean_response_tokens"] * at)
            for name, at in zip(("p5", "p25", "p50", "p75", "p95", "max"), (0.2, 0.5, 0.8, 1.2, 2.2, 4), strict=True)
        },
    )


def _scoped(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in content["groups"]:
        for scope in content["scopes"]:
            yield {"student": row["student"], "label": row["label"], "benchmark": scope, "of": row["scores"].get(scope) or row["overall"]}


def _lengths(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    edges = np.geomspace(40, 8000, 33)
    middles = np.sqrt(edges[1:] * edges[:-1])
    for row in _scoped(content):
        score = row.pop("of")
        density = np.exp(-(np.log(middles / score["mean_response_tokens"] * 1.2) ** 2) / 0.72)
        counts = (score["num_samples"] * density / density.sum()).astype(int)
        cut = np.zeros_like(counts)
        counts[-1] = cut[-1] = int(score["num_samples"] * score["truncated_share"])
        yield {**row, "edges": edges.round().tolist(), "counts": counts.tolist(), "truncated_counts": cut.tolist()}


def _budgets(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in _scoped(content):
        score = row.pop("of")
        points = []
        for tokens in np.geomspace(100, 8000, 16).astype(int).tolist():
            share = score["accuracy"] / (1 + np.exp(-2.5 * np.log(tokens / score["mean_response_tokens"])))
            points.append({"tokens": tokens, "accuracy": float(share), "low": float(share * 0.95), "high": float(share * 1.05)})
        yield {**row, "points": points}


def _costs(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in content["groups"][1:]:
        if row["mixture"] is None:
            continue
        points = next(100 * gap["difference"] for gap in content["gaps"] if gap["hard"] == row["label"] and gap["easy"] == "untouched")
        tokens, gained = int(5000 * row["mean_response_tokens"]), points > 0
        yield {
            "student": row["student"], "label": row["label"], "teacher_tokens": tokens, "teacher_seconds": tokens / 900,
            "teacher_cost": None, "training_seconds": 1800.0, "training_tokens": 2 * tokens, "points": points,
            "teacher_tokens_per_point": tokens / points if gained else None,
            "training_seconds_per_point": 1800 / points if gained else None,
            "cost_per_point": None,
        }  # fmt: skip


def _shifts(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in content["groups"]:
        if row["mixture"] is None:
            continue
        shifted = 0.04 + 0.1 * row["alpha"]
        top = [
            {"token": token, "count": 900 - 90 * place, "shifted_share": 0.9 - 0.08 * place, "mean_shift": 40 - 3 * place,
             "median_shift": 12, "max_shift": 4000}
            for place, token in enumerate((" Wait", " But", "\n\n", " Alternatively", " let", " check", "<b>"))
        ]  # fmt: skip
        positions = [{"from_share": at / 10, "to_share": (at + 1) / 10, "shifted_share": shifted * (1.5 - at / 10)} for at in range(10)]
        yield {
            "student": row["student"], "label": row["label"], "num_responses": 500, "num_tokens": 250_000, "unshifted": 0.9 - shifted,
            "marginal": 0.1, "shifted": shifted, "low": shifted - 0.004, "high": shifted + 0.004, "top": top, "positions": positions,
        }  # fmt: skip


def _scaling(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    sizes = dict(zip(STUDENTS, (494_000_000, 3_090_000_000), strict=True))
    names = dict.fromkeys(gap["name"] for gap in content["gaps"] if gap["kind"] == "hard - easy")
    for name in names:
        for scope in content["scopes"]:
            found = [gap for gap in content["gaps"] if (gap["name"], gap["benchmark"]) == (name, scope)]
            if len(found) > 1:
                points = [
                    {"num_parameters": sizes.get(gap["student"]), **{key: gap[key] for key in ("student", "difference", "low", "high")}}
                    for gap in found
                ]
                yield {"kind": "hard - easy", "name": name, "benchmark": scope, "points": points}


def _cases(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    labels = [row["label"] for row in content["groups"] if row["student"] == content["groups"][0]["student"]]
    for place, (why, benchmark) in enumerate(
        (("The mix is right where both singles are wrong.", "amc23"), ("The long one is cut off.", "aime24"))
    ):
        yield {
            "why": why, "student": content["groups"][0]["student"], "benchmark": benchmark, "problem_id": f"{benchmark}-{3 + place:04d}",
            "labels": labels[:4],
        }  # fmt: skip
