"""The mixing stage on made-up pools: what is in, in which order, what is dropped, what is told.

The student's tokenizer and both pools are made here and fixed: the golden rests on them.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mixray import chat, mixing, rows
from mixray.errors import MixtureError
from mixray.mixing import mixture
from mixray.progress import Display
from mixray.recipe import Blend
from mixray.store import Artefact, Store

TEMPLATE = (
    "{% for message in messages %}{{ '<start>' + message['role'] + ':' + message['content'] + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>assistant:' }}{% endif %}"
)
NUM_PROBLEMS = 40
PROMPT = "Solve: {question}"
BLEND = Blend(hard="long", easy="short", alpha=(0.0, 0.2, 1.0))
# sha256 of the rows of the made-up mixture below: alpha 0.2, seed 7, no length limit that bites.
GOLDEN_ROWS = "5d89fff0c314dd0b855454e0d28ab61e9504497971edb974d8d042a4f03c605a"


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of single bytes and a chat template: one token per character of ASCII text."""
    folder = tmp_path_factory.mktemp("student")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", additional_special_tokens=["<start>"])
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}), encoding="utf-8")
    return folder


def traces(teacher: str, words: int, wrong_every: int) -> list[dict[str, Any]]:
    """Make up two samples per problem; the first sample of every `wrong_every`-th problem is wrong, both of every 11th are."""
    made = []
    for number in range(NUM_PROBLEMS):
        problem_id = f"made-up-{number:03d}"
        for sample in range(2):
            right = number % 11 != 0 and (sample == 1 or number % wrong_every != 0)
            made.append(
                {
                    "trace_id": rows.trace_id(problem_id, teacher, sample),
                    "problem_id": problem_id,
                    "teacher": teacher,
                    "sample": sample,
                    "seed": number,
                    "question": f"What is {number} + 1?",
                    "gold": str(number + 1),
                    "response": "so " * (words + number % 7) + f"\\boxed{{{number + 1}}}",
                    "finish_reason": "stop",
                    "num_prompt_tokens": 5,
                    "num_response_tokens": words,
                    "seconds": 0.5,
                    "status": "ok",
                    "error": "",
                    "answer": str(number + 1),
                    "verdict": "right" if right else "wrong",
                    "verdict_reason": "",
                }
            )
    return made


def commit_pool(store: Store, teacher: str, made: list[dict[str, Any]], files: int = 1) -> Artefact:
    """Store a pool in `files` parquet files."""
    artefact = store.artefact("pools", teacher, {"teacher": teacher})
    with artefact.staging() as staging:
        for number in range(files):
            staging.write_table(f"part-{number}.parquet", pa.Table.from_pylist(made[number::files], schema=rows.TRACE))
        staging.outcome = {"num_traces": len(made)}
    return artefact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def candidates(student_folder: Path) -> mixture.Candidates:
    """Both pools' examples, without any artefact."""
    tables = {
        "long": pa.Table.from_pylist(traces("long", words=30, wrong_every=5), schema=rows.TRACE),
        "short": pa.Table.from_pylist(traces("short", words=6, wrong_every=3), schema=rows.TRACE),
    }
    return mixture.gather(tables, chat.load_tokenizer(student_folder), PROMPT)


def run(
    store: Store,
    student_folder: Path,
    alpha: float,
    blend: Blend = BLEND,
    max_tokens: int = 1000,
    files: int = 1,
    shuffle: int | None = None,
) -> Artefact:
    """Mix the made-up pools, laid out in `files` files and shuffled by a seed where one is given."""
    made = {"long": traces("long", words=30, wrong_every=5), "short": traces("short", words=6, wrong_every=3)}
    if shuffle is not None:
        for pool in made.values():
            random.Random(shuffle).shuffle(pool)
    hard, easy = (commit_pool(store, pool, made[pool], files) for pool in ("long", "short"))
    with Display(quiet=True) as display:
        return mixing.run(store, "mix", alpha, blend, hard, easy, 7, str(student_folder), max_tokens, PROMPT, display.stage("mix"))


def test_rows_are_the_golden_ones(store: Store, student_folder: Path) -> None:
    table = run(store, student_folder, 0.2).read_table()
    assert table.schema.equals(rows.EXAMPLE)
    assert rows.digest(table.to_pylist()) == GOLDEN_ROWS


def test_layout_and_order_of_the_pools_change_nothing(tmp_path: Path, student_folder: Path) -> None:
    tables = [
        run(Store(str(tmp_path / str(number))), student_folder, 0.4, files=files, shuffle=shuffle).read_table()
        for number, (files, shuffle) in enumerate([(1, None), (3, 1), (7, 2)])
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_counts_are_exact_and_every_problem_comes_once(candidates: mixture.Candidates) -> None:
    shared = [number for number in range(NUM_PROBLEMS) if number % 11]  # sample 1 saves every other problem
    for alpha, num_hard in [(0.0, 0), (0.2, 8), (0.5, 18), (1.0, 36)]:
        examples, outcome = mixture.mix(candidates, alpha, BLEND, seed=7, max_tokens=1000)
        assert len(shared) == outcome["num_problems_shared"] == outcome["num_rows"] == len(examples) == 36
        assert sorted(example["problem_id"] for example in examples) == [f"made-up-{number:03d}" for number in shared]
        assert outcome["rows"] == {"long": num_hard, "short": 36 - num_hard}


def test_a_row_holds_the_first_right_trace_in_the_prompt_the_student_sees(candidates: mixture.Candidates, student_folder: Path) -> None:
    example = candidates.examples["short"]["made-up-003"]
    assert example["trace_id"] == "made-up-003/short/1", "sample 0 of every third problem is wrong"
    assert candidates.examples["short"]["made-up-004"]["trace_id"] == "made-up-004/short/0"
    assert example["messages"][0] == {"role": "user", "content": "Solve: What is 3 + 1?"}
    assert [message["role"] for message in example["messages"]] == ["user", "assistant"]
    assert example["num_loss_tokens"] == len(example["messages"][1]["content"]) + 1, "one per character, and the end of the turn"
    assert example["num_tokens"] > example["num_loss_tokens"]


def test_alphas_are_nested_also_after_drops(candidates: mixture.Candidates) -> None:
    alphas = [0.0, 0.1, 0.2, 0.4, 0.8, 1.0]
    mixes = [mixture.mix(candidates, alpha, BLEND, seed=7, max_tokens=145)[0] for alpha in alphas]
    hard = [{example["problem_id"] for example in examples if example["pool"] == "long"} for examples in mixes]
    assert 0 < len(mixes[0]) < 36, "the limit must bite for this test to mean anything"
    for fewer, more in itertools.pairwise(hard):
        assert fewer <= more
    assert len({tuple(example["problem_id"] for example in examples) for examples in mixes}) == 1, "same problems, same order"


def test_over_length_problems_are_dropped_from_every_alpha_and_counted(candidates: mixture.Candidates) -> None:
    limit = 145
    too_long = sorted(key for key, example in candidates.examples["long"].items() if example["num_tokens"] > limit)
    for alpha in (0.0, 0.5, 1.0):
        examples, outcome = mixture.mix(candidates, alpha, BLEND, seed=7, max_tokens=limit)
        assert outcome["dropped"] == {"long": len(too_long), "short": 0}
        assert outcome["num_problems_dropped"] == len(too_long) > 0
        assert not {example["problem_id"] for example in examples} & set(too_long)
        assert all(example["num_tokens"] <= limit for example in examples)
        assert outcome["before"]["rows"]["long"] >= outcome["rows"]["long"]
        assert sum(outcome["before"]["rows"].values()) == 36


def test_token_share_exceeds_row_share_when_hard_traces_are_longer(candidates: mixture.Candidates) -> None:
    _, outcome = mixture.mix(candidates, 0.5, BLEND, seed=7, max_tokens=1000)
    assert outcome["row_share"] == 0.5
    assert outcome["loss_token_share"] > outcome["token_share"] > outcome["row_share"]
    assert outcome["token_share"] == outcome["tokens"]["long"] / sum(outcome["tokens"].values())


def test_num_rows_is_exact_nested_and_an_error_when_too_many(candidates: mixture.Candidates) -> None:
    def problems(num_rows: int) -> set[str]:
        blend = Blend(hard="long", easy="short", num_rows=num_rows)
        return {example["problem_id"] for example in mixture.mix(candidates, 0.2, blend, seed=7, max_tokens=1000)[0]}

    assert len(problems(10)) == 10
    assert problems(10) < problems(20) < problems(36)
    with pytest.raises(MixtureError, match="num_rows = 37"):
        problems(37)


def test_nothing_in_common_and_mixed_up_questions_are_told(student_folder: Path) -> None:
    tokenizer = chat.load_tokenizer(student_folder)
    good = pa.Table.from_pylist(traces("long", words=3, wrong_every=5), schema=rows.TRACE)
    wrong = pa.Table.from_pylist([{**row, "verdict": "wrong"} for row in good.to_pylist()], schema=rows.TRACE)
    with pytest.raises(MixtureError, match="long solved 36, short solved 0"):
        mixture.gather({"long": good, "short": wrong}, tokenizer, PROMPT)
    other = pa.Table.from_pylist([{**row, "question": "Another?"} for row in good.to_pylist()], schema=rows.TRACE)
    with pytest.raises(MixtureError, match="different questions"):
        mixture.gather({"long": good, "short": other}, tokenizer, PROMPT)
    candidates = mixture.gather({"long": good, "short": good}, tokenizer, PROMPT)
    with pytest.raises(MixtureError, match="max_tokens = 5"):
        mixture.mix(candidates, 0.2, BLEND, seed=7, max_tokens=5)


def test_a_second_run_finds_it_and_a_changed_setting_does_not(store: Store, student_folder: Path) -> None:
    first = run(store, student_folder, 0.2)
    written = first.store.fs.modified(f"{first.path}/examples.parquet")
    assert run(store, student_folder, 0.2).hash == first.hash
    assert first.store.fs.modified(f"{first.path}/examples.parquet") == written
    others = [run(store, student_folder, 0.3), run(store, student_folder, 0.2, max_tokens=145)]
    assert len({artefact.hash for artefact in (first, *others)}) == 3
