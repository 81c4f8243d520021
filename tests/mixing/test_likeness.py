"""What counts as the same answer again."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mixray.mixing.likeness import likeness, near

WORDS = [f"word{number}" for number in range(300)]


def alike(one: str, other: str) -> bool:
    hashes = [np.array([likeness(text)], np.uint64) for text in (one, other)]
    return bool(near(*hashes)[0])


@given(st.text(), st.sampled_from((" ", "\n", "\t  ")))
def test_spacing_is_not_what_a_text_says(text: str, space: str) -> None:
    assert likeness(space.join(text.split())) == likeness(text)


def test_a_few_words_of_a_long_text_are_near_and_another_text_is_not() -> None:
    generator = random.Random(0)
    text = generator.choices(WORDS, k=1000)
    touched = [*text]
    touched[500] = "elsewhere"
    assert alike(" ".join(text), " ".join(touched))
    assert not alike(" ".join(text), " ".join(generator.choices(WORDS, k=1000)))
    assert not alike(" ".join(text), " ".join(reversed(text))), "the order of words counts"


def test_one_number_of_a_short_answer_makes_another() -> None:
    answer = "Tom has 3 balls and buys 4 more, so he has 3 + 4 = 7 balls in all. The answer is 7."
    assert not alike(answer, answer.replace("4", "5").replace("7", "8"))
    assert alike(answer, f"  {answer} ")


def test_a_text_without_words_is_there() -> None:
    assert likeness("") == 0 == likeness(" \n")
    assert likeness("one") != likeness("two")
