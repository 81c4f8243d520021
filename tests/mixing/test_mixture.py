"""The mixing stage on made-up pools: what is in, in which order, what is dropped, what is told.

The student's tokenizer and both pools are made here and fixed: the golden rests on them.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mixray import chat, mixing, overlaps, rows
from mixray.errors import MixtureError
from mixray.progress import Display
from mixray.recipe import Blend
from mixray.store import Artefact, Store

TEMPLATE = (
    "{% for message in messages %}{{ '<start>' + message['role'] + ':' + message['content'] + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>assistant:' }}{% endif %}"
)
NUM_PROBLEMS = 40
PROMPT = "Solve: {question}"
TWICE = "{question}\nRead it again: {question}"
# sha256 of the rows of three mixtures of the made-up pools: alpha 0.2 as it stands; by loss tokens, independent, the longest first, two
# random samples of a problem; staged within strata, tagged, and summaries of the long pool. Seed 7, no length limit that bites.
GOLDENS = (
    "8fbe753ef86d47d25579a9514a64b036149a05367de818fdab429cf50f0f3039",
    "5a57c522b54e8d951ac11615c67f3eb65dfd11fc1267d52641a58d0e34b126d5",
    "d73247ff3ee12528a75136052374a3ea68fcd74edabed293bdf4712d0bce1402",
)

DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_mixture import Store, golden, run
from mixray.session import ray_session
with ray_session():
    for url in sys.argv[3:]:
        made = run(Store(url), Path(sys.argv[2]))
        made.verify()
        print(made.label, golden(made))
"""


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
                    "subject": "algebra",
                    "level": number % 5 + 1,
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
    artefact = store.artefact("pools", teacher, {"teacher": teacher, "rows": rows.digest(made)})
    with artefact.staging() as staging:
        for number in range(files):
            staging.write_table(f"part-{number}.parquet", pa.Table.from_pylist(made[number::files], schema=rows.TRACE))
        staging.outcome = {"num_traces": len(made)}
    return artefact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "runs"))


def problem_set(store: Store, name: str, questions: dict[str, str]) -> Artefact:
    """Store problems, as the training set or a benchmark."""
    artefact = store.artefact("problems", name, {"questions": questions})
    table = [
        {"problem_id": key, "question": question, "answer": "1", "subject": None, "level": None} for key, question in questions.items()
    ]
    with artefact.staging() as staging:
        staging.write_table("problems.parquet", pa.Table.from_pylist(table, schema=rows.PROBLEM))
    return artefact


def run(
    store: Store, student_folder: Path, alpha: float | None = 0.2, max_tokens: int = 1000, files: int = 1, shuffle: int | None = None,
    pools: dict[str, list[dict[str, Any]]] | None = None, benchmark: dict[str, str] | None = None, prompt: str = PROMPT, **said: Any,
) -> Artefact:  # fmt: skip
    """Mix the made-up pools, laid out in `files` files and shuffled by a seed where one is given."""
    made = pools or {"long": traces("long", words=30, wrong_every=5), "short": traces("short", words=6, wrong_every=3)}
    if shuffle is not None:
        for pool in made.values():
            random.Random(shuffle).shuffle(pool)
    blend = Blend(**({} if "pools_shares" in said else {"hard": "long", "easy": "short"}), **said)
    questions = {row["problem_id"]: row["question"] for pool in made.values() for row in pool}
    with Display(quiet=True) as display:
        line = display.stage("mix")
        problems = problem_set(store, "train", questions)
        twice = overlaps.run(store, problems, {"exam": problem_set(store, "exam", benchmark or {"e": "Who?"})}, line)
        made_of = mixing.Ingredients(
            blend=blend, alpha=alpha, pools={name: commit_pool(store, name, made[name], files) for name in blend.names}, overlaps=twice,
            student=str(student_folder), student_prompt=prompt, max_tokens=max_tokens, seed=7,
        )  # fmt: skip
        return mixing.run(store, "mix", made_of, line)


def rows_of(artefact: Artefact) -> list[dict[str, Any]]:
    return list(artefact.read_table().to_pylist())


def golden(artefact: Artefact) -> str:
    return rows.digest(rows_of(artefact))


@pytest.mark.parametrize(
    ("said", "digest"),
    [
        ({}, GOLDENS[0]),
        ({"by": "loss_tokens", "assign": "longest", "sharing": "independent", "pick": "random", "per_problem": 2}, GOLDENS[1]),
        ({"stages": (0.0, 0.5), "stratify": ("subject", "level"), "tags": {"long": "/think"}, "view": {"long": "summary"}}, GOLDENS[2]),
    ],
    ids=["alpha", "tokens", "staged"],
)
def test_rows_are_the_golden_ones(store: Store, student_folder: Path, said: dict[str, Any], digest: str) -> None:
    made = run(store, student_folder, **said)
    assert made.read_table().schema.equals(rows.EXAMPLE)
    assert golden(made) == digest


def test_a_mixture_on_a_bucket_is_the_one_of_a_folder(s3_store: Store, gcs_store: Store, store: Store, student_folder: Path) -> None:
    """Mixed by a process of its own: workers know the buckets' addresses from the environment that their Ray was started in."""
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(student_folder), s3_store.url, gcs_store.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [run(store, student_folder).label, GOLDENS[0]] * 2


def test_layout_and_order_of_the_pools_change_nothing(tmp_path: Path, student_folder: Path) -> None:
    tables = [
        run(Store(str(tmp_path / str(number))), student_folder, 0.4, files=files, shuffle=shuffle).read_table()
        for number, (files, shuffle) in enumerate([(1, None), (3, 1), (8, 2)])
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_a_row_holds_the_first_right_trace_in_the_prompt_the_student_sees(store: Store, student_folder: Path) -> None:
    found = {row["problem_id"]: row for row in rows_of(run(store, student_folder, 0.0))}
    example = found["made-up-003"]
    assert example["trace_id"] == "made-up-003/short/1", "sample 0 of every third problem is wrong"
    assert found["made-up-004"]["trace_id"] == "made-up-004/short/0"
    assert example["messages"][0] == {"role": "user", "content": "Solve: What is 3 + 1?"}
    assert [message["role"] for message in example["messages"]] == ["user", "assistant"]
    assert example["num_loss_tokens"] == len(example["messages"][1]["content"]) + 1, "one per character, and the end of the turn"
    assert example["num_tokens"] > example["num_loss_tokens"]
    assert (example["subject"], example["level"]) == ("algebra", 4)


def test_over_length_traces_are_left_out_before_problems_are_shared(store: Store, student_folder: Path) -> None:
    limit = 145
    every = rows_of(run(store, student_folder, 1.0))
    too_long = {row["problem_id"] for row in every if row["num_tokens"] > limit}
    assert too_long, "the limit must bite for this test to mean anything"
    problems = set()
    for alpha in (0.0, 0.5, 1.0):
        made = run(store, student_folder, alpha, max_tokens=limit)
        outcome, found = made.outcome, rows_of(made)
        assert outcome["dropped"]["short"] == 0 < outcome["dropped"]["long"]
        assert all(row["num_tokens"] <= limit for row in found)
        assert sum(pool["rows"] for pool in outcome["before"]["pools"].values()) == 36
        problems.add(tuple(row["problem_id"] for row in found))
    (same,) = problems
    assert set(same) == {row["problem_id"] for row in every} - too_long


def test_shares_are_told_after_every_step(store: Store, student_folder: Path) -> None:
    made = run(store, student_folder, 0.5, max_tokens=145)
    outcome, found = made.outcome, rows_of(made)
    assert [step["step"] for step in outcome["steps"]] == [
        "right",
        "duplicates",
        "contaminated",
        "too long",
        "shared and picked",
        "mixture",
    ]
    told = outcome["steps"][-1]["pools"]
    for pool, counts in told.items():
        mine = [row for row in found if row["pool"] == pool]
        assert counts == {
            "rows": len(mine),
            "tokens": sum(row["num_tokens"] for row in mine),
            "loss_tokens": sum(row["num_loss_tokens"] for row in mine),
        }
    assert outcome["row_share"] == math.ceil(0.5 * len(found)) / len(found)
    assert outcome["loss_token_share"] > outcome["token_share"] > outcome["row_share"], "hard traces are longer"
    cells = made.read_json("shares.json")
    for step in outcome["steps"]:
        for pool in told:
            mine = [cell for cell in cells if cell["step"] == step["step"] and cell["pool"] == pool]
            assert sum(cell["tokens"] for cell in mine) == step["pools"][pool]["tokens"]
    assert {(cell["subject"], cell["level"]) for cell in cells} == {("algebra", level) for level in range(1, 6)}


def test_what_a_benchmark_asks_is_not_taught(store: Store, student_folder: Path, tmp_path: Path) -> None:
    asked = {"e1": "what is  $3 + 1$?", "e2": "What is 3 - 1?"}
    dropped = run(store, student_folder, benchmark=asked)
    assert "made-up-003" not in {row["problem_id"] for row in rows_of(dropped)}
    (step,) = [step for step in dropped.outcome["steps"] if step["step"] == "contaminated"]
    assert step["dropped_problems"] == 1, "an operator makes another problem"
    kept = run(Store(str(tmp_path / "kept")), student_folder, benchmark=asked, contaminated="keep")
    assert "made-up-003" in {row["problem_id"] for row in rows_of(kept)}
    assert len(rows_of(kept)) == len(rows_of(dropped)) + 1


def test_repeated_problems_and_traces_are_taught_once(store: Store, student_folder: Path) -> None:
    made = {"long": traces("long", words=30, wrong_every=5), "short": traces("short", words=6, wrong_every=3)}
    for pool in made.values():
        for row in pool:
            if row["problem_id"] == "made-up-039":
                row["question"] = "What is  38 + 1?"
    found = rows_of(run(store, student_folder, 0.5, pools=made, per_problem=2))
    assert "made-up-039" not in {row["problem_id"] for row in found}
    assert len({(row["pool"], row["problem_id"]) for row in found}) == len(found), "both samples of a problem say the same"
    assert "made-up-039" in {row["problem_id"] for row in rows_of(run(store, student_folder, 0.5, pools=made, duplicates="keep"))}


def test_of_problems_that_say_the_same_one_that_can_be_mixed_stays(store: Store, student_folder: Path) -> None:
    made = {"long": traces("long", words=30, wrong_every=5), "short": traces("short", words=6, wrong_every=3)}
    for pool in made.values():
        for row in pool:
            if row["problem_id"] == "made-up-001":
                row["question"] = "What is  0 + 1?"  # as made-up-000 asks, which nobody solved
    assert "made-up-001" in {row["problem_id"] for row in rows_of(run(store, student_folder, pools=made))}


def test_an_answer_that_is_all_thinking_has_no_summary(store: Store, student_folder: Path) -> None:
    made = {"long": traces("long", words=3, wrong_every=5), "short": traces("short", words=3, wrong_every=3)}
    for row in made["long"]:
        row["response"] = f"<think>{row['response']}</think>" + ("" if row["problem_id"] == "made-up-001" else " Done.")
    outcome = run(store, student_folder, 0.5, pools=made, view={"long": "summary"}).outcome
    assert outcome["steps"][1]["step"] == "empty"
    assert outcome["steps"][1]["dropped_problems"] == 0 < outcome["steps"][1]["dropped_rows"]
    assert outcome["num_rows"] == 35


def test_what_changes_no_row_changes_no_hash(store: Store, student_folder: Path) -> None:
    same: list[dict[str, Any]] = [{}, {"fit": "perplexity"}, {"view": {"long": "whole"}}, {"tags": {"long": ""}}]
    assert len({run(store, student_folder, **said).hash for said in same}) == 1


def test_loops_and_foreign_words_are_left_out_where_the_blend_says_so(store: Store, student_folder: Path) -> None:
    made = {"long": traces("long", words=30, wrong_every=5), "short": traces("short", words=6, wrong_every=3)}
    for row in made["long"][:20]:
        row["repetition"] = 0.8
    for row in made["short"][-20:]:
        row["response"] += " \u6211\u4eec\u6765\u770b"
    outcome = run(store, student_folder, 0.5, pools=made, max_repetition=0.7, max_foreign=0.02).outcome
    took = {step["step"]: step["dropped_rows"] for step in outcome["steps"]}
    assert took["repetition"] > 0 < took["foreign"]
    assert outcome["num_rows"] == outcome["num_problems"] < 36


def test_every_place_of_the_question_is_filled(store: Store, student_folder: Path) -> None:
    for row in rows_of(run(store, student_folder, prompt=TWICE)):
        asked = row["messages"][0]["content"]
        question = f"What is {int(row['problem_id'][-3:])} + 1?"
        assert asked == f"{question}\nRead it again: {question}"
        written = chat.encode(chat.load_tokenizer(student_folder), row["messages"])
        assert (row["num_tokens"], row["num_loss_tokens"]) == (len(written.ids), written.num_loss_tokens), "counted as written"


def test_views_and_tags_are_in_the_messages(store: Store, student_folder: Path) -> None:
    made = {"long": traces("long", words=3, wrong_every=5), "short": traces("short", words=3, wrong_every=3)}
    for row in made["long"]:
        row["response"] = f"<think>\nlet me see\n</think>\n\n{row['response']}"
    found = rows_of(run(store, student_folder, 0.5, pools=made, view={"long": "summary"}, tags={"long": "/think", "short": "/no_think"}))
    for row in found:
        asked, taught = (message["content"] for message in row["messages"])
        assert asked.endswith("?\n/think" if row["pool"] == "long" else "?\n/no_think")
        assert taught.startswith("so so so")
        assert row["num_loss_tokens"] == len(taught) + 1, "what is counted is what is taught"


def test_three_pools_are_mixed_by_name(store: Store, student_folder: Path) -> None:
    made = {name: traces(name, words=words, wrong_every=5) for name, words in (("huge", 60), ("long", 30), ("short", 6))}
    questions = {row["problem_id"]: row["question"] for row in made["huge"]}
    blend = Blend(pools={"huge": 0.1, "long": 0.3, "short": 0.6})
    with Display(quiet=True) as display:
        line = display.stage("mix")
        twice = overlaps.run(store, problem_set(store, "train", questions), {}, line)
        pools = {name: commit_pool(store, name, made[name]) for name in blend.names}
        made_of = mixing.Ingredients(blend, None, pools, twice, str(student_folder), PROMPT, 1000, 7)
        outcome = mixing.run(store, "three", made_of, line).outcome
    assert {pool: counts["rows"] for pool, counts in outcome["pools"].items()} == {"huge": 4, "long": 11, "short": 21}
    assert outcome["alpha"] is None


def test_nothing_in_common_and_mixed_up_questions_are_told(store: Store, student_folder: Path) -> None:
    good, other = traces("long", words=3, wrong_every=5), traces("short", words=3, wrong_every=5)
    wrong = [{**row, "verdict": "wrong"} for row in other]
    with pytest.raises(MixtureError, match=r"Nothing of pool short is left to mix.*0 after right"):
        run(store, student_folder, pools={"long": good, "short": wrong})
    with pytest.raises(MixtureError, match="different questions"):
        run(store, student_folder, pools={"long": good, "short": [{**row, "question": "Another?"} for row in other]}, duplicates="keep")
    with pytest.raises(MixtureError, match=r"0 after too long"):
        run(store, student_folder, pools={"long": good, "short": other}, max_tokens=5)
    with pytest.raises(MixtureError, match="size = 37"):
        run(store, student_folder, size=37)


def test_a_second_run_finds_it_and_a_changed_setting_does_not(store: Store, student_folder: Path) -> None:
    first = run(store, student_folder, 0.2)
    written = first.store.fs.modified(f"{first.path}/examples-00000.parquet")
    assert run(store, student_folder, 0.2).hash == first.hash
    assert first.store.fs.modified(f"{first.path}/examples-00000.parquet") == written
    others = [run(store, student_folder, 0.3), run(store, student_folder, 0.2, max_tokens=145), run(store, student_folder, by="tokens")]
    assert len({artefact.hash for artefact in (first, *others)}) == 4


def test_a_further_alpha_counts_no_token(store: Store, student_folder: Path) -> None:
    run(store, student_folder, 0.2)
    counted = {path: path.stat().st_mtime_ns for path in Path(store.root, "candidates").rglob("*") if path.is_file()}
    run(store, student_folder, 0.3)
    assert counted == {path: path.stat().st_mtime_ns for path in Path(store.root, "candidates").rglob("*") if path.is_file()}
    assert len(store.folders("candidates")) == 2
