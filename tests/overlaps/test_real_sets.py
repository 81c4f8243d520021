"""Overlaps on real sets, where they lie beside the checkout: what is planted is found, and what there is by itself is known.

What was seen, by looking at the pairs. MATH train against MATH test, 5,000 problems: of the 23 exact hits about half are the same problem;
the others ask the same of another drawing ("What is the value of $x$ in the diagram?"), of which nothing but the drawing tells. Of the near
ones few are the same ("How many integers are (there) in ..."); most differ in a word that matters (least, greatest). Those by runs have the
same set-up, with another number or another last question. GSM8K's two halves share nothing.

Thresholds were chosen on these sets. Near at 0.7 instead of 0.85 adds about 80 pairs of MATH, of which one is the same problem; 66 are
"the letters of the word ...". Runs at 0.5 instead of 0.7 add about 120, problems of one template nearly all, and two of GSM8K, both wrong.
Of the tiny world's 1,400 and 400 problems no pair comes near either.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mixray.overlaps.pairs import contamination, duplicates
from mixray.rows import keyed_draw

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the checkout")
NUM_PLANTED = 300
DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
BEFORE = [
    "Solve: ",
    "Problem: ",
    "Question: ",
    "Solve the following math problem carefully. ",
    "Please answer the question. ",
    "Here is a nice one for you, my friend: ",
]
AFTER = [
    " Let's think step by step and output the final answer within \\boxed{}.",
    " Please reason step by step, and put your final answer within \\boxed{}.",
    " Show your work.",
    " Thank you so much for your help.",
    "\n\nGive your answer as a single number.",
]


def read(name: str, prefix: str) -> dict[str, str]:
    if name.endswith(".parquet"):
        rows = [row["reward_model"]["ground_truth"] for row in pq.read_table(DATA / name).to_pylist()]
    else:
        rows = [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    return {f"{prefix}-{number:05d}": row.get("problem") or row["question"] for number, row in enumerate(rows)}


@pytest.fixture(scope="module")
def math_train() -> dict[str, str]:
    return read("math.train.parquet", "math")


@pytest.fixture(scope="module")
def math_test() -> dict[str, str]:
    return read("math.test.jsonl", "test")


@pytest.fixture(scope="module")
def gsm8k_train() -> dict[str, str]:
    return read("gsm8k.train.jsonl", "gsm8k")


def noisy(question: str, draw: int) -> str:
    """Return the question in other dress."""
    text = question.replace("\\frac", "\\dfrac").replace("\\le ", "\\leq ").replace("^2", "^{2}").replace("\\cdot", "\\times")
    text = re.sub(r"\\left\b|\\right\b", "", text) if draw % 2 else text.replace("(", "\\left(").replace(")", "\\right)")
    text = text.replace("$", "") if draw % 3 == 0 and "\\$" not in text else text.replace("=", " \\, = ")
    text = text.replace(" ", "  \n") if draw % 5 else re.sub(r"\s+", " ", text)
    return text.upper() if draw % 4 == 0 else text


def instructed(question: str, draw: int) -> str:
    """Return the question without its drawing where it has one, or else with an instruction before it or behind it."""
    if DRAWING.search(question):
        return DRAWING.sub("", question)
    return BEFORE[draw % len(BEFORE)] + question if draw % 2 else question + AFTER[draw % len(AFTER)]


def test_everything_planted_is_found(math_train: dict[str, str], math_test: dict[str, str], gsm8k_train: dict[str, str]) -> None:
    chosen = sorted(math_test, key=lambda problem_id: keyed_draw("plant", problem_id))[:NUM_PLANTED]
    dress = [lambda question, _: question, noisy, instructed]
    planted = {
        f"planted-{number:03d}": (source, dress[number % 3](math_test[source], keyed_draw("dress", source)))
        for number, source in enumerate(chosen)
    }
    problems = {**math_train, **gsm8k_train, **{name: text for name, (_, text) in planted.items()}}
    hits = contamination(problems, {"math": math_test})
    found = {(hit.problem_id, hit.benchmark_id) for hit in hits}
    missed = [(name, math_test[source][:200], text[:200]) for name, (source, text) in planted.items() if (name, source) not in found]
    assert not missed
    tiers = Counter(hit.tier for hit in hits if hit.problem_id in planted and planted[hit.problem_id][0] == hit.benchmark_id)
    assert tiers["exact"] >= 0.8 * NUM_PLANTED


def test_what_math_shares(math_train: dict[str, str], math_test: dict[str, str]) -> None:
    hits = contamination(math_train, {"test": math_test, "500": read("math500.test.jsonl", "500")})
    assert Counter((hit.benchmark, hit.tier) for hit in hits) == {
        ("test", "exact"): 24,
        ("test", "near"): 25,
        ("test", "13-gram"): 74,
        ("500", "near"): 3,
        ("500", "13-gram"): 13,
    }
    assert Counter(twin.tier for twin in duplicates(math_train)) == {"exact": 10, "near": 18}


def test_math_500_lies_in_math_test(math_test: dict[str, str]) -> None:
    hits = contamination(math_test, {"500": read("math500.test.jsonl", "500")})
    assert len({hit.benchmark_id for hit in hits if hit.tier == "exact"}) == 500


def test_gsm8k_shares_nothing(gsm8k_train: dict[str, str]) -> None:
    assert contamination(gsm8k_train, {"test": read("gsm8k.test.jsonl", "test")}) == []
    assert Counter(twin.tier for twin in duplicates(gsm8k_train)) == {"near": 1}  # Amanda's cassettes are Josie's
