"""Traces that exist already become a pool like any other: each under its problem, in a fixed order, none lost without a word."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from asking import RULE, make_problems

from mixray.errors import MixrayError, TeacherError
from mixray.progress import StageProgress
from mixray.recipe import ImportedTeacher
from mixray.rows import TRACE
from mixray.store import Artefact, Store
from mixray.teachers import Rule, handle, imported, parts, pools, run
from mixray.verify import POLICY, verify

RIGHT, WRONG = r"so it is \boxed{4}", r"so it is \boxed{5}"
QUESTIONS = ["one?", "two?", "three?"]


def written(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)


class Importing:
    """One import after another into one store, each from a file of its own."""

    def __init__(self, store: Store, quiet: StageProgress, folder: Path) -> None:
        self.store, self.quiet, self.folder, self.count = store, quiet, folder, 0

    def __call__(self, rows: list[Any], questions: list[str] = QUESTIONS, **settings: Any) -> Artefact:
        self.count += 1
        path = written(self.folder / f"{self.count}.jsonl", rows)
        return self.of(ImportedTeacher(**{"traces": path} | settings), questions)

    def of(self, teacher: ImportedTeacher, questions: list[str] = QUESTIONS, rule: Rule = RULE) -> Artefact:
        return run(self.store, "old", teacher, make_problems(self.store, questions), 0, rule, self.quiet)


@pytest.fixture
def importing(store: Store, quiet: StageProgress, tmp_path: Path) -> Importing:
    return Importing(store, quiet, tmp_path)


def rows_of(pool: Artefact) -> list[dict[str, Any]]:
    return pool.read_table().to_pylist()


def quarantine(pool: Artefact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{pool.path}/quarantine.jsonl").read_text().splitlines()]


def test_traces_become_judged_rows_in_the_order_of_the_problems(importing: Importing) -> None:
    pool = importing(
        [
            {"question": "three?", "response": RIGHT},
            {"question": "one?", "response": WRONG},
            {"question": "three?", "response": "no idea"},
        ]
    )
    table = pool.read_table()
    assert table.schema == TRACE
    assert [(row["trace_id"], row["verdict"], row["verdict_reason"]) for row in table.to_pylist()] == [
        ("p0/old/0", "wrong", "different_number"),
        ("p2/old/0", "right", "same"),
        ("p2/old/1", "unknown", "no_answer"),
    ]
    first = table.to_pylist()[0]
    expected = {
        "teacher": "old", "seed": None, "question": "one?", "gold": "4", "subject": "one", "level": 1, "response": WRONG, "answer": "5",
        "finish_reason": None, "num_prompt_tokens": None, "num_response_tokens": None, "seconds": None, "status": "ok", "error": None,
        "engine": "imported", "template": None,
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    out = pool.outcome
    assert {name: out[name] for name in ("num_problems", "num_traces", "num_solved", "num_set_aside", "set_aside", "cost")} == {
        "num_problems": 2, "num_traces": 3, "num_solved": 1, "num_set_aside": 0, "set_aside": {}, "cost": 0,
    }  # fmt: skip
    assert not Path(f"{pool.path}/quarantine.jsonl").exists()
    assert not Path(pool.work_path).exists()


def test_a_pool_on_a_bucket_is_the_one_of_a_folder(importing: Importing, object_store: Store) -> None:
    given = [{"question": "three?", "response": RIGHT}, {"question": "one?", "response": WRONG}]
    here = importing(given)
    importing.store = object_store
    there = importing.of(ImportedTeacher(traces=str(importing.folder / "1.jsonl")))
    assert there.label == here.label
    same = [name for name in TRACE.names if name in ("problem_id", "trace_id", "response", "verdict", "num_response_tokens")]
    assert there.read_table().select(same).equals(here.read_table().select(same))


def test_columns_may_be_called_anything_and_lie_deep(importing: Importing) -> None:
    row = {"meta": {"ask": "two?", "used": 7, "end": "length"}, "turns": [{"text": "two?"}, {"text": [{"text": WRONG}]}]}
    columns = {
        "question": "meta.ask", "response": "turns[-1].text[0].text", "num_response_tokens": "meta.used", "finish_reason": "meta.end",
    }  # fmt: skip
    (trace,) = rows_of(importing([row], columns=columns))
    assert (trace["problem_id"], trace["response"], trace["num_response_tokens"]) == ("p1", WRONG, 7)
    assert (trace["status"], trace["verdict"], trace["verdict_reason"]) == ("truncated", "wrong", "truncated")


def test_a_trace_finds_its_problem_by_id_where_a_column_names_one(importing: Importing) -> None:
    rows = [{"id": "p2", "question": "one?", "response": RIGHT}]
    assert [row["problem_id"] for row in rows_of(importing(rows, columns={"problem_id": "id"}))] == ["p2"]
    assert [row["problem_id"] for row in rows_of(importing(rows))] == ["p0"]


def test_space_between_the_words_of_a_question_does_not_count_but_the_words_do(importing: Importing) -> None:
    rows = [
        {"question": q, "response": RIGHT} for q in ("  how\n\nmany\tapples? ", "how many apples?", "how many pears?", "How many apples?")
    ]
    pool = importing(rows, ["how many  apples?"])
    assert [row["trace_id"] for row in rows_of(pool)] == ["p0/old/0", "p0/old/1"]
    assert pool.outcome["set_aside"] == {"unknown_problem": 2}


def test_of_a_transcript_only_what_follows_the_last_mark_counts(importing: Importing) -> None:
    rows = [
        {"question": "one?", "response": f"system\nBe brief.\nuser\none?\nassistant\n{WRONG}\nassistant\n{RIGHT}"},
        {"question": "two?", "response": RIGHT},
    ]
    pool = importing(rows, response_after="\nassistant\n")
    assert [row["response"] for row in rows_of(pool)] == [RIGHT]
    assert quarantine(pool)[0]["detail"] == r"`response` does not hold '\nassistant\n'"


def test_thinking_is_kept_in_the_common_tags_or_dropped(importing: Importing) -> None:
    rows = [{"question": "one?", "response": rf"[T]5? \boxed{{5}}[/T] {RIGHT}"}]
    kept = rows_of(importing(rows, think_tags=["[T]", "[/T]"]))[0]
    dropped = rows_of(importing(rows, think_tags=["[T]", "[/T]"], thinking="drop"))[0]
    assert (kept["response"], kept["verdict"]) == (rf"<think>5? \boxed{{5}}</think> {RIGHT}", "right")
    assert (dropped["response"], dropped["verdict"]) == (RIGHT, "right")


@pytest.mark.parametrize(
    ("told", "kept", "status", "verdict"),
    [
        ("stop", "stop", "ok", "right"),
        ("length", "length", "truncated", "wrong"),
        (None, None, "ok", "right"),
        ("", None, "ok", "right"),
        ("eos", "stop", "ok", "right"),
        ("end_turn", "stop", "ok", "right"),
        ("max_tokens", "length", "truncated", "wrong"),
        ("content_filter", "error", "error", "unknown"),
    ],
)
def test_how_an_answer_ended_is_read_and_what_nobody_knows_is_not_guessed(
    told: str | None, kept: str | None, status: str, verdict: str, importing: Importing
) -> None:
    pool = importing([{"question": "one?", "response": RIGHT, "end": told}], columns={"finish_reason": "end"})
    (trace,) = rows_of(pool)
    assert (trace["finish_reason"], trace["status"], trace["verdict"]) == (kept, status, verdict)
    assert trace["error"] == ("it was ended: 'content_filter'" if kept == "error" else None)


BAD_ROWS: list[tuple[Any, str]] = [
    ("{torn", "not_json"),
    ("[1, 2]", "missing_column"),
    ("7", "missing_column"),
    ({"response": RIGHT}, "missing_column"),
    ({"question": None, "response": RIGHT}, "missing_column"),
    ({"question": "one?"}, "missing_column"),
    ({"question": "one?", "response": None, "tokens": 3}, "missing_column"),
    ({"question": "one?", "response": 4, "tokens": 3}, "no_response"),
    ({"question": "one?", "response": [RIGHT], "tokens": 3}, "no_response"),
    ({"question": ["one?"], "response": RIGHT, "tokens": 3}, "unknown_problem"),
    ({"question": "four?", "response": RIGHT, "tokens": 3}, "unknown_problem"),
    ({"question": "\ud83d", "response": RIGHT, "tokens": 3}, "unknown_problem"),
    ({"question": "one?", "response": RIGHT, "tokens": "many"}, "bad_count"),
    ({"question": "one?", "response": RIGHT, "tokens": -1}, "bad_count"),
    ({"question": "one?", "response": RIGHT, "tokens": 2**40}, "bad_count"),
    ('{"question": "one?", "response": "4", "tokens": NaN}', "bad_count"),
    ('{"question": "one?", "response": "4", "tokens": Infinity}', "bad_count"),
]


def test_a_bad_row_is_set_aside_with_its_reason_and_ends_nothing(importing: Importing) -> None:
    good = {"question": "one?", "response": RIGHT, "tokens": 3}
    pool = importing([good, *(row for row, _ in BAD_ROWS), good | {"tokens": None}], columns={"num_response_tokens": "tokens"})
    assert [row["num_response_tokens"] for row in rows_of(pool)] == [3, None]
    kept = quarantine(pool)
    assert [(row["row"], row["reason"]) for row in kept] == [(index + 1, reason) for index, (_, reason) in enumerate(BAD_ROWS)]
    assert all(row["detail"] and row["content"] for row in kept)
    out = pool.outcome
    assert out["num_set_aside"] == sum(out["set_aside"].values()) == len(BAD_ROWS)
    assert out["set_aside"] == {"bad_count": 5, "missing_column": 6, "no_response": 2, "not_json": 1, "unknown_problem": 3}


def test_all_bad_is_an_error_that_says_what_was_wrong(importing: Importing) -> None:
    with pytest.raises(TeacherError) as told:
        importing([{"prompt": "one?", "response": RIGHT}] * 3 + ["{torn"])
    assert "No trace fits a problem" in str(told.value)
    assert "3 missing_column, 1 not_json; row 0: `question` is missing: the row has 'prompt', 'response'" in str(told.value)
    assert "check `columns`" in str(told.value)
    assert importing.store.folders("pools") == []


def test_an_empty_file_and_a_missing_one_are_told(importing: Importing, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="has no rows"):
        importing([])
    with pytest.raises(MixrayError, match=r"nowhere\.jsonl"):
        importing.of(ImportedTeacher(traces=str(tmp_path / "nowhere.jsonl")))


def test_what_can_be_judged_of_odd_text_is_judged(importing: Importing) -> None:
    texts = [f"\x00 {RIGHT}", f"half \ud83d of a pair, {RIGHT}", "", "Wait, again. " * 99 + RIGHT, f"{RIGHT} 🙂", "\ufffd" * 9]
    rows = rows_of(importing([{"question": "one?", "response": text} for text in texts]))
    assert [row["sample"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["status"] for row in rows] == ["ok", "ok", "empty", "looping", "ok", "garbled"]
    assert [row["verdict"] for row in rows] == ["right", "right", "unknown", "right", "right", "unknown"]
    assert rows[0]["response"] == texts[0]
    assert rows[1]["response"] == f"half \ufffd of a pair, {RIGHT}"


def test_rows_that_repeat_each_other_stay_as_samples(importing: Importing) -> None:
    rows = rows_of(importing([{"question": "one?", "response": RIGHT}] * 3))
    assert [row["trace_id"] for row in rows] == ["p0/old/0", "p0/old/1", "p0/old/2"]


def test_the_order_follows_problems_and_file_however_the_file_is_mixed(importing: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imported, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(imported, "TRACES_PER_PART", 11)
    questions = [f"question {index}?" for index in range(150)]
    numbers = [(index * 61) % 150 for index in range(600)]  # four rounds, each in the same mixed order
    given = [{"question": questions[number], "response": f"round {index // 150}"} for index, number in enumerate(numbers)]
    rows = rows_of(importing(given, questions))
    assert [row["trace_id"] for row in rows] == [f"p{number}/old/{sample}" for number in range(150) for sample in range(4)]
    assert [row["response"] for row in rows] == [f"round {sample}" for _ in range(150) for sample in range(4)]


def test_the_same_file_is_the_same_pool_and_a_changed_one_another(importing: Importing, tmp_path: Path) -> None:
    teacher = ImportedTeacher(traces=written(tmp_path / "a.jsonl", [{"question": "one?", "response": RIGHT}]))
    first = importing.of(teacher)
    made = Path(first.path, "manifest.json").stat().st_mtime_ns
    assert importing.of(teacher) == first
    assert Path(first.path, "manifest.json").stat().st_mtime_ns == made
    problems = make_problems(importing.store, QUESTIONS)
    free = teacher.model_copy(update={"price": teacher.price.model_copy(update={"per_hour": 3.0})})
    assert handle(importing.store, "old", free, problems, 0, RULE).hash == first.hash
    written(tmp_path / "a.jsonl", [{"question": "one?", "response": WRONG}])
    second = importing.of(teacher)
    assert second.hash != first.hash
    assert [row["verdict"] for row in rows_of(second)] == ["wrong"]


def test_without_a_box_the_last_number_counts_where_the_problems_say_so(importing: Importing, tmp_path: Path) -> None:
    teacher = ImportedTeacher(traces=written(tmp_path / "a.jsonl", [{"question": "one?", "response": "That makes 4."}]))
    assert [row["verdict"] for row in rows_of(importing.of(teacher))] == ["unknown"]
    assert [row["verdict"] for row in rows_of(importing.of(teacher, rule=Rule(verify, POLICY, unboxed=True)))] == ["right"]


def test_csv_parquet_json_and_hub_data_sets_are_read_alike(importing: Importing, tmp_path: Path) -> None:
    rows = [{"question": question, "response": RIGHT} for question in QUESTIONS]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, ["question", "response"])
        out.writeheader()
        out.writerows(rows)
    hub = tmp_path / "hub"
    hub.mkdir()
    datasets.Dataset.from_list(rows).to_parquet(str(hub / "train-00000-of-00001.parquet"))
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    pools = [importing.of(ImportedTeacher(traces=source)) for source in (*map(str, tmp_path.glob("a.*")), f"hf:{hub}")]
    assert len(pools) == 4
    assert all(rows_of(pool) == rows_of(pools[0]) for pool in pools)


def test_few_traces_are_in_hand_at_a_time_however_many_a_problem_has(importing: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def write_part(*arguments: Any) -> None:
        sizes.append(len(arguments[2]))
        parts.write_part(*arguments)

    monkeypatch.setattr(imported, "TRACES_PER_PART", 10)
    monkeypatch.setattr(pools, "TRACES_PER_FILE", 20)
    monkeypatch.setattr(imported, "write_part", write_part)
    pool = importing([{"question": f"{number}?", "response": ""} for number in range(30) for _ in range(4)], [f"{n}?" for n in range(30)])
    assert sum(sizes) == 120
    assert max(sizes) == 12
    files = [entry for entry in pool.manifest()["files"] if entry["path"].endswith(".parquet")]
    assert len(files) == 6
