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
BUDGETS = (256, 1024, 4096)
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
SIZES = {"student-0.5b": 494_000_000, "student-3b": 3_090_000_000}
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
                answered = scores(store, name, drawn, told)
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
                        scores=answered,
                        budgets=made_up.budgets(answered, BUDGETS, lambda row, _: int(row["seed"]) % 3 == 0),
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
    """Add made-up token shifts, and sizes of students, which no made-up artefact holds."""
    content["shifts"] = list(_shifts(content))
    for row in content["scaling"]:
        for point in row["points"]:
            point["num_parameters"] = SIZES.get(point["student"])
    return content


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
            "marginal": 0.1, "shifted": shifted, "low": shifted - 0.004, "high": shifted + 0.004, "top": top,
            "top_words": [{"word": str(row["token"]).strip() or "So", **{key: row[key] for key in row if key != "token"}} for row in top],
            "marginal_rank": 3, "against_own": False, "least_count": 20, "positions": positions,
        }  # fmt: skip
