from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.errors import ProblemError
from mixray.rows import PROBLEM
from mixray.tiny.problems import DAYS, LARGEST, SPLITS, Problem, draw, problems, take

levels = st.integers(1, len(DAYS)).flatmap(lambda fewest: st.tuples(st.just(fewest), st.integers(fewest, len(DAYS))))


@given(key=st.integers(0, 2**63 - 1), num_steps=st.integers(1, len(DAYS)))
def test_steps_follow_from_one_another_and_stay_small(key: int, num_steps: int) -> None:
    problem = draw(key, num_steps)
    value = problem.start
    for step in problem.steps:
        assert step.before == value
        value = {"+": value + step.number, "-": value - step.number, "*": value * step.number, "/": value // step.number}[step.operation]
        assert step.after == value
        assert 1 <= value <= LARGEST
        assert step.operation != "/" or step.before % 2 == 0
    assert problem.answer == value
    assert len(problem.steps) == num_steps


@given(key=st.integers(0, 2**63 - 1), num_steps=st.integers(1, len(DAYS)))
def test_the_question_tells_everything_needed(key: int, num_steps: int) -> None:
    problem = draw(key, num_steps)
    assert str(problem.start) in problem.question
    told = problem.question.split(" On ")[1:]
    assert len(told) == num_steps
    for step, sentence in zip(problem.steps, told, strict=True):
        assert sentence.startswith(step.day)
        assert step.operation in "*/" or str(step.number) in sentence


@settings(max_examples=25, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)), difficulty=levels, sizes=st.tuples(st.integers(1, 120), st.integers(1, 120))
)
def test_train_and_test_never_share_an_equation(seeds: tuple[int, int], difficulty: tuple[int, int], sizes: tuple[int, int]) -> None:
    def draws(split: str, seed: int, size: int) -> list[Problem]:
        return take(split, min(size, 20 if difficulty[1] == 1 else size), difficulty, seed)

    train, test = draws("train", seeds[0], sizes[0]), draws("test", seeds[1], sizes[1])
    assert not {problem.equation for problem in train} & {problem.equation for problem in test}
    assert not {problem.question for problem in train} & {problem.question for problem in test}


def test_problems_are_unlike_and_a_smaller_draw_is_a_prefix() -> None:
    table = problems("train", 600, (2, 5), 3)
    assert table.schema.equals(PROBLEM)
    assert len(set(table["question"].to_pylist())) == len(set(table["problem_id"].to_pylist())) == 600
    assert set(table["level"].to_pylist()) == {2, 3, 4, 5}
    assert problems("train", 50, (2, 5), 3).equals(table.slice(0, 50))
    assert not problems("train", 50, (2, 5), 4).equals(table.slice(0, 50))


def test_the_splits_have_their_shares() -> None:
    drawn = [draw(key, 4).split for key in range(4000)]
    for split in set(SPLITS):
        assert drawn.count(split) / len(drawn) == pytest.approx(SPLITS.count(split) / len(SPLITS), abs=0.03)


@pytest.mark.parametrize(
    ("split", "difficulty", "what"),
    [("dev", (2, 5), "no such split"), ("train", (0, 2), "no such difficulty"), ("train", (3, 9), "no such difficulty")],
)
def test_a_wrong_request_is_refused(split: str, difficulty: tuple[int, int], what: str) -> None:
    with pytest.raises(ProblemError, match=what):
        problems(split, 1, difficulty, 0)
