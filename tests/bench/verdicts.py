"""Benchmarks of verdicts: rows as MATH, GSM8K and Olympiad sets have them, judged by `verify` and by Math-Verify called row by row.

In: nothing; rows are drawn from a seed, other ones in every round, the same for both sides. Out: two Benchmarks. Both check that the two
sides agree: every difference is printed, and one that no section of POLICY.md explains fails the benchmark.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from benchmark import Benchmark

from mixray.verify import verify

NUM_CLEAN = 1_000
NUM_MIXED = 400
PATHOLOGICAL_SHARE = 0.005


class Row(NamedTuple):
    """A gold and the answer in a response's box; `policy` is the section of POLICY.md by which Math-Verify may differ, empty where none."""

    gold: str
    answer: str
    policy: str = ""


Kind = Callable[[random.Random], Row]


def integer(draw: random.Random) -> Row:
    """Most golds are whole numbers; a third of the answers are off."""
    value = draw.choice([draw.randint(0, 20), draw.randint(0, 999), draw.randint(-99, 99_999)])
    answer = value if draw.random() < 0.65 else value + draw.choice([-10, -1, 1, 2, 10])
    forms = [
        str(answer),
        str(answer),
        f"{answer:,}" if answer >= 1000 else str(answer),
        f"{answer}.0",
        f"x = {answer}",
        f"{answer}\\text{{ cm}}",
    ]
    return Row(str(value), draw.choice(forms))


def fraction(draw: random.Random) -> Row:
    """Fractions, in the other forms that models give them."""
    value = Fraction(draw.randint(1, 40), draw.choice([2, 3, 4, 5, 6, 7, 8, 9, 12, 25]))
    other = value if draw.random() < 0.7 else value + Fraction(1, draw.randint(2, 9))
    over, under = other.numerator, other.denominator
    forms = [f"\\frac{{{over}}}{{{under}}}", f"\\dfrac{{{over}}}{{{under}}}", f"{over}/{under}", f"\\frac{{{3 * over}}}{{{3 * under}}}"]
    if 100 % under == 0:
        forms.append(str(float(other)))
    gold = f"\\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value.numerator)
    return Row(gold, draw.choice(forms))


def money(draw: random.Random) -> Row:
    """GSM8K's dollars and MATH's units."""
    cents = draw.randint(100, 99_999)
    told = cents if draw.random() < 0.7 else cents + 100
    return Row(f"{cents / 100:.2f}", draw.choice([f"\\${told / 100:.2f}", f"{told / 100:.2f}", f"\\${told / 100:,.2f}"]))


def root(draw: random.Random) -> Row:
    """Surds, some of them not simplified."""
    by, of, under = draw.randint(2, 9), draw.choice([2, 3, 5, 6, 7, 10, 11]), draw.randint(2, 9)
    told = by if draw.random() < 0.7 else by + 1
    forms = [f"{told}\\sqrt{{{of}}}", f"{told}\\sqrt {{{of}}}", f"\\sqrt{{{told * told * of}}}", f"\\sqrt{{{of}}}\\cdot {told}"]
    over = f"\\frac{{{by}\\sqrt{{{of}}}}}{{{under}}}"
    if draw.random() < 0.4:
        return Row(over, draw.choice([f"\\frac{{{told}}}{{{under}}}\\sqrt{{{of}}}", f"\\frac{{{told * of}}}{{{under}\\sqrt{{{of}}}}}"]))
    return Row(f"{by}\\sqrt{{{of}}}", draw.choice(forms))


def of_pi(draw: random.Random) -> Row:
    """Areas and angles."""
    by, under = draw.randint(2, 60), draw.randint(2, 7)
    told = by if draw.random() < 0.7 else 2 * by
    return draw.choice(
        [
            Row(f"{by}\\pi", f"{told} \\pi"),
            Row(f"\\frac{{{by}\\pi}}{{{under}}}", f"\\frac{{{told}}}{{{under}}}\\pi"),
            Row(f"{by}^\\circ", f"{told}^\\circ"),
        ]
    )


def pair(draw: random.Random) -> Row:
    """Points, intervals and lists."""
    low = draw.randint(-9, 5)
    high = low + draw.randint(1, 9)
    told = high if draw.random() < 0.7 else high + 1
    return draw.choice(
        [
            Row(f"({low},{high})", f"({low}, {told})"),
            Row(f"({low}, {high}]", f"\\left({low},{told}\\right]"),
            Row(f"[{low}, \\infty)", f"[{low if told == high else low + 1},\\infty)"),
            Row(f"{low}, {high}", f"{told}, {low}"),
            Row(f"\\left( {low}, \\frac{{{high}}}{{7}} \\right)", f"({low}, \\frac{{{2 * told}}}{{14}})"),
        ]
    )


def polynomial(draw: random.Random) -> Row:
    """Polynomials: expanded, factored, or with terms in another order."""
    one, two = draw.randint(1, 9), draw.randint(1, 9)
    told = two if draw.random() < 0.7 else two + 1
    expanded = f"x^2+{one + two}x+{one * two}"
    return draw.choice(
        [
            Row(expanded, f"x^2 + {one + told}x + {one * told}"),
            Row(expanded, f"(x+{one})(x+{told})"),
            Row(f"(x+{one})(x+{two})", f"(x+{told})(x+{one})"),
            Row(f"{one}x-{two}", f"-{told}+{one}x"),
            Row(f"y = {one + 1}x + {two}", f"y={one + 1}x+{told}"),
            Row(f"2^{{n+{one}}}", f"2^n \\cdot 2^{{{told if one == two else one}}}"),
        ]
    )


def word(draw: random.Random) -> Row:
    """Words and choices."""
    words = ["\\text{Evelyn}", "\\text{odd}", "\\text{Friday}", "\\text{(C)}", "\\text{(A)}", "\\text{neither}"]
    gold = draw.choice(words)
    told = gold if draw.random() < 0.7 else draw.choice([text for text in words if ("(" in text) == ("(" in gold)])
    return Row(gold, told if draw.random() < 0.8 or "(" in told else told.removeprefix("\\text{").removesuffix("}"))


def percent(draw: random.Random) -> Row:
    """Percentages: with the sign on both sides or on one."""
    value = draw.choice([5, 10, 12, 20, 25, 40, 75])
    told = value if draw.random() < 0.7 else value + 1
    return draw.choice([Row(f"{value}\\%", f"{told}\\%"), Row(str(value), f"{told}\\%"), Row(f"{value}\\%", str(told))])


KINDS: list[tuple[int, Kind]] = [
    (55, integer), (13, fraction), (5, money), (6, root), (5, of_pi), (6, pair), (5, polynomial), (3, word), (2, percent),
]  # fmt: skip
PATHOLOGICAL = [
    "9^{9^{9^{9}}}", "\\prod_{k=1}^{10^7} (k^2+1)", "(" * 40 + "x+1" + ")" * 40, "2^{2^{2^{2^{2^{2}}}}}", "(10^{9})!",
    "\\sqrt{1+" * 25 + "2" + "}" * 25, "\\frac{1}{1+" * 30 + "x" + "}" * 30,
]  # fmt: skip


def drawn(seed: str, count: int, share: float = 0.0) -> list[Row]:
    """Return rows of all kinds, in the shares that real sets have, `share` of them pathological."""
    draw = random.Random(seed)
    kinds = draw.choices([kind for _, kind in KINDS], [weight for weight, _ in KINDS], k=count)
    rows = [kind(draw) for kind in kinds]
    for place in draw.sample(range(count), round(share * count)):
        rows[place] = Row("\\frac{3}{7}", draw.choice(PATHOLOGICAL), "What is unknown, and why")
    return rows


@dataclass
class Sides:
    """The two sides, on rows of their own for every round, and what they said."""

    seed: str
    count: int
    share: float = 0.0
    rounds: dict[str, int] = field(default_factory=lambda: {"ours": 0, "theirs": 0})
    said: dict[str, list[tuple[Row, str]]] = field(default_factory=lambda: {"ours": [], "theirs": []})

    def rows(self, side: str) -> Iterator[list[Row]]:
        """Yield the next round's rows."""
        yield drawn(f"{self.seed}-{self.rounds[side]}", self.count, self.share)
        self.rounds[side] += 1

    def ours(self) -> None:
        """Judge a round with `verify`."""
        for rows in self.rows("ours"):
            verdicts = verify([f"So the answer is $\\boxed{{{row.answer}}}$." for row in rows], [row.gold for row in rows])
            self.said["ours"] += [(row, verdict.verdict) for row, verdict in zip(rows, verdicts, strict=True)]

    def theirs(self) -> None:
        """Judge a round with Math-Verify, row by row, with its own time limits."""
        import math_verify

        for rows in self.rows("theirs"):
            for row in rows:
                gold = math_verify.parse(f"\\boxed{{{row.gold}}}")
                right = math_verify.verify(gold, math_verify.parse(f"So the answer is $\\boxed{{{row.answer}}}$."))
                self.said["theirs"].append((row, "right" if right else "wrong"))

    def disagreements(self) -> list[str]:
        """Print every row on which the sides differ, on standard error, and return those that no policy explains."""
        left = []
        for (row, ours), (same, theirs) in dict.fromkeys(zip(self.said["ours"], self.said["theirs"], strict=True)):
            assert row == same
            if ours != theirs:
                shown = json.dumps({"gold": row.gold, "answer": row.answer[:60], "ours": ours, "theirs": theirs, "policy": row.policy})
                print(f"differs: {shown}", file=sys.stderr, flush=True)
                left += [] if row.policy else [shown]
        return left


def clean() -> Benchmark:
    """Rows as they come."""
    return _against_the_library("verdicts over Math-Verify row by row", 4.0, Sides("clean", NUM_CLEAN))


def pathological() -> Benchmark:
    """The same with one row in two hundred that would compute for hours: towers, deep nesting, huge products."""
    return _against_the_library("the same with 0.5 % pathological rows", 30.0, Sides("mixed", NUM_MIXED, PATHOLOGICAL_SHARE))


def _against_the_library(name: str, target: float, sides: Sides) -> Benchmark:
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it logs every time limit
    return Benchmark(name, target, sides.theirs, sides.ours, sides.disagreements)
