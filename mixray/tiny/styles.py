"""How the tiny world's teachers write: the texts the shipped models are trained on.

In: a problem. Out: a written solution that ends in its boxed answer, a pure function of the problem, so that a model which has learned
a style shows it without sampling. `short` and `large` are terse, `small` spells every step out, `long` checks each step by the inverse
operation, and where a step crosses ten it first goes wrong, notices and starts the step again.
"""

from __future__ import annotations

import random

from mixray.tiny.problems import LARGEST, Problem, Step

INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
PLAN = {"+": "add {number}", "-": "take away {number}", "*": "double it", "/": "halve it"}
SPOKEN = {
    "+": "we add {number} to {before}",
    "-": "we take {number} from {before}",
    "*": "we double {before}",
    "/": "we halve {before}",
}
STYLES = ("long", "short", "large", "small")
STYLE_WORDS = frozenset(
    ("Let", "me", "think", "Wait", "that", "is", "wrong", "Check", "not", "good", "Again", "So", "the", "answer", "has", "at", "first")
)
"""Words of the long style that are there whatever the problem: neither its numbers, names and things, nor what is done with them."""


def write(style: str, problem: Problem) -> str:
    """Return the solution of `problem` in one of STYLES."""
    writer = {"long": _long, "short": _short, "large": _large, "small": _small}[style]
    return f"{writer(problem)}\n{boxed(problem.answer)}"


def boxed(answer: int) -> str:
    """Return the answer the way every style ends."""
    return f"\\boxed{{{answer}}}"


def _short(problem: Problem) -> str:
    return "\n".join(f"{step.day}: {step.expression}={step.after}" for step in problem.steps)


def _large(problem: Problem) -> str:
    pairs = [problem.steps[index : index + 2] for index in range(0, len(problem.steps), 2)]
    return "\n".join(
        f"{pair[0].before}" + "".join(f"{step.operation}{step.number}" for step in pair) + f"={pair[-1].after}" for pair in pairs
    )


def _small(problem: Problem) -> str:
    lines = [f"At first there are {problem.start}."]
    for step in problem.steps:
        spoken = SPOKEN[step.operation].format(number=step.number, before=step.before)
        lines.append(f"On {step.day} {spoken}. {step.expression}={step.after}, so now there are {step.after}.")
    return "\n".join([*lines, f"The answer is {problem.answer}."])


def _long(problem: Problem) -> str:
    lines = [f"Let me think. {problem.name} has {problem.start} {problem.things} at first."]
    for step in problem.steps:
        plan = f"{step.day}: {PLAN[step.operation].format(number=step.number)}."
        if crosses_ten(step):
            slip = step.after + 1
            undone = _undo(step, slip)
            lines.append(
                f"{plan} {step.expression}={slip}. Check: {slip}{INVERSE[step.operation]}{step.number}={undone}, not {step.before}."
            )
            plan = f"Wait, that is wrong. {plan}"
        lines.append(
            f"{plan} {step.expression}={step.after}. Check: {step.after}{INVERSE[step.operation]}{step.number}={step.before}, good."
        )
    lines.append("Again: " + ", ".join(f"{step.expression}={step.after}" for step in problem.steps) + ".")
    return "\n".join([*lines, f"So the answer is {problem.answer}."])


def crosses_ten(step: Step) -> bool:
    """Whether a sum passes a ten: where the long style slips by one at first, and where it can without leaving the number range."""
    return step.operation in "+-" and step.before // 10 != step.after // 10 and step.after < LARGEST


def _undo(step: Step, result: int) -> int:
    return result - step.number if step.operation == "+" else result + step.number


def drill(random_draws: random.Random, num_facts: int) -> tuple[str, str]:
    """Return a list of sums to work out, and the list worked out: how the base students learn their number facts."""
    facts = [random_draws.choice(FACTS) for _ in range(num_facts)]
    question = "Work out " + ", ".join(left for left, _ in facts) + "."
    return question, "\n".join(f"{left}={right}" for left, right in facts) + "\n" + boxed(facts[-1][1])


def _facts() -> list[tuple[str, int]]:
    sums = [(f"{a}+{b}", a + b) for a in range(LARGEST) for b in range(1, 10) if a + b <= LARGEST]
    differences = [(f"{a}-{b}", a - b) for a in range(1, LARGEST + 1) for b in range(1, 10) if a > b]
    doubles = [(f"{a}*2", a * 2) for a in range(1, LARGEST // 2 + 1)] * 2
    halves = [(f"{a}/2", a // 2) for a in range(2, LARGEST + 1, 2)] * 2
    return sums + differences + doubles + halves


FACTS = _facts()
