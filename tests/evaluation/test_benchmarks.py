"""The benchmarks by name, the presets, and the published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixray import judging, problems, recipe
from mixray.chat import ask
from mixray.errors import RecipeError
from mixray.evaluation import in_words, outcome
from mixray.progress import StageProgress
from mixray.recipe_file import parse_part
from mixray.store import Store
from mixray.verify import verify

DATA = Path(__file__).parents[3] / "shared" / "data"
AFTER = "Final Answer: \\boxed{your_answer}.\nProblem: 1+1?\nAnswer:"
MATH_PROMPT = f"Solve the following math problem and present the final answer in the format: {AFTER}"
OTHER_PROMPT = f"Solve the following math problem. Present the final answer in the format: {AFTER}"


def evaluate(**given: Any) -> recipe.Evaluate:
    made: recipe.Evaluate = parse_part(recipe.Evaluate, given)
    return made


def test_a_benchmark_by_name_needs_nothing_more() -> None:
    made = evaluate(benchmarks=["math500", "gsm8k"])
    assert made.benchmarks["gsm8k"].problem_set == recipe.ProblemSet(source="hf:openai/gsm8k:main", format="gsm8k", split="test")
    assert (made.benchmarks["math500"].num_published, made.benchmarks["math500"].prompt) == (500, None)
    assert evaluate(benchmarks="math500").benchmarks == evaluate(benchmarks={"math500": None}).benchmarks
    assert recipe.Evaluate.model_validate(made.model_dump()) == made


def test_of_a_named_benchmark_a_part_may_be_given() -> None:
    gsm8k = evaluate(benchmarks={"gsm8k": {"source": "own.jsonl", "num_samples": 3}}, temperature=1).benchmarks["gsm8k"]
    assert (gsm8k.source, gsm8k.format, gsm8k.num_published, gsm8k.num_samples) == ("own.jsonl", "gsm8k", 1319, 3)
    assert gsm8k.counts_unboxed


def test_without_a_preset_students_are_asked_as_they_were_trained() -> None:
    made = evaluate(benchmarks=["math", "gsm8k"])
    assert (made.temperature, made.top_p, made.max_tokens, made.samples_of("math")) == (0, 1, 16000, 1)
    assert {made.prompt_of(name, "Q: {question}") for name in made.benchmarks} == {"Q: {question}"}


@pytest.mark.parametrize(
    ("name", "asked"),
    [("math", MATH_PROMPT), ("math500", OTHER_PROMPT), ("aime24", OTHER_PROMPT), ("amc23", OTHER_PROMPT), ("olympiadbench", OTHER_PROMPT),
     ("gsm8k", "1+1?"), ("own", OTHER_PROMPT)],
)  # fmt: skip
def test_the_paper_preset_asks_in_the_papers_words(name: str, asked: str) -> None:
    own = {"own": {"source": "own.jsonl"}} if name == "own" else {name: {}}
    made = evaluate(preset="paper", benchmarks=own)
    assert ask("1+1?", made.prompt_of(name, "unused {question}")) == [{"role": "user", "content": asked}]
    assert (made.temperature, made.top_p, made.max_tokens, made.samples_of(name)) == (0, 1, 16000, 1)


def test_the_parity_preset_samples_small_benchmarks_more_often() -> None:
    made = evaluate(preset="parity", benchmarks=["math500", "amc23", "aime24"])
    assert (made.temperature, made.top_p, made.max_tokens) == (0.6, 0.95, 16384)
    assert [made.samples_of(name) for name in ("math500", "amc23", "aime24")] == [4, 8, 8]
    assert made.prompt_of("amc23", "Q: {question}") == "Q: {question}"


def test_what_a_recipe_says_counts_over_a_preset() -> None:
    given = {"aime24": {"prompt": "{question}!"}}
    made = evaluate(preset="paper", benchmarks=given, max_tokens=100, temperature=0.3, num_samples=2)
    assert (made.prompt_of("aime24", "{question}"), made.max_tokens, made.temperature) == ("{question}!", 100, 0.3)
    assert made.samples_of("aime24") == 2
    assert evaluate(preset="parity", benchmarks=["aime24"], num_samples=2).samples_of("aime24") == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"benchmarks": ["maths"]}, "no shipped benchmark is called 'maths'"),
        ({"benchmarks": ["math"], "num_samples": 2}, "temperature must be above 0"),
        ({"benchmarks": {"math": {"num_samples": 2}}}, "temperature must be above 0"),
        ({"benchmarks": {"math": {"prompt": "no place"}}}, "must contain {question}"),
        ({"benchmarks": {}}, "at least one problem set"),
        ({"benchmarks": ["math"], "preset": "papers"}, "'paper' or 'parity'"),
        ({"benchmarks": ["math"], "budgets": [16000]}, "budgets must differ and be below max_tokens"),
        ({"benchmarks": ["math"], "stop": ["Problem:"]}, "Extra inputs"),
    ],
)
def test_a_wrong_exam_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        evaluate(**given)


def test_a_benchmark_asked_in_two_ways_is_read_once(store: Store) -> None:
    own = {"source": "tiny", "num_problems": 4}
    exam = judging.exam(store, evaluate(benchmarks={"own": {**own, "prompt": "A {question}"}}), "{question}", 0, recipe.Serve())
    other = judging.exam(store, evaluate(benchmarks={"own": own}), "{question}", 0, recipe.Serve())
    assert exam.benchmarks == other.benchmarks
    assert exam.settings() != other.settings()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
@pytest.mark.parametrize(
    ("name", "num_problems", "warning"),
    [
        ("math500", 500, []), ("gsm8k", 1319, []), ("amc23", 40, []), ("aime24", 30, []), ("olympiadbench", 675, []),
        ("math", 4992, ["math has 4,992 problems here, 5,000 as published"]),
    ],
)  # fmt: skip
def test_the_published_files_have_the_published_numbers(
    name: str, num_problems: int, warning: list[str], store: Store, quiet: StageProgress
) -> None:
    made = evaluate(preset="paper", benchmarks={name: {"source": str(DATA / f"{name}.test.jsonl")}})
    read = problems.run(store, name, made.benchmarks[name].problem_set, verify, quiet)
    assert read.outcome["num_problems"] == num_problems
    assert outcome.warnings({name: num_problems}, {name: made.benchmarks[name].num_published}) == warning


def test_what_should_be_known_stands_beside_the_accuracy() -> None:
    told = {"benchmarks": {"math": {"accuracy": 0.5, "truncated": 1, "num_samples": 4}}, "warnings": ["math has 4 problems here"]}
    assert in_words(told) == "math 50.0% (25% cut off); math has 4 problems here"
