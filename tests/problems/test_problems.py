"""Reading problem sets: the good rows go on, each bad one is set aside with its reason, and nothing is lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray import problems
from mixray.errors import ProblemError, RecipeError, SourceError
from mixray.problems import stage
from mixray.progress import StageProgress
from mixray.quarantine import SetAside
from mixray.recipe import ProblemSet
from mixray.rows import PROBLEM
from mixray.store import Artefact, Store
from mixray.tiny.problems import problems as tiny_problems
from mixray.verify import verify

GOOD = {"id": "a", "question": "What is 1+1?", "answer": "2"}


def written(path: Path, rows: Sequence[Any]) -> ProblemSet:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return ProblemSet(source=str(path))


def quarantine(artefact: Artefact) -> list[dict[str, Any]]:
    lines = artefact.store.fs.cat_file(f"{artefact.path}/quarantine.jsonl").decode("ascii").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("not json", "not_json", "Expecting value"),
        ("[1, 2]", "not_a_row", "no mapping but list"),
        ({"id": "b", "question": "What?"}, "missing_gold", "`answer` is missing: the row has 'id', 'question'"),
        ({"id": "b", "answer": "2"}, "missing_question", "`question` is missing"),
        ({"id": "b", "question": None, "answer": "2"}, "missing_question", "`question` is null"),
        ({"id": "b", "question": " \n", "answer": "2"}, "empty_question", "`question`"),
        ({"id": "b", "question": "What?", "answer": " "}, "empty_gold", "`answer`"),
        ({"id": "b", "question": "What?", "answer": "\\boxed{ }"}, "empty_gold", "box"),
        ({"id": "b", "question": ["What?"], "answer": "2"}, "not_text", "`question` is no text or number but list"),
        ({"id": "b", "question": "What?", "answer": {"is": 2}}, "not_text", "`answer` is no text or number but dict"),
        ({"id": "b", "question": "What?", "answer": True}, "not_text", "bool"),
        ({"id": "b", "question": "What?", "answer": float("nan")}, "not_finite", "`answer` is nan"),
        ({"id": "b", "question": "What?", "answer": "NaN"}, "not_finite", "`answer` is NaN"),
        ({"id": "b", "question": "What?", "answer": -float("inf")}, "not_finite", "`answer` is -inf"),
        ({"id": float("nan"), "question": "What?", "answer": "2"}, "not_finite", "`id` is nan"),
        ({"id": "b", "question": "nul \0", "answer": "2"}, "nul_byte", "`question` holds a NUL byte at character 4"),
        (
            {"id": "b", "question": "What?", "answer": "lone \ud800"},
            "lone_surrogate",
            "`answer` holds half of a surrogate pair at character 5",
        ),
        ({"id": "b\ud800", "question": "What?", "answer": "2"}, "lone_surrogate", "`id`"),
        ({"id": "b", "question": "What?", "answer": "2", "subject": "\ud800"}, "lone_surrogate", "`subject`"),
        ({"id": "b", "question": "x" * 10_000_000, "answer": "2"}, "too_long", "`question` has 10,000,000 characters, at most 100,000"),
        ({"id": "b", "question": "What?", "answer": "x" * 10_000_000}, "too_long", "`answer`"),
        ({"id": "x" * 2000, "question": "What?", "answer": "2"}, "too_long", "`id`"),
        ({"id": "b", "question": "x" * 20_000_000, "answer": "2"}, "too_long", "a line of 20,000,"),
        ({"id": "b", "question": "What?", "answer": "\\frac{1}{2"}, "gold_not_itself", "the gold is"),
        ({"id": "b", "question": "What?", "answer": "\\}{ 2"}, "gold_not_itself", "the gold is"),
        ({"id": "a", "question": "Another?", "answer": "3"}, "duplicate_id", "an earlier problem has the id 'a'"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(
    row: Any, reason: str, detail: str, store: Store, quiet: StageProgress, tmp_path: Path
) -> None:
    source = written(tmp_path / "p.jsonl", [GOOD, row, GOOD | {"id": "c"}])
    made = problems.run(store, "train", source, verify, quiet)
    assert made.read_table()["problem_id"].to_pylist() == ["a", "c"]
    assert made.outcome == {"num_problems": 2, "num_set_aside": 1, "set_aside": {reason: 1}}
    (line,) = quarantine(made)
    assert (line["row"], line["reason"]) == (1, reason)
    assert detail in line["detail"]
    assert line["content"].isascii()
    assert 0 < len(line["content"]) <= 2000


def test_bytes_that_are_no_text_are_set_aside(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    source = written(tmp_path / "p.jsonl", [GOOD])
    Path(source.source).write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "b", "question": "caf\xe9?", "answer": "2"}\n')
    assert problems.run(store, "train", source, verify, quiet).outcome["set_aside"] == {"lone_surrogate": 1}


def test_the_first_of_a_kind_counts_only_if_it_is_good(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    rows = [GOOD | {"answer": ""}, GOOD, GOOD | {"question": "Another?"}]
    made = problems.run(store, "train", written(tmp_path / "p.jsonl", rows), verify, quiet)
    assert made.outcome["set_aside"] == {"duplicate_id": 1, "empty_gold": 1}
    assert made.read_table()["question"].to_pylist() == ["What is 1+1?"]


def test_where_nothing_is_set_aside_there_is_no_quarantine(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    made = problems.run(store, "train", written(tmp_path / "p.jsonl", [GOOD]), verify, quiet)
    assert made.outcome == {"num_problems": 1, "num_set_aside": 0, "set_aside": {}}
    assert [entry["path"] for entry in made.manifest()["files"]] == ["part-00000.parquet"]


def test_only_bad_rows_are_an_error_that_tells_the_commonest_reason(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    source = written(tmp_path / "p.jsonl", [{"q": "What?"}, "broken", {"q": "What else?"}])
    with pytest.raises(
        ProblemError, match=r"no usable problem.*2 missing_question, 1 not_json; row 0: `question` is missing.*'q'.*question_field"
    ):
        problems.run(store, "train", source, verify, quiet)
    assert not problems.handle(store, "train", source).is_done()


def test_no_rows_at_all_are_an_error(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"empty.*p\.jsonl"):
        problems.run(store, "train", written(tmp_path / "p.jsonl", ["", " "]), verify, quiet)


def test_the_first_so_many_good_rows_are_taken(store: Store, quiet: StageProgress, tmp_path: Path) -> None:
    rows = [GOOD | {"id": str(number), "answer": "" if number % 3 == 0 else "2"} for number in range(30)]
    source = written(tmp_path / "p.jsonl", rows).model_copy(update={"num_problems": 4})
    made = problems.run(store, "train", source, verify, quiet)
    assert made.read_table()["problem_id"].to_pylist() == ["1", "2", "4", "5"]
    assert [line["row"] for line in quarantine(made)] == [0, 3]


def test_parts_and_batches_change_nothing(store: Store, quiet: StageProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [GOOD | {"id": str(number % 40), "answer": "" if number % 7 == 0 else str(number)} for number in range(50)]
    source = written(tmp_path / "p.jsonl", rows)
    whole = problems.run(store, "whole", source, verify, quiet)
    monkeypatch.setattr(stage, "PART_ROWS", 10)
    monkeypatch.setattr(stage, "CHECKED_AT_ONCE", 3)
    parts = problems.run(store, "parts", source, verify, quiet)
    assert [entry["path"] for entry in parts.manifest()["files"] if entry["path"].startswith("part")] == [
        f"part-{number:05d}.parquet" for number in range(4)
    ]
    assert parts.read_table().equals(whole.read_table())
    assert parts.outcome == whole.outcome
    assert quarantine(parts) == quarantine(whole)


texts = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["2", "\\boxed{2}", "#### 3", "\\frac{1", "x\0", "\ud800", "", "nan"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["question", "answer", "problem", "solution", "final_answer", "id", "level", "type", "subject", "context"])
junk = (
    values
    | st.fixed_dictionaries({"question": values, "answer": values}, optional={"id": values, "level": values})
    | st.dictionaries(names, values)
)
lines = st.builds(json.dumps, junk) | st.text(st.characters(codec="utf-8", exclude_characters="\n\r")).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(lines, max_size=12), format=st.sampled_from(["plain", "gsm8k", "math", "math500", "olympiadbench", "aime24", "amc23"]))
def test_whatever_the_rows_each_is_good_or_set_aside(rows: list[str], format: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("junk") / "p.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    read = list(problems.read(ProblemSet.model_validate({"source": str(path), "format": format}), verify))
    assert len(read) == len(rows)
    good = [one for one in read if isinstance(one, dict)]
    assert stage.pa.Table.from_pylist(good, schema=PROBLEM).num_rows == len(good)
    assert len({one["problem_id"] for one in good}) == len(good)
    assert all(one["question"].strip() and one["answer"].strip() for one in good)
    set_aside = {one.row: one for one in read if isinstance(one, SetAside)}
    assert sorted(set_aside) == [number for number, one in enumerate(read) if isinstance(one, SetAside)]
    assert all(json.dumps(one.told()).isascii() and len(one.content) <= 2000 for one in set_aside.values())


def test_the_tiny_world_is_read_like_a_file(store: Store, quiet: StageProgress) -> None:
    made = problems.run(store, "train", ProblemSet(num_problems=50, seed=3), verify, quiet)
    assert made.read_table().equals(tiny_problems("train", 50, (2, 5), 3))


def test_a_small_tiny_world_gives_as_many_as_it_has(store: Store, quiet: StageProgress) -> None:
    """No batch asks for more than is wanted."""
    source = ProblemSet(num_problems=20, difficulty=(1, 1), split="train")
    assert problems.run(store, "train", source, verify, quiet).outcome["num_problems"] == 20


def test_a_compressed_remote_file(store: Store, quiet: StageProgress) -> None:
    with fsspec.open("memory://mixray-problems/p.jsonl.gz", "wb", compression="gzip") as file:
        file.write("\n".join([json.dumps(GOOD), "broken"]).encode())
    made = problems.run(store, "train", ProblemSet(source="memory://mixray-problems/p.jsonl.gz"), verify, quiet)
    assert made.outcome == {"num_problems": 1, "num_set_aside": 1, "set_aside": {"not_json": 1}}


def test_a_folder_of_files_as_a_data_set(store: Store, quiet: StageProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    written(tmp_path / "set" / "test.jsonl", [GOOD, GOOD])
    made = problems.run(store, "test", ProblemSet(source=f"hf:{tmp_path / 'set'}", split="test"), verify, quiet)
    assert made.outcome == {"num_problems": 1, "num_set_aside": 1, "set_aside": {"duplicate_id": 1}}


def test_the_verifier_is_asked_in_batches(tmp_path: Path) -> None:
    sizes: list[int] = []

    def counting(
        responses: Sequence[str | None], golds: Sequence[str | None], reasons: Sequence[str | None] | None, unboxed: bool
    ) -> list[Any]:
        sizes.append(len(responses))
        return verify(responses, golds, reasons, unboxed)

    rows = [GOOD | {"id": str(number)} for number in range(2500)]
    assert Counter(map(type, problems.read(written(tmp_path / "p.jsonl", rows), counting))) == {dict: 2500}
    assert sizes == [1000, 1000, 500]


def test_a_changed_file_is_another_artefact(store: Store, tmp_path: Path, quiet: StageProgress) -> None:
    first = problems.run(store, "train", written(tmp_path / "p.jsonl", [GOOD]), verify, quiet)
    second = problems.run(store, "train", written(tmp_path / "p.jsonl", [GOOD, "broken"]), verify, quiet)
    assert second.hash != first.hash
    assert second.outcome["num_set_aside"] == 1


def test_another_format_is_another_artefact_and_unboxed_is_not(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "p.jsonl", [GOOD])
    same, other = (source.model_copy(update=change) for change in ({"unboxed": True}, {"format": "aime24"}))
    assert problems.handle(store, "p", same).hash == problems.handle(store, "p", source).hash
    assert problems.handle(store, "p", other).hash != problems.handle(store, "p", source).hash


def test_what_is_read_is_found(store: Store, tmp_path: Path, quiet: StageProgress) -> None:
    source = written(tmp_path / "p.jsonl", [GOOD])
    first = problems.run(store, "train", source, verify, quiet)

    def never(*_: Any) -> list[Any]:
        raise AssertionError("read again")

    assert problems.run(store, "train", source, never, quiet) == first


def test_a_missing_file_is_told(store: Store) -> None:
    with pytest.raises(SourceError, match=r"cannot be read.*nowhere.jsonl"):
        problems.handle(store, "train", ProblemSet(source="nowhere.jsonl"))


def test_a_path_that_is_none_is_an_error_of_the_recipe(store: Store, tmp_path: Path, quiet: StageProgress) -> None:
    source = written(tmp_path / "p.jsonl", [GOOD]).model_copy(update={"question_field": "a..b"})
    with pytest.raises(RecipeError, match=r"path cannot be read.*a\.\.b"):
        problems.run(store, "train", source, verify, quiet)
