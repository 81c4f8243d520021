"""The formats of well-known problem sets: made-up rows in the shape of the real files, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixray import problems
from mixray.problems.formats import FORMATS
from mixray.quarantine import SetAside
from mixray.recipe import ProblemFormat, ProblemSet
from mixray.rows import digest
from mixray.verify import verify


def read(path: Path, rows: list[dict[str, Any]], format: str, **fields: str) -> list[dict[str, Any] | SetAside]:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return list(problems.read(ProblemSet.model_validate({"source": str(path), "format": format, **fields}), verify))


def only(path: Path, row: dict[str, Any], format: str, **fields: str) -> dict[str, Any]:
    (one,) = read(path, [row], format, **fields)
    assert isinstance(one, dict), one
    return one


def refused(path: Path, row: dict[str, Any], format: str, **fields: str) -> SetAside:
    (one,) = read(path, [row], format, **fields)
    assert isinstance(one, SetAside), one
    return one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "problems.jsonl"


def test_every_format_of_the_recipe_is_read() -> None:
    assert set(FORMATS) == set(get_args(ProblemFormat))


class TestPlain:
    def test_columns_that_may_be_there(self, path: Path) -> None:
        row = {"id": "a", "question": "What is 1+1?", "answer": "2", "type": "sums", "level": "Level 3"}
        assert only(path, row, "plain") == {"problem_id": "a", "question": "What is 1+1?", "answer": "2", "subject": "sums", "level": 3}

    def test_a_row_without_an_id_is_named_by_its_question(self, path: Path) -> None:
        problem = only(path, {"question": "What is 1+1?", "answer": 2}, "plain")
        assert problem == {
            "problem_id": f"p-{digest('What is 1+1?', 12)}",
            "question": "What is 1+1?",
            "answer": "2",
            "subject": "",
            "level": 0,
        }

    @pytest.mark.parametrize(("id", "problem_id"), [(0, "0"), (7, "7"), (7.0, "7"), (" x ", "x")])
    def test_an_id_may_be_a_number(self, id: Any, problem_id: str, path: Path) -> None:
        assert only(path, {"id": id, "question": "What is 1+1?", "answer": "2"}, "plain")["problem_id"] == problem_id

    @pytest.mark.parametrize(("level", "number"), [(5, 5), (5.0, 5), ("Level ?", 0), (None, 0), (["5"], 0), (float("nan"), 0), (10**30, 0)])
    def test_a_level_is_a_number(self, level: Any, number: int, path: Path) -> None:
        assert only(path, {"question": "What is 1+1?", "answer": "2", "level": level}, "plain")["level"] == number

    def test_fields_may_lie_within_others(self, path: Path) -> None:
        row = {"turns": [{"text": "system"}, {"text": "What is 1+1?"}], "origin": {"answer": "one and one\n#### 2"}}
        problem = only(path, row, "plain", question_field="turns[-1].text", answer_field="origin.answer")
        assert (problem["question"], problem["answer"]) == ("What is 1+1?", "2")

    @pytest.mark.parametrize(
        ("value", "gold"),
        [
            (27.0, "27"),
            (0.5, "0.5"),
            (1e-7, "0.0000001"),
            (109_200_000.0, "109200000"),
            ("027.0", "027.0"),
            (["1", 3.0], "1, 3"),
            ("so it is $\\boxed{4}$.", "4"),
        ],
    )
    def test_a_gold_may_be_text_a_number_a_list_or_a_box(self, value: Any, gold: str, path: Path) -> None:
        assert only(path, {"question": "What?", "answer": value}, "plain")["answer"] == gold


class TestGsm8k:
    ROW: ClassVar = {
        "question": "Ida sells 3 pies at $400 each. How much is that?",
        "answer": "She gets 3*400=$<<3*400=1200>>1200 in 2 days.\n#### 1,200",
    }

    def test_the_gold_follows_the_hashes(self, path: Path) -> None:
        assert only(path, self.ROW, "gsm8k")["answer"] == "1,200"

    @pytest.mark.parametrize(
        ("answer", "reason"), [("She gets 1200.", "no_gold"), ("She gets 1200.\n#### ", "empty_gold"), ("#### 3 {pies", "gold_not_itself")]
    )
    def test_a_gold_that_is_none(self, answer: str, reason: str, path: Path) -> None:
        assert refused(path, self.ROW | {"answer": answer}, "gsm8k").reason == reason

    def test_numbers_count_without_a_box(self) -> None:
        assert ProblemSet(source="x.jsonl", format="gsm8k").counts_unboxed


def in_parquet(question: str, solution: str, target: str) -> dict[str, Any]:
    """A row of the published parquet of MATH's training set."""
    return {
        "level": "Level 4",
        "type": "Algebra",
        "data_source": "some/MATH",
        "prompt": [{"content": question, "role": "user"}],
        "reward_model": {"ground_truth": {"question": question, "solution": solution, "target": target}, "style": "rule"},
        "extra_info": {"index": 0, "split": "train"},
    }


class TestMath:
    QUESTION = "Let $x+1=3$. Find $x$."
    INSTRUCTION = " Let's think step by step and output the final answer within \\boxed{}."

    def test_the_parquet_and_the_jsonl_give_the_same_problem(self, tmp_path: Path) -> None:
        solution = "We subtract: $x=3-1=\\boxed{\\dfrac{4}{2}}$."
        of_parquet = only(tmp_path / "m.parquet", in_parquet(self.QUESTION + self.INSTRUCTION, solution, "\\frac{4}{2}"), "math")
        row = {"problem": self.QUESTION, "level": "Level 4", "type": "Algebra", "solution": solution, "idx": 3}
        assert only(tmp_path / "m.jsonl", row, "math") == of_parquet
        assert of_parquet == {
            "problem_id": f"p-{digest(self.QUESTION, 12)}",
            "question": self.QUESTION,
            "answer": "\\dfrac{4}{2}",
            "subject": "Algebra",
            "level": 4,
        }

    def test_nothing_but_the_instruction_is_taken_off(self, tmp_path: Path) -> None:
        question = self.QUESTION + self.INSTRUCTION + "\n"
        assert only(tmp_path / "m.parquet", in_parquet(question, "\\boxed{2}", "2"), "math")["question"] == question

    def test_a_damaged_target_does_no_harm(self, tmp_path: Path) -> None:
        row = in_parquet(
            self.QUESTION, "It is $\\boxed{\\begin{pmatrix} 6 \\\\ -3 \\end{pmatrix}}$.", "\\begin{pmatrix}6\\-3\\end{pmatrix}"
        )
        assert only(tmp_path / "m.parquet", row, "math")["answer"] == "\\begin{pmatrix} 6 \\\\ -3 \\end{pmatrix}"

    def test_a_target_that_is_asked_for_must_agree_with_the_solution(self, tmp_path: Path) -> None:
        field = {"answer_field": "reward_model.ground_truth.target"}
        assert only(tmp_path / "m.parquet", in_parquet(self.QUESTION, "It is $\\boxed{\\dfrac42}$.", "2"), "math", **field)["answer"] == "2"
        wrong = refused(tmp_path / "m.parquet", in_parquet(self.QUESTION, "It is $\\boxed{2}$.", "3"), "math", **field)
        assert wrong.reason == "solution_disagrees"
        assert wrong.detail.startswith("the gold is '3', the answer read '2': wrong")

    @pytest.mark.parametrize(
        ("solution", "gold"),
        [
            ("Hence \\boxed{7}. Or, by symmetry, \\boxed{7}.", "7"),
            ("Hence $\\boxed{\\frac{7}{2}}$. Or, by symmetry, $\\boxed{3.5}$.", "3.5"),
            ("The points are $\\boxed{(0,1)}$ and $\\boxed{(2,3)}$.", "(0,1), (2,3)"),
        ],
    )
    def test_boxes_that_agree_or_stand_together_are_one_gold(self, solution: str, gold: str, path: Path) -> None:
        assert only(path, {"problem": self.QUESTION, "solution": solution}, "math")["answer"] == gold

    @pytest.mark.parametrize(
        ("solution", "reason"),
        [
            ("One angle is $\\boxed{60}$, which leaves for the other $180 - 60 - 90 = \\boxed{30}$.", "several_answers"),
            ("So it is $\\boxed{}$.", "empty_gold"),
            ("So it is $\\boxed{7$.", "empty_gold"),
            ("So it is 7.", "no_gold"),
            ("So it is $\\boxed{\ud800}$.", "lone_surrogate"),
        ],
    )
    def test_a_solution_that_states_no_one_answer(self, solution: str, reason: str, path: Path) -> None:
        assert refused(path, {"problem": self.QUESTION, "solution": solution}, "math").reason == reason


class TestMath500:
    ROW: ClassVar = {
        "problem": "Find $3 \\cdot \\frac{1}{6}$.",
        "solution": "It is $\\boxed{\\frac{3}{6}}.$",
        "answer": "\\frac{1}{2}",
        "subject": "Prealgebra",
        "level": 2,
        "unique_id": "test/prealgebra/1.json",
    }

    def test_the_gold_stands_apart(self, path: Path) -> None:
        problem = only(path, self.ROW, "math500")
        assert problem == {
            "problem_id": "test/prealgebra/1.json",
            "question": self.ROW["problem"],
            "answer": "\\frac{1}{2}",
            "subject": "Prealgebra",
            "level": 2,
        }

    def test_a_gold_that_its_solution_contradicts(self, path: Path) -> None:
        assert refused(path, self.ROW | {"answer": "\\frac{1}{3}"}, "math500").reason == "solution_disagrees"

    @pytest.mark.parametrize("solution", ["It is a half.", None, 7, "It is $\\boxed{\\frac{3}{6}$.", "x" * 200_000])
    def test_a_solution_that_says_nothing_contradicts_nothing(self, solution: Any, path: Path) -> None:
        assert only(path, self.ROW | {"solution": solution}, "math500")["answer"] == "\\frac{1}{2}"


def test_amc23_writes_whole_numbers_as_floats(path: Path) -> None:
    row = {"id": 0, "problem": "How many miles?", "answer": 27.0, "url": "https://amc.example/1", "question": "How many miles?"}
    assert only(path, row, "amc23") == {"problem_id": "0", "question": "How many miles?", "answer": "27", "subject": "", "level": 0}


def test_aime24_keeps_leading_zeros(path: Path) -> None:
    row = {
        "id": 67,
        "problem": "Find $m+n$.",
        "solution": "It is 25.",
        "answer": "025",
        "url": "https://aime.example/1",
        "question": "Find $m+n$.",
    }
    problem = only(path, row, "aime24")
    assert (problem["problem_id"], problem["answer"]) == ("67", "025")
    assert verify(["\\boxed{25}"], [problem["answer"]])[0].verdict == "right"


class TestOlympiadBench:
    ROW: ClassVar = {
        "id": 1606,
        "subfield": "Combinatorics",
        "context": None,
        "question": "How many are there?",
        "solution": ["There are two, as follows.", "By induction, two."],
        "final_answer": ["2"],
        "is_multiple_answer": False,
        "unit": None,
        "answer_type": "Numerical",
        "error": None,
    }

    def test_a_row(self, path: Path) -> None:
        assert only(path, self.ROW, "olympiadbench") == {
            "problem_id": "1606",
            "question": "How many are there?",
            "answer": "2",
            "subject": "Combinatorics",
            "level": 0,
        }

    @pytest.mark.parametrize(
        ("final_answer", "more", "gold", "right", "wrong"),
        [
            (["$\\frac{1}{2 n+2}$"], {}, "\\frac{1}{2 n+2}", "\\frac{1}{2(n+1)}", "\\frac{1}{2n}"),
            (["1,3,5"], {"is_multiple_answer": True}, "1,3,5", "5, 1, 3", "1, 3"),
            (["$69$,$84$"], {"is_multiple_answer": True}, "69,84", "84, 69", "69"),
            (["$(0,1)$", "$(2,3)$"], {"is_multiple_answer": True}, "(0,1), (2,3)", "(2,3), (0,1)", "(1,0), (2,3)"),
            (["45"], {"unit": "minute"}, "45", "45 \\text{ minutes}", "46"),
            (["4.2"], {"unit": "%", "error": "1e-1"}, "4.2", "4.2\\%", "4.3"),
        ],
    )
    def test_the_gold_is_a_list(self, final_answer: list[str], more: dict[str, Any], gold: str, right: str, wrong: str, path: Path) -> None:
        problem = only(path, self.ROW | {"final_answer": final_answer} | more, "olympiadbench")
        assert problem["answer"] == gold
        verdicts = verify([f"\\boxed{{{right}}}", f"\\boxed{{{wrong}}}"], [gold, gold])
        assert [verdict.verdict for verdict in verdicts] == ["right", "wrong"]

    def test_the_context_comes_before_the_question(self, path: Path) -> None:
        problem = only(path, self.ROW | {"context": "A set is called *nice* if it has 2 elements.\n"}, "olympiadbench")
        assert problem["question"] == "A set is called *nice* if it has 2 elements.\n\nHow many are there?"

    def test_each_solution_must_come_to_the_gold(self, path: Path) -> None:
        solutions = ["It is \\boxed{2}.", "It is \\boxed{3}."]
        assert refused(path, self.ROW | {"solution": solutions}, "olympiadbench").reason == "solution_disagrees"

    @pytest.mark.parametrize("final_answer", [[], [""], ["$$"], " "])
    def test_an_empty_gold(self, final_answer: Any, path: Path) -> None:
        assert refused(path, self.ROW | {"final_answer": final_answer}, "olympiadbench").reason == "empty_gold"
