"""What the actor tells of a student of which one token was made likelier: this token shifted, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from made_up_arms import RAISED, digit_student, said, weights

from mixray.errors import MixrayError
from mixray.shifts.actor import ANSWERED, MADE, ShiftActor
from mixray.store import Store
from mixray.tiny import problems, styles

QUESTIONS = ["What is 1+1?", "What is 2+2?", "Tom has 3 balls. How many?"]
NUM_TOKENS = 40
RAISED_BY = 2.0


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> str:
    return digit_student(tmp_path_factory.mktemp("untouched"), 0.0)


def block(answered: list[tuple[str, str]], finish_reason: str = "length") -> pa.Table:
    made = [
        {
            "arm": "arm", "problem_id": f"p{number}", "benchmark": "b", "sample": 0, "question": question, "response": response,
            "finish_reason": finish_reason, "num_prompt_tokens": None, "num_response_tokens": len(response),
        }
        for number, (question, response) in enumerate(answered)
    ]  # fmt: skip
    return pa.Table.from_pylist(made, schema=ANSWERED)


def actor(source: str, **changed: Any) -> ShiftActor:
    settings = {"own": {}, "prompts": {"b": "{question}"}, "dtype": "float32", "batch_tokens": None, "on_gpu": False}
    return ShiftActor(source, **(settings | changed))


def test_exactly_the_token_that_was_raised_shifts(store: Store, untouched: str) -> None:
    arm = weights(store, "arm", RAISED_BY)
    answered = [(question, said(arm.path, question, NUM_TOKENS)) for question in QUESTIONS]
    told = actor(untouched, own={"arm": arm})(block(answered))
    assert told.schema.equals(MADE)
    shifted: list[int] = []
    for row, (_, response) in zip(told.to_pylist(), answered, strict=True):
        assert row["own_ranks"] == [1] * NUM_TOKENS, "what was sampled greedily"
        assert row["words"] == [0] * NUM_TOKENS
        assert len(row["ranks"]) == len(response) == NUM_TOKENS
        assert [rank for rank, digit in zip(row["ranks"], response, strict=True) if digit != RAISED and rank > 1] == []
        shifted += [rank for rank, digit in zip(row["ranks"], response, strict=True) if digit == RAISED]
    assert max(shifted) > 1, "it would not have said all of them"
    assert 0 < len(shifted) < NUM_TOKENS * len(QUESTIONS), "and it said others"
    spellings = json.loads(told["spellings"][0].as_py())
    assert set(spellings.values()) == {digit for _, response in answered for digit in response}


def test_its_own_greedy_answers_are_the_untouched_students_first_choice(untouched: str) -> None:
    told = actor(untouched)(block([(question, said(untouched, question, NUM_TOKENS)) for question in QUESTIONS]))
    assert told["ranks"].to_pylist() == [[1] * NUM_TOKENS] * len(QUESTIONS)
    assert told["own_ranks"].null_count == len(QUESTIONS)


def test_the_end_of_a_turn_is_ranked_where_it_was_said(untouched: str) -> None:
    cut, ended = (actor(untouched)(block([("?", "12")], reason)).to_pylist()[0] for reason in ("length", "stop"))
    assert (len(cut["ranks"]), len(ended["ranks"])) == (2, 3)
    assert ended["ranks"][:2] == cut["ranks"]
    assert ended["ranks"][2] > 10, "this student never ends"


def test_no_digit_depends_on_how_much_is_read_at_once(random_student: str) -> None:
    tiny = problems.take("train", 12, (1, 5), seed=3)
    answered = block([(problem.question, styles.write(style, problem)) for problem in tiny for style in ("long", "short")], "stop")
    one_by_one, together = (actor(random_student, batch_tokens=most)(answered) for most in (1, 100_000))
    assert one_by_one["ranks"].to_pylist() == together["ranks"].to_pylist()
    assert one_by_one["surprisals"].combine_chunks().flatten().to_pylist() == pytest.approx(
        together["surprisals"].combine_chunks().flatten().to_pylist(), rel=1e-4
    )


def test_logits_that_are_not_finite_are_told(untouched: str) -> None:
    broken = actor(untouched)
    torch.nn.init.constant_(broken.untouched.lm_head.bias, float("nan"))
    with pytest.raises(MixrayError, match="not finite; seen: on the response of arm to p0"):
        broken(block([("?", "12")]))


def test_a_model_that_cannot_be_loaded_is_told(untouched: str, tmp_path: Path) -> None:
    for path in Path(untouched).iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(MixrayError, match="A student cannot be loaded"):
        actor(str(tmp_path))(block([("?", "12")]))
