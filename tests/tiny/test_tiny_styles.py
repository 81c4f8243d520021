from __future__ import annotations

import random
import re
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.chat import encode
from mixray.tiny.problems import DAYS, draw, take
from mixray.tiny.styles import FACTS, STYLES, crosses_ten, drill, write
from mixray.tiny.tokenizer import MAX_POSITIONS, train_tokenizer

OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a // b}


def true_sum(left: str, result: str) -> bool:
    numbers, signs = [int(number) for number in re.findall(r"\d+", left)], re.findall(r"[-+*/]", left)
    value = numbers[0]
    for sign, number in zip(signs, numbers[1:], strict=True):
        value = OPERATIONS[sign](value, number)
    return value == int(result)


def sums(text: str) -> list[bool]:
    return [true_sum(left, result) for left, result in re.findall(r"(\d+(?:[-+*/]\d+)+)=(\d+)", text)]


@given(key=st.integers(0, 2**63 - 1), num_steps=st.integers(1, len(DAYS)), style=st.sampled_from(STYLES))
def test_every_style_ends_in_the_one_right_box_and_only_long_errs(key: int, num_steps: int, style: str) -> None:
    problem = draw(key, num_steps)
    text = write(style, problem)
    assert text.endswith(f"\\boxed{{{problem.answer}}}")
    assert text.count("\\boxed") == 1
    slips = sum(map(crosses_ten, problem.steps)) if style == "long" else 0
    assert sums(text).count(False) == text.count("Wait") == slips


def test_long_is_three_to_six_times_as_long_as_short() -> None:
    tokenizer = train_tokenizer()
    tokens = {style: [] for style in STYLES}
    for problem in take("validation", 200, (2, 5), 0):
        for style in STYLES:
            messages = [{"role": "user", "content": problem.question}, {"role": "assistant", "content": write(style, problem)}]
            tokens[style].append(encode(tokenizer, messages).num_loss_tokens)
    assert 3 <= mean(tokens["long"]) / mean(tokens["short"]) <= 6
    assert mean(tokens["large"]) < mean(tokens["short"]) < mean(tokens["small"]) < mean(tokens["long"]) < MAX_POSITIONS / 4


def test_drills_are_true() -> None:
    question, answer = drill(random.Random(0), 12)
    assert question.count(",") == 11
    assert sums(answer) == [True] * 12
    assert all(true_sum(left, str(result)) for left, result in FACTS)


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(KeyError):
        write("rambling", draw(0, 2))
