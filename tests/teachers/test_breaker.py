"""The breaker ends a pool that brings nothing, and says what came back; a few failures end nothing."""

from __future__ import annotations

import pickle

import pytest

from mixray.errors import TeacherError
from mixray.teachers.breaker import WINDOW_TRACES, Breaker, TooManyFailures
from mixray.teachers.tally import Tally


def block(good: int, bad: int, sample: str = "error: 'refused'") -> Tally:
    return Tally(problems=good + bad, traces=good + bad, right=good, failed=bad, samples=[sample] if bad else [])


def test_it_opens_above_the_share_and_not_at_it() -> None:
    breaker = Breaker(0.5)
    for _ in range(WINDOW_TRACES // 4):
        breaker.see(block(2, 2))
    with pytest.raises(TooManyFailures):
        breaker.see(block(1, 3))


def test_a_few_answers_open_nothing_before_the_end() -> None:
    breaker, few = Breaker(0.5), block(0, WINDOW_TRACES - 1)
    breaker.see(few)
    with pytest.raises(TooManyFailures):
        breaker.check(few)


def test_it_looks_at_the_last_answers_however_many_were_good_before() -> None:
    breaker = Breaker(0.5)
    for _ in range(10_000):
        breaker.see(block(4, 0))
    assert len(breaker.blocks) == WINDOW_TRACES // 4
    for _ in range(WINDOW_TRACES // 8):
        breaker.see(block(0, 4))
    with pytest.raises(TooManyFailures, match=f"{WINDOW_TRACES // 2 + 4} of {WINDOW_TRACES}"):
        breaker.see(block(0, 4))


def test_good_answers_make_up_for_bad_ones() -> None:
    breaker = Breaker(0.5)
    breaker.see(block(0, WINDOW_TRACES // 2))
    breaker.see(block(WINDOW_TRACES, 0))
    breaker.see(block(0, WINDOW_TRACES // 2))


@pytest.mark.parametrize(("share", "opens"), [(1.0, False), (0.0, True)])
def test_the_ends_of_the_share(share: float, opens: bool) -> None:
    tally = block(WINDOW_TRACES, 1) if opens else block(0, WINDOW_TRACES)
    if opens:
        with pytest.raises(TooManyFailures):
            Breaker(share).see(tally)
    else:
        Breaker(share).see(tally)


def test_one_large_block_is_judged_whole() -> None:
    with pytest.raises(TooManyFailures, match="900 of 1000"):
        Breaker(0.5).see(block(100, 900))


def test_the_message_shows_what_came_back_and_what_can_be_done() -> None:
    rows = [
        {"problem_id": "p", "verdict": "unknown", "num_response_tokens": 3, "status": "looping", "error": None, "response": "again " * 99}
    ]
    rows += [
        {"problem_id": "q", "verdict": "unknown", "num_response_tokens": None, "status": "error", "error": "503: full", "response": None}
    ]
    with pytest.raises(TeacherError) as told:
        Breaker(0.25).check(Tally.of(rows))
    text = str(told.value)
    assert "2 of 2" in text
    assert "error: '503: full'" in text
    assert "looping: '" in text
    assert "at most 25%" in text
    assert "max_failed_share" in text
    assert len(text) < 900, "samples are clipped"
    assert str(pickle.loads(pickle.dumps(told.value))) == text


def test_nothing_asked_opens_nothing() -> None:
    Breaker(0.0).check(Tally())
