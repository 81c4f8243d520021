"""Problems from files: the good rows go on, each bad one is set aside with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixray import problems
from mixray.errors import ProblemError
from mixray.progress import StageProgress
from mixray.recipe import ProblemSet
from mixray.store import Store

GOOD = {"id": "a", "question": "What is 1+1?", "answer": "2"}


def written(path: Path, rows: list[Any]) -> ProblemSet:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        path.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]))
    else:
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return ProblemSet(source=str(path))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    good, bad = problems.read(written(tmp_path / f"p.{kind}", [GOOD, {"id": "b", "question": "And 2+2?", "answer": "4"}]))
    assert good.select(["problem_id", "question", "answer"]).to_pylist() == [
        {"problem_id": "a", "question": "What is 1+1?", "answer": "2"},
        {"problem_id": "b", "question": "And 2+2?", "answer": "4"},
    ]
    assert bad == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "b", "question": "What?"}, "`answer` is missing"),
        ({"id": "b", "question": "  ", "answer": "2"}, "`question` is empty"),
        ({"id": "a", "question": "Other?", "answer": "2"}, "occurs twice"),
        ({"id": "b", "question": "nul \0", "answer": "2"}, "NUL"),
        ({"id": "b", "question": "lone \ud800", "answer": "2"}, "surrogates not allowed"),
        ({"id": "b", "question": "x" * 200_000, "answer": "2"}, "200000 characters"),
        ({"id": "b", "question": "What?", "answer": float("nan")}, "`answer` is empty"),
        ("not json", "not a mapping"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(row: Any, reason: str, tmp_path: Path) -> None:
    good, bad = problems.read(written(tmp_path / "p.jsonl", [GOOD, row]))
    assert good["problem_id"].to_pylist() == ["a"]
    assert [item["row"] for item in bad] == [1]
    assert reason in bad[0]["reason"]


def test_only_bad_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"no usable problem.*`answer` is missing.*question_field"):
        problems.read(written(tmp_path / "p.jsonl", [{"question": "What?"}]))


def test_a_float_gold_loses_its_zero(tmp_path: Path) -> None:
    good, _ = problems.read(written(tmp_path / "p.jsonl", [{"question": "What?", "answer": 27.0}]))
    assert good["answer"].to_pylist() == ["27"]


def test_a_changed_file_is_another_artefact(store: Store, tmp_path: Path, quiet: StageProgress) -> None:
    source = written(tmp_path / "p.jsonl", [GOOD])
    first = problems.run(store, "train", source, quiet)
    assert first.outcome == {"num_problems": 1, "num_set_aside": 0}
    written(tmp_path / "p.jsonl", [GOOD, "broken"])
    second = problems.run(store, "train", source, quiet)
    assert second.hash != first.hash
    assert second.read_json("quarantine.json")[0]["row"] == 1


def test_a_missing_file_is_told(store: Store) -> None:
    with pytest.raises(ProblemError, match=r"cannot be read.*nowhere.jsonl"):
        problems.handle(store, "train", ProblemSet(source="nowhere.jsonl"))
