"""Real traces from existing files to a mixture: BigGSM by a large and a small teacher, long and short traces of the same prompts.

Skipped on a clone without `../shared/data`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mixray.pipeline import make_mixtures
from mixray.progress import Display
from mixray.recipe_file import parse_recipe
from mixray.store import Artefact, Store

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside this clone")
ANSWER, QUESTION = "pred[-1].content[0].text", "origin.question"


def made(store: Store, problems: dict[str, Any], teachers: dict[str, Any], **mixtures: dict[str, Any]) -> dict[str, Artefact]:
    """Import the teachers' traces, judge them and mix them for a tiny student; GSM8K is the benchmark."""
    recipe = parse_recipe(
        {
            "name": "real",
            "problems": problems,
            "teachers": teachers,
            "mixtures": mixtures,
            "students": {"student-s": {"model": "tiny:student-s"}},
            "train": {"max_tokens": 8192},
            "evaluate": {"benchmarks": {"gsm8k": {"source": str(DATA / "gsm8k.test.jsonl"), "format": "gsm8k"}}},
        },
        [],
    )
    with Display(quiet=True) as display:
        return make_mixtures(recipe, store, display)


def test_biggsm_of_a_large_and_a_small_teacher(store: Store) -> None:
    large, small = (str(DATA / "pools" / f"biggsm.{name}-CoT.jsonl") for name in ("gpt4o", "gpt35"))
    columns = {"response": ANSWER, "question": QUESTION}
    mixes = made(
        store,
        {"source": large, "format": "gsm8k", "question_field": QUESTION, "answer_field": "origin.answer"},
        {"large": {"traces": large, "columns": columns}, "small": {"traces": small, "columns": columns}},
        mix={"hard": "large", "easy": "small", "alpha": [0, 0.2, 1]},
        by_tokens={"pools": {"large": 0.2, "small": 0.8}, "by": "loss_tokens"},
    )
    tables = {name: mix.read_table().to_pylist() for name, mix in mixes.items()}
    problems = {name: [row["problem_id"] for row in rows] for name, rows in tables.items()}
    assert problems["small"] == problems["mix-0.2"] == problems["large"], "each problem keeps its place"
    assert len(set(problems["mix-0.2"])) == len(problems["mix-0.2"]) == 313
    assert Counter(row["pool"] for row in tables["mix-0.2"]) == {"large": 63, "small": 250}
    outcome = mixes["by_tokens"].outcome
    longest = max(row["num_loss_tokens"] for rows in tables.values() for row in rows)
    total = sum(pool["loss_tokens"] for pool in outcome["pools"].values())
    assert abs(outcome["loss_token_share"] - 0.2) <= longest / total
    assert outcome["row_share"] < 0.2, "the large teacher writes longer"
    (contaminated,) = [step for step in outcome["steps"] if step["step"] == "contaminated"]
    assert contaminated["dropped_problems"] == 1, "BigGSM was made from GSM8K, and one problem of its test is there as it was"


def test_long_and_short_traces_of_the_same_prompts(store: Store, tmp_path: Path) -> None:
    """They have no golds: a trace's own box stands for one, so that what is mixed is the pair of forms and not their truth."""
    long, short = (
        json.loads((DATA / "pools" / f"reasoning100.{name}.json").read_text())
        for name in ("deepseek-r1-distill-qwen-32b", "qwen2.5-32b-instruct")
    )
    questions = [row["response"].split("\nuser\n")[1].split("\nassistant\n")[0] for row in short]
    named = {
        "problems": [{"question": question, "answer": str(number)} for number, question in enumerate(questions)],
        "long": [
            {"question": q, "response": f"{row['response']}\n\\boxed{{{n}}}"}
            for n, (q, row) in enumerate(zip(questions, long, strict=True))
        ],
        "short": [
            {"question": q, "response": row["response"].split("\nassistant\n")[1] + f"\n\\boxed{{{n}}}"}
            for n, (q, row) in enumerate(zip(questions, short, strict=True))
        ],
    }
    paths = {}
    for name, rows in named.items():
        paths[name] = tmp_path / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    mixes = made(
        store,
        {"source": str(paths["problems"])},
        {name: {"traces": str(paths[name])} for name in ("long", "short")},
        whole={"hard": "long", "easy": "short", "alpha": 0.5},
        summary={"hard": "long", "easy": "short", "alpha": 0.5, "view": {"long": "summary"}},
        tokens={"hard": "long", "easy": "short", "alpha": 0.5, "by": "tokens"},
    )
    outcomes = {name: mix.outcome for name, mix in mixes.items()}
    assert outcomes["whole-0.5"]["num_rows"] >= 90
    assert outcomes["whole-0.5"]["token_share"] > 0.6, "long thoughts outweigh short answers"
    assert outcomes["summary-0.5"]["token_share"] < outcomes["whole-0.5"]["token_share"]
    assert outcomes["tokens-0.5"]["row_share"] < 0.5
    texts = [row["messages"][-1]["content"] for row in mixes["summary-0.5"].read_table().to_pylist() if row["pool"] == "long"]
    assert texts
    assert not any("<think>" in text for text in texts)
