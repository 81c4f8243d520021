"""Thinking budgets against a server that ends what it is given, and the rule by which a forced answer ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from loopback import serving

from mixray import chat, evaluation, recipe, rows
from mixray.evaluation import budgets
from mixray.models import resolve
from mixray.store import Artefact, Store
from mixray.verify import POLICY, verify

MODEL = "tiny:student-s"
LONG = "3 apples and 4 apples are 7 apples, and so on. " * 3


class Server:
    """Answers `a+b?` with much talk or little, and ends a cut answer as told; keeps what it was sent."""

    def __init__(self, end: str = "7} and more \\boxed{8}") -> None:
        self.end, self.cut = end, list[dict[str, Any]]()
        self.tokenizer = chat.load_tokenizer(resolve(MODEL))

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def answer(request: Request) -> dict[str, Any]:
            question = (await request.json())["messages"][-1]["content"]
            text = (
                "\\boxed{7}"
                if question == "short?"
                else f"<think>{LONG}</think>\\boxed{{7}}"
                if question == "think?"
                else f"{LONG}\\boxed{{9}}"
            )
            tokens = len(self.tokenizer.encode(text)) + 1
            message = {"role": "assistant", "content": text}
            return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": tokens}}

        @app.post("/v1/completions")
        async def end(request: Request) -> dict[str, Any]:
            self.cut.append(await request.json())
            return {"choices": [{"text": self.end, "finish_reason": "length"}], "usage": {"completion_tokens": 5}}

        return app


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def asked(store: Store, server: Server, **settings: Any) -> tuple[Artefact, evaluation.Exam]:
    """Return the budgets of an arm asked three questions."""
    problems = store.artefact("problems", "sums", {"test": 1})
    table = [{"problem_id": name, "question": f"{name}?", "answer": "7", "subject": "", "level": 1} for name in ("short", "long", "think")]
    if not problems.is_done():
        with problems.staging() as staging:
            staging.write_table("problems.parquet", pa.Table.from_pylist(table, schema=rows.PROBLEM))
    evaluate = recipe.Evaluate(benchmarks={"sums": recipe.ProblemSet(num_problems=3)}, budgets=(20, 40), **settings)
    exam = evaluation.Exam({"sums": problems}, evaluate, "{question}", 0, evaluation.Rule(verify, POLICY))
    scores = evaluation.handle(store, "arm", recipe.Student(model=MODEL), exam)
    made = budgets.handle(scores, exam)
    with serving(server.app()) as url:
        evaluation.run(scores, exam, evaluation.Student(f"{url}/v1", "k", "arm", evaluate, 4))
        budgets.run(made, scores, MODEL, exam, evaluation.Student(f"{url}/v1", "k", "arm", evaluate, 4))
        budgets.run(made, scores, MODEL, exam, evaluation.Student(f"{url}/v1", "k", "arm", evaluate, 4))
    return made, exam


def test_a_longer_answer_is_cut_at_its_budget_token_by_token_and_ended_in_the_box(store: Store) -> None:
    server = Server()
    made, _ = asked(store, server)
    table = made.read_table()
    assert table.schema == rows.BUDGET
    told = [(row["problem_id"], row["budget_tokens"], row["forced"], row["verdict"]) for row in table.to_pylist()]
    assert told == [(name, budget, name != "short", "right") for budget in (20, 40) for name in ("short", "long", "think")]
    prompts = {tuple(body["prompt"]) for body in server.cut}
    tokenizer = server.tokenizer
    for name, text, closing in (("long", LONG, ""), ("think", f"<think>{LONG}", "\n</think>")):
        start = chat.prompt_ids(tokenizer, chat.ask(f"{name}?"))
        for budget in (20, 40):
            end = tokenizer.encode(f"{closing}\n\nFinal Answer: \\boxed{{")
            assert tuple(start + tokenizer.encode(text)[:budget] + end) in prompts
            (row,) = [row for row in table.to_pylist() if (row["problem_id"], row["budget_tokens"]) == (name, budget)]
            assert row["response"] == tokenizer.decode(tokenizer.encode(text)[:budget]) + f"{closing}\n\nFinal Answer: \\boxed{{7}}"
            assert row["num_response_tokens"] == budget + len(end) + 5
            assert row["finish_reason"] == "stop"
    assert all(body["max_tokens"] == 48 and "stop" not in body for body in server.cut)
    assert len(server.cut) == 4, "found the second time"
    (points,) = made.outcome["benchmarks"].values()
    assert [(point["accuracy"], point["forced"], point["right_forced"]) for point in points] == [(1, 2, 2), (1, 2, 2)]
    assert (made.outcome["num_cut"], made.outcome["retokenised_alike"]) == (2, 2)


def test_a_box_that_is_never_closed_is_not_right(store: Store) -> None:
    made, _ = asked(store, Server("7 or so, let me think"), budget_closing_tokens=9)
    forced = [row for row in made.read_table().to_pylist() if row["forced"]]
    assert {(row["finish_reason"], row["verdict"]) for row in forced} == {("length", "wrong")}


def test_a_closing_without_a_box_is_read_like_any_answer(store: Store) -> None:
    made, _ = asked(store, Server("7} and more \\boxed{8}"), budget_closing="\n\nSo")
    forced = [row for row in made.read_table().to_pylist() if row["forced"]]
    assert {(row["answer"], row["finish_reason"]) for row in forced} == {("8", "length")}


def test_budgets_change_no_scores_and_have_names_of_their_own(store: Store) -> None:
    made, exam = asked(store, Server())
    other, exam_of_other = asked(store, Server(), budget_closing="\n\nSo \\boxed{")
    assert made != other
    assert made.made_by["inputs"] == other.made_by["inputs"]
    assert exam.settings() == exam_of_other.settings()


@pytest.mark.parametrize(("text", "end"), [("7}", 2), ("\\frac{1}{2}} x}", 12), ("\\{1\\}}", 6), ("\\\\}", 3), ("7", None), ("{}", None)])
def test_where_a_box_ends(text: str, end: int | None) -> None:
    assert budgets.box_end(text) == end


@given(st.text(alphabet="{}\\a"))
def test_what_ends_a_box_is_balanced(text: str) -> None:
    end = budgets.box_end(text)
    if end is not None:
        inside = text[:end].replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert inside.count("}") == inside.count("{") + 1
        assert inside.endswith("}")
