"""GPU hours and cost of a recipe by the rule in mixray/recipes/README.md: estimates, none of them measured.

`python tests/estimates.py RECIPE...` prints the line that stands in a recipe's header.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from mixray.naming import mixture_names
from mixray.recipe import Asked, ImportedTeacher, Placed, ProblemSet, Recipe, Teacher, Train
from mixray.recipe_file import load_recipe

CLUSTER = Path(__file__).parents[1] / "cluster" / "aws.yaml"
# Decoding: billions of parameters times tokens a second that one GPU gives (L40S in the teacher nodes, L4 in the student nodes), and the
# most of a small model. Training: FLOP/s at 30 % of the vendor's dense bfloat16 (L4), or a little less (L40S).
DECODING = {"teacher": 12_000, "student": 4_000}
MOST_TOKENS_PER_SECOND = 3_000
FLOPS = {"teacher": 80e12, "student": 36e12}
OFFLOADING = 2.0
START_HOURS = 0.1
# Tokens of a trace or an answer, long and short: of MATH as the paper's students answer (section 4.2), of GSM8K a guess; a mix between.
TOKENS = {"math": (3385, 576), "gsm8k": (1000, 250)}
MIXED_TOKENS = 1249
RIGHT_SHARE = 0.7
JUDGED_SHARE, JUDGE_TOKENS = 0.5, 50


@dataclass
class Hours:
    """GPU hours by kind of node."""

    teacher: float = 0.0
    student: float = 0.0

    def add(self, where: str, hours: float, gpus: float = 0) -> None:
        """Add GPU hours of work, and those of so many GPUs while a stage starts."""
        setattr(self, where, getattr(self, where) + hours + gpus * START_HOURS)


def estimated(recipe: Recipe) -> Hours:
    """Return the GPU hours of everything a recipe stands for, with nothing of it there."""
    hours = Hours()
    used = sorted({pool for blend in recipe.mixtures.values() for pool in blend.names})
    for name in used:
        _asking(recipe, recipe.teachers[name], hours)
    for student in recipe.students.values():
        size, train = _billions(student.model), recipe.train.for_student(student.train)
        _answering(recipe, size, 0.0, hours)
        for _, (blend_name, alpha) in mixture_names(recipe).items():
            blend = recipe.mixtures[blend_name]
            shares = blend.shares(alpha)
            long = float(sum(share for pool, share in shares.items() if is_long(recipe.teachers[pool])))
            rows = blend.size if isinstance(blend.size, int) else RIGHT_SHARE * (recipe.problems.num_problems or 0)
            settings, _ = train.of("", blend_name, sum(share > 0 for share in shares.values()))
            for _ in recipe.seeds:
                _training(recipe, settings, size, rows, long, hours)
                _answering(recipe, size, long, hours)
    return hours


def _asking(recipe: Recipe, teacher: object, hours: Hours) -> None:
    if isinstance(teacher, Teacher):
        answers = teacher.most_samples * (recipe.problems.num_problems or 0)
        tokens = min(teacher.max_tokens, _lengths(recipe.problems)[0 if is_long(teacher) else 1])
        hours.add(_where(teacher), answers * tokens / _speed(teacher, _billions(teacher.model)) / 3600, teacher.num_gpus)


def _training(recipe: Recipe, train: Train, size: float, rows: float, long: float, hours: Hours) -> None:
    most, short = _lengths(recipe.problems)
    tokens = rows * train.epochs * (long * most + (1 - long) * short)
    passes = (4 if train.lora else 6) + (2 if train.gradient_checkpointing else 0)
    seconds = passes * size * 1e9 * tokens / FLOPS[_where(train)] * (OFFLOADING if train.offload_optimizer else 1)
    hours.add(_where(train), seconds / 3600, train.workers[1])


def _answering(recipe: Recipe, size: float, long: float, hours: Hours) -> None:
    evaluate, serve = recipe.evaluate, recipe.serve
    asked = {name: (one.num_problems or one.num_published or 0) * evaluate.samples_of(name) for name, one in evaluate.benchmarks.items()}
    tokens = 0.0
    for name, answers in asked.items():
        most, short = _lengths(evaluate.benchmarks[name])
        length = short if long == 0 else most if long == 1 else min(MIXED_TOKENS, (most + short) / 2)
        tokens += answers * min(length, evaluate.max_tokens)
    hours.add(_where(serve), tokens / _speed(serve, size) / 3600, serve.num_gpus)
    judge = evaluate.judge.teacher if evaluate.judge else None
    if isinstance(judge, Teacher):
        hours.add(_where(judge), sum(asked.values()) * JUDGED_SHARE * JUDGE_TOKENS / _speed(judge, _billions(judge.model)) / 3600)


def is_long(teacher: object) -> bool:
    """Whether a teacher writes long traces: one that may write more than 4,096 tokens, or the released ones."""
    if isinstance(teacher, ImportedTeacher):
        return "long" in teacher.traces
    return isinstance(teacher, Asked) and teacher.max_tokens > 4096


def _lengths(problems: ProblemSet) -> tuple[int, int]:
    return TOKENS["gsm8k" if problems.format == "gsm8k" else "math"]


def _speed(placed: Placed, size: float) -> float:
    return min(MOST_TOKENS_PER_SECOND, DECODING[_where(placed)] / size)


def _where(placed: Placed) -> str:
    return "teacher" if placed.labels.get("mixray/role") == "teacher" else "student"


def _billions(model: str) -> float:
    return float(re.findall(r"(\d+(?:\.\d+)?)b\b", model.lower())[0])


def costs(hours: Hours) -> tuple[float, float]:
    """Return what a recipe's GPU hours cost by the prices of cluster/aws.yaml: on spot machines, and at the list price."""
    prices = yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))["metadata"]["prices"]["per_hour"]
    spot, listed = (hours.teacher * prices[f"teacher{kind}"] / 4 + hours.student * prices[f"student{kind}"] / 4 for kind in ("-spot", ""))
    return spot, listed


def rounded(amount: float) -> str:
    """Return two digits of it: an estimate has no more."""
    digits = len(str(int(amount)))
    return f"{round(amount, 2 - digits):,.0f}" if amount >= 10 else f"{amount:.0f}"


def line(recipe: Recipe) -> str:
    """Return the line of a header."""
    hours = estimated(recipe)
    spot, listed = costs(hours)
    parts = [
        f"{rounded(amount)} on {kind} nodes" for kind, amount in (("teacher", hours.teacher), ("student", hours.student)) if amount >= 0.5
    ]
    told = f"{rounded(hours.teacher + hours.student)} GPU hours ({', '.join(parts)})"
    return f"# Estimate, not measured: {told}; {rounded(spot)} USD on spot machines to {rounded(listed)} at list prices."


def main(names: Iterable[str]) -> None:
    """Print the line of each recipe."""
    for name in names:
        print(name, line(load_recipe(name)), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
