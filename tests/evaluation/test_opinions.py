"""Which answers a judge is asked about, and what its word changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixray import evaluation, recipe, rows
from mixray.evaluation import opinions, score
from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.rows import SAMPLE_KINDS
from mixray.store import Artefact, Store
from mixray.verify import Verdict

# What the rule says comes first; the rest is how the answer ended.
ANSWERS = {
    "right": ("right", "stop"), "wrong": ("wrong", "stop"), "unknown": ("unknown", "stop"), "cut": ("wrong", "length"),
    "loop": ("wrong " + "and so on " * 200, "stop"), "failed": ("", "error"), "none": ("none", "stop"),
}  # fmt: skip


def by_first_word(responses: Any, golds: Any, reasons: Any, unboxed: bool) -> list[Verdict]:
    words = [response.split()[0] for response in responses]
    told = {"right": "right", "none": "unknown", "unknown": "unknown", "wrong": "wrong"}
    return [Verdict(told[word], f"rule says {word}", None if word == "none" else word) for word in words]  # type: ignore[arg-type]


@pytest.fixture
def exam(tmp_path: Path) -> evaluation.Exam:
    problems = Store(str(tmp_path)).artefact("problems", "sums", {})
    table = [{"problem_id": name, "question": f"{name}?", "answer": "7", "subject": "", "level": 1} for name in ANSWERS]
    with problems.staging() as staging:
        staging.write_table("problems.parquet", pa.Table.from_pylist(table, schema=rows.PROBLEM))
    evaluate = recipe.Evaluate(benchmarks={"sums": recipe.ProblemSet(num_problems=9)})
    return evaluation.Exam({"sums": problems}, evaluate, "{question}", 0, evaluation.Rule(by_first_word, "1"))


@pytest.fixture
def scores(exam: evaluation.Exam) -> Artefact:
    asked = exam.benchmarks["sums"].store.artefact("scores", "arm", {})
    answers = {Name("sums", name, 0): StudentAnswer(Name("sums", name, 0), *said, 5, 0.1) for name, said in ANSWERS.items()}
    score.commit(asked, score.judge(exam, exam.problems(), answers), exam, {"seconds": 1.0, "num_adopted": 0, "through": "endpoint"})
    return asked


def test_every_sample_is_counted_once_and_wrong_is_what_finished_and_is_not_the_gold(scores: Artefact) -> None:
    out = scores.outcome["benchmarks"]["sums"]
    assert {kind: out[kind] for kind in SAMPLE_KINDS} == dict.fromkeys(SAMPLE_KINDS, 1)
    assert (out["accuracy"], out["num_looping"], out["right_by_judge"], out["errors"]) == (1 / 7, 1, 0, 1)


@pytest.mark.parametrize(("asked", "doubtful"), [("unknown", ["unknown", "none"]), ("not_right", ["wrong", "unknown", "none"])])
def test_a_judge_is_asked_about_finished_answers_the_rule_does_not_accept(asked: Any, doubtful: list[str], scores: Artefact) -> None:
    judge = a_judge(asked)
    doubts = opinions.doubts_handle(scores, judge, "1")
    assert opinions.write_doubts(doubts, scores, judge, "{} {} {}".format) == len(doubtful)
    assert opinions.write_doubts(doubts, scores, judge, "never {} {} {}".format) == len(doubtful), "made once"
    table = doubts.read_table().to_pylist()
    assert [row["problem_id"] for row in table] == [f"sums/{name}/0" for name in doubtful]
    assert [row["question"] for row in table] == [f"{name}? 7 {name}" for name in doubtful]


def test_its_word_counts_and_the_rules_stays_beside_it(scores: Artefact, exam: evaluation.Exam) -> None:
    judgements = scores.store.artefact("judgements", "arm", {})
    judged = opinions.handle(scores, judgements, a_judge("not_right"), None)
    said = {"sums/wrong/0": "right", "sums/unknown/0": "wrong", "sums/none/0": "unknown"}
    opinions.run(judged, scores, exam, said, {"judge_cost": 0.5})
    table = {row["problem_id"]: row for row in judged.read_table().to_pylist()}
    columns = ("verdict", "verdict_reason", "rule_verdict", "rule_reason", "judge_verdict")
    told = {name: [row[column] for column in columns] for name, row in table.items()}
    assert told["wrong"] == ["right", "judge", "wrong", "rule says wrong", "right"]
    assert told["unknown"] == ["wrong", "judge", "unknown", "rule says unknown", "wrong"]
    assert told["none"] == ["unknown", "rule says none", "unknown", "rule says none", "unknown"]
    assert told["right"] == ["right", "rule says right", None, None, None]
    out = judged.outcome
    assert (out["judged"], out["judge_cost"], out["benchmarks"]["sums"]["right_by_judge"]) == (3, 0.5, 1)
    assert out["benchmarks"]["sums"]["accuracy"] == 2 / 7
    assert scores.outcome["benchmarks"]["sums"]["accuracy"] == 1 / 7


def test_scores_of_an_earlier_version_that_told_less_of_the_asking_can_be_judged(scores: Artefact, exam: evaluation.Exam) -> None:
    old = scores.store.artefact("scores", "old", {})
    score.commit(old, scores.read_table(), exam, {"seconds": 1.0})
    judged = opinions.handle(old, scores.store.artefact("judgements", "old", {}), a_judge("not_right"), None)
    out = opinions.run(judged, old, exam, {}, {}).outcome
    assert ("num_adopted" in out, "through" in out, out["seconds"]) == (False, False, 1.0)


def a_judge(asked: Any) -> recipe.LlmJudge:
    return recipe.LlmJudge(teacher=recipe.RemoteTeacher(endpoint="https://example.org/v1", model="judge"), asked=asked)
