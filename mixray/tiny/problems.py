"""The tiny world's problems: little stories of several steps with exact whole-number answers.

In: a split, a count, a range of steps and a seed. Out: a PROBLEM table, the same on every machine; a smaller count gives a prefix of
a larger one. Nothing is stored, so nothing can be lost.

Which split a problem belongs to is a keyed hash of its equation (`7+5-3`), not of the draw: no test problem is a training problem
with the names changed, whatever seeds and sizes are asked for.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mixray.errors import ProblemError
from mixray.rows import PROBLEM, digest, keyed_draw

LARGEST = 20
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WOMEN = ("Ann", "Eva", "Lea", "Mia", "Zoe", "Ida")
MEN = ("Ben", "Max", "Tom", "Leo", "Sam", "Jon")
THINGS = ("apples", "pens", "coins", "books", "cards", "shells", "stamps", "balls")
OPENINGS = (
    "{name} has {start} {things}.",
    "{name} starts with {start} {things}.",
    "There are {start} {things} in the box of {name}.",
)
SENTENCES = {
    "+": (
        "On {day} {they} buys {number} more.",
        "On {day} {they} finds {number} {things}.",
        "On {day} {friend} gives {them} {number} {things}.",
        "On {day} {they} gets {number} from {friend}.",
    ),
    "-": (
        "On {day} {they} gives {number} to {friend}.",
        "On {day} {they} loses {number} {things}.",
        "On {day} {friend} takes {number} of them.",
        "On {day} {they} sells {number}.",
    ),
    "*": (
        "On {day} {they} doubles the number of {things}.",
        "On {day} {friend} gives {them} as many again.",
    ),
    "/": (
        "On {day} {they} gives half of them to {friend}.",
        "On {day} {they} loses half of the {things}.",
    ),
}
QUESTIONS = (
    "How many {things} does {name} have now?",
    "How many {things} are there in the end?",
    "How many {things} does {they} have at last?",
)
SPLITS = ("test", "validation", "train", "train", "train", "train", "train", "train", "train", "train")
# A draw rarely repeats; so many repeats in a row mean that the difficulty holds no further problems.
MOST_DRY_DRAWS = 20_000


@dataclass(frozen=True)
class Step:
    """One thing that happens: `before`, an operation (`+ - * /`) with a number, `after`."""

    day: str
    before: int
    operation: str
    number: int
    after: int

    @property
    def expression(self) -> str:
        """The step as a sum without its result, `7+5`."""
        return f"{self.before}{self.operation}{self.number}"


@dataclass(frozen=True)
class Problem:
    """A story, its steps and its answer."""

    question: str
    name: str
    things: str
    start: int
    steps: tuple[Step, ...]

    @property
    def answer(self) -> int:
        """What is there in the end."""
        return self.steps[-1].after

    @property
    def equation(self) -> str:
        """The canonical form: the numbers and operations without the story."""
        return str(self.start) + "".join(f"{step.operation}{step.number}" for step in self.steps)

    @property
    def split(self) -> str:
        """The one split this problem, under whatever names, belongs to."""
        return SPLITS[keyed_draw("tiny split", self.equation) % len(SPLITS)]

    @property
    def subject(self) -> str:
        """The kind of arithmetic it needs."""
        return "sums" if all(step.operation in "+-" for step in self.steps) else "sums and doubles"


def draw(key: int, num_steps: int) -> Problem:
    """Return the problem of `num_steps` steps that `key` stands for."""
    random_draws = random.Random(key)
    woman = random_draws.random() < 0.5
    name = random_draws.choice(WOMEN if woman else MEN)
    things = random_draws.choice(THINGS)
    words = {"name": name, "things": things, "they": "she" if woman else "he", "them": "her" if woman else "him"}
    start = value = random_draws.randint(1, LARGEST)
    sentences = [random_draws.choice(OPENINGS).format(start=start, **words)]
    steps: list[Step] = []
    for day in DAYS[:num_steps]:
        step = _step(random_draws, day, value)
        friend = random_draws.choice([person for person in WOMEN + MEN if person != name])
        form = random_draws.choice(SENTENCES[step.operation])
        sentences.append(form.format(day=day, number=step.number, friend=friend, **words))
        steps.append(step)
        value = step.after
    sentences.append(random_draws.choice(QUESTIONS).format(**words))
    return Problem(" ".join(sentences), name, things, start, tuple(steps))


def _step(random_draws: random.Random, day: str, value: int) -> Step:
    possible = ["+"] * 2 * (value < LARGEST) + ["-"] * 2 * (value > 1)
    possible += ["*"] * (1 <= value <= LARGEST // 2) + ["/"] * (value >= 2 and value % 2 == 0)
    operation = random_draws.choice(possible)
    if operation == "+":
        number = random_draws.randint(1, min(9, LARGEST - value))
        return Step(day, value, operation, number, value + number)
    if operation == "-":
        number = random_draws.randint(1, min(9, value - 1))
        return Step(day, value, operation, number, value - number)
    return Step(day, value, operation, 2, value * 2 if operation == "*" else value // 2)


def stream(split: str, difficulty: tuple[int, int], seed: int) -> Iterator[Problem]:
    """Yield unlike problems of one split for as long as there are any.

    Raises:
        ProblemError: the split or the difficulty does not exist, or its problems are used up.
    """
    fewest, most = difficulty
    if split not in SPLITS:
        raise ProblemError("The tiny world has no such split", seen=split, rule=f"one of {sorted(set(SPLITS))}")
    if not 1 <= fewest <= most <= len(DAYS):
        raise ProblemError("The tiny world has no such difficulty", seen=list(difficulty), rule=f"1 <= fewest <= most <= {len(DAYS)} steps")
    seen: set[int] = set()  # digests: the questions of a large draw would fill the memory
    index = dry = 0
    while dry < MOST_DRY_DRAWS:
        key = keyed_draw("tiny problem", seed, index)
        problem = draw(key, fewest + key % (most - fewest + 1))
        index, dry = index + 1, dry + 1
        question = keyed_draw(problem.question)
        if problem.split == split and question not in seen:
            seen.add(question)
            dry = 0
            yield problem
    raise ProblemError(
        "The tiny world has no more problems of this kind",
        seen=f"{len(seen)} of {fewest} to {most} steps",
        do="ask for fewer problems or for more steps",
    )


def take(split: str, num_problems: int, difficulty: tuple[int, int], seed: int) -> list[Problem]:
    """Return the first `num_problems` of `stream`."""
    source = stream(split, difficulty, seed)
    return [next(source) for _ in range(num_problems)]


def rows(split: str, num_problems: int, difficulty: tuple[int, int], seed: int) -> Iterator[dict[str, Any]]:
    """Yield the first `num_problems` of `stream` as rows of rows.PROBLEM; `level` is the number of steps."""
    for problem in itertools.islice(stream(split, difficulty, seed), num_problems):
        yield {
            "problem_id": f"tiny-{digest(problem.question, 12)}",
            "question": problem.question,
            "answer": str(problem.answer),
            "subject": problem.subject,
            "level": len(problem.steps),
        }


def problems(split: str, num_problems: int, difficulty: tuple[int, int], seed: int) -> pa.Table:
    """Return `rows` as a PROBLEM table."""
    return pa.Table.from_pylist(list(rows(split, num_problems, difficulty, seed)), schema=PROBLEM)
