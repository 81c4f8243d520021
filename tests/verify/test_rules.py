"""Rules that hold for every gold and every answer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.verify import verify
from mixray.verify.equal import MAX_PAIRS, compare
from mixray.verify.normal import normal_form
from mixray.verify.numbers import Opinion
from mixray.verify.pool import Pool

INTEGERS = st.integers(-10_000, 10_000).map(str)
FRACTIONS = st.builds(
    lambda sign, over, under: f"{sign}\\frac{{{over}}}{{{under}}}", st.sampled_from(["", "-"]), st.integers(1, 99), st.integers(1, 99)
)
DECIMALS = st.builds(lambda whole, part: f"{whole}.{part}", st.integers(-99, 99), st.integers(0, 999))
ROOTS = st.builds(lambda by, of: f"{by}\\sqrt{{{of}}}", st.integers(2, 9), st.integers(2, 9))
LETTERS = st.sampled_from(["x", "2y", "x^2+1", "\\pi", "e^{x}", "C", "\\text{even}", "90^\\circ", "5\\%", "52_8"])
ELEMENTS = st.one_of(INTEGERS, FRACTIONS, DECIMALS, ROOTS, LETTERS)
SHAPES = st.sampled_from(["%s", "(%s)", "[%s]", "\\{%s\\}", "x=%s", "%s\\text{ cm}", "\\$%s", "\\left(%s\\right)"])
GOLDS = st.builds(lambda shape, elements: shape % ", ".join(elements), SHAPES, st.lists(ELEMENTS, min_size=1, max_size=4))
PIECES = st.sampled_from(
    [*"(){}[]\\^_!,;.|&=+-*/%$ 0123456789xyeio", "\\frac", "\\sqrt", "\\text{", "\\pm", "\\cup", "\\in", "\\le", "°", "\\{", "\\}"]
)
BABBLE = st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join))

POOL = Pool(cpu_seconds=0.3)  # whose children start when they are first asked


@given(GOLDS)
def test_an_answer_that_is_the_gold_is_right(gold: str) -> None:
    assert verify([f"So $\\boxed{{{gold}}}$."], [gold], ["stop"])[0].verdict == "right"


@given(st.one_of(BABBLE, GOLDS))
def test_a_gold_that_says_anything_is_right_about_itself(gold: str) -> None:
    if normal_form(gold):
        opinion = compare(gold, gold)
        assert opinion is not None
        assert opinion.verdict == "right"


@given(
    st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True),
    st.randoms(use_true_random=False),
    st.sampled_from(["%s", "\\{%s\\}"]),
)
def test_the_order_of_a_list_or_set_means_nothing(numbers: list[int], random: object, shape: str) -> None:
    shuffled = sorted(numbers, key=lambda _: random.random())  # type: ignore[attr-defined]
    texts = [shape % ", ".join(map(str, order)) for order in (numbers, shuffled)]
    opinion = compare(*texts)
    assert opinion is not None
    assert opinion.verdict == "right"


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True))
def test_the_order_of_a_tuple_means_something(numbers: list[int]) -> None:
    opinion = compare(*("(" + ", ".join(map(str, order)) + ")" for order in (numbers, numbers[::-1])))
    assert opinion is not None
    assert opinion.verdict == "wrong"


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=5, unique=True), st.integers(100, 999))
def test_one_answer_more_or_less_is_wrong(numbers: list[int], extra: int) -> None:
    whole, part = (", ".join(map(str, some)) for some in ([*numbers, extra], numbers))
    for gold, answer in ((whole, part), (part, whole)):
        opinion = compare(gold, answer)
        assert opinion is not None
        assert opinion.verdict == "wrong"


@settings(max_examples=300)
@given(BABBLE, BABBLE)
def test_nothing_raises(gold: str, answer: str) -> None:
    compare(gold, answer)
    compare(answer, gold, lambda one, other: Opinion("unknown", "incomparable"))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(BABBLE, BABBLE), min_size=20, max_size=20))
def test_algebra_on_babble_ends_in_an_opinion_each(pairs: list[tuple[str, str]]) -> None:
    assert {opinion.verdict for opinion in POOL.compare(pairs)} <= {"right", "wrong", "unknown"}


def test_lists_so_long_that_each_with_each_is_too_much_are_unknown() -> None:
    side = int(MAX_PAIRS**0.5) + 20
    gold, answer = (";".join(str(first + 7 * number) for number in range(side)) for first in (1, 2))
    assert compare(gold, answer) == ("unknown", "too_long")


def test_brackets_within_brackets_are_unknown_before_they_cost_anything() -> None:
    deep = r"\{" * 200 + "1" + r"\}" * 200
    assert compare(deep, deep.replace("1", "2")) == ("unknown", "too_deep")
    assert compare(deep, deep) == ("right", "same")
