"""Verdicts follow from intervals alone; the notebook keeps every number; the committed page is what the committed numbers say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mixray.errors import MixrayError
from mixray.laboratory import CLAIMS, Finding, Notebook, page, words
from mixray.laboratory.findings import Contrasted, on_floor, state_of, verdict
from mixray.laboratory.notebook import NUMBERS, PAGE, PICTURES, apart, held_against, is_same

DOCS = Path(__file__).parents[2] / "docs"
ARM = {
    "student": "student-s", "label": "short", "alpha": 0.0, "num_seeds": 3, "matched": True, "benchmark": "tiny", "accuracy": 0.5,
    "low": 0.4, "high": 0.6, "truncated_share": 0.0, "num_problems": 300, "mean_response_tokens": 46.2,
}  # fmt: skip


def contrasted(value: float, reach: float, says: str = "above", deciding: bool = True) -> Contrasted:
    low, high = value - reach, value + reach
    return Contrasted(
        "student-s/a - student-s/b", "accuracy", says, deciding, 0.95, value, low, high, 1.4 * reach, state_of(says, low, high)
    )


def finding(*contrasts: Contrasted, claim: str = "mix") -> Finding:
    states = [each.decided for each in contrasts if each.deciding]
    return Finding(claim, CLAIMS[claim].recipe, "reports/mix-0123", verdict(CLAIMS[claim], states), list(contrasts), [ARM], [])


@pytest.mark.parametrize(
    ("says", "low", "high", "state"),
    [
        ("above", 0.1, 0.2, "as said"), ("above", -0.2, -0.1, "against"), ("above", 0.0, 0.2, "open"),
        ("below", -0.2, -0.1, "as said"), ("below", 0.1, 0.2, "against"), ("below", -0.1, 0.1, "open"),
        ("differs", 0.1, 0.2, "as said"), ("differs", -0.2, -0.1, "as said"), ("differs", -0.1, 0.0, "open"),
    ],
)  # fmt: skip
def test_an_interval_that_holds_zero_shows_nothing(says: str, low: float, high: float, state: str) -> None:
    assert state_of(says, low, high) == state


@pytest.mark.parametrize(
    ("claim", "states", "told"),
    [
        ("mix", ["as said", "as said"], "shown here"),
        ("mix", ["as said", "open"], "not shown here"),
        ("mix", ["as said", "against"], "contradicted here"),
        ("mix", ["as said", "against alone"], "not shown here"),
        ("sharing", ["open", "as said", "open"], "shown here"),
        ("order", ["open", "against"], "not shown here"),
        ("order", ["against", "against"], "contradicted here"),
    ],
)
def test_a_claim_holds_where_all_that_decides_does_or_where_one_is_enough(claim: str, states: list[str], told: str) -> None:
    assert verdict(CLAIMS[claim], [(each.removesuffix(" alone"), "alone" not in each) for each in states]) == told  # type: ignore[misc]


def test_the_page_says_how_small_a_difference_would_have_been_shown() -> None:
    told = page.render({"mix": finding(contrasted(0.01, 0.05))}, {"lab/mix": 3600.0}, "2 cores", ())
    assert "**Not shown here.**" in told
    assert "+1.0 [-4.0, +6.0] points; 7.0 points would have been shown" in told
    assert "1.0 processor hours (2 cores)" in told
    assert told.count("not run yet") == len(CLAIMS) - 1


def test_the_summary_tells_the_difference_that_the_verdict_rests_on() -> None:
    one, two = (replace(contrasted(value, 0.05), terms=f"student-s/a - student-s/{value}") for value in (-0.06, -0.30))
    assert "-30.0 [" in summary(page.render({"mix": finding(one, two)}, {}, "", ()), "mix"), "the furthest from the claim"
    for claim, told in (("order", "+20.0 ["), ("mix", "-30.0 [")):
        both = finding(two, replace(contrasted(0.2, 0.05), terms="student-s/a - student-s/c"), claim=claim)
        assert told in summary(page.render({claim: both}, {}, "", ()), claim), "one is enough for the first, one against for the other"


def test_where_one_is_enough_the_summary_tells_what_came_nearest_to_it() -> None:
    against, shows_none = (replace(contrasted(value, 0.05), terms=f"student-s/a - student-s/{value}") for value in (-0.3, 0.01))
    told = summary(page.render({"order": finding(against, shows_none, claim="order")}, {}, "", ()), "order")
    assert "+1.0 [-4.0, +6.0] points; 7.0 points would have been shown" in told


def test_what_is_against_a_claim_and_not_jointly_says_so_with_the_interval_that_decides() -> None:
    joint = {"confidence": 0.9875, "low": -0.61, "high": 0.0003, "detectable": 0.42}
    told = summary(page.render({"mix": finding(replace(contrasted(-0.3, 0.05), jointly=False, joint=joint))}, {}, "", ()), "mix")
    assert "**not shown here**" in told
    assert "-30.0 [-35.0, -25.0] points, the other way, not jointly: at 98.75 % [-61.0, +0.03]; 42.0 points would have been shown" in told


LEARNED = {("s", "long"): False, ("s", "short"): True, ("xs", "long"): False, ("xs", "short"): False}


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ("s/long - s/short - xs/long + xs/short", "xs/long and xs/short"),
        ("xs/long - xs/short - s/long + s/short", "xs/long and xs/short"),
        ("s/long - s/short - m/long + m/short", ""),
        ("xs/long - xs/short", ""),
    ],
)
def test_a_gap_between_two_arms_that_learned_nothing_is_not_held_against_another(terms: str, told: str) -> None:
    assert on_floor(terms, LEARNED) == told


@pytest.mark.parametrize("value", [-0.3, 0.3])
def test_what_rests_on_such_a_gap_decides_neither_way_and_says_so(value: float) -> None:
    found = finding(replace(contrasted(value, 0.05), floor="xs/long and xs/short"))
    assert found.verdict == "not shown here"
    assert "xs/long and xs/short learned nothing |" in summary(page.render({"mix": found}, {}, "", ()), "mix")


def summary(told: str, claim: str) -> str:
    return next(line for line in told.splitlines() if line.startswith(f"| [{CLAIMS[claim].title}]"))


def test_an_arm_that_learned_nothing_and_seeds_that_are_one_student_are_marked() -> None:
    untouched = {**ARM, "label": "untouched", "num_seeds": 1, "num_rows": None}
    better, alike = {**ARM, "label": "better", "num_rows": 476}, {**ARM, "alike": True, "learned": False, "num_rows": 234}
    told = page.render({"mix": replace(finding(contrasted(0.1, 0.05)), arms=[untouched, better, alike])}, {}, "", ())
    assert "| student-s | better | 476 | 3 |" in told
    assert "| student-s | short ° | 234 | 3, all alike |" in told
    assert "| student-s | untouched | – | 1 |" in told


def test_what_was_called_otherwise_before_says_so_and_why() -> None:
    told = page.render({"mix": finding(contrasted(0.01, 0.05))}, {}, "", ())
    assert "*Before*: Contradicted here at first" in told
    changed = next(line for line in told.splitlines() if line.startswith("Called otherwise"))
    assert changed.count("](#") == sum(bool(claim.before) for claim in CLAIMS.values())


def test_an_end_close_to_zero_is_not_told_as_zero() -> None:
    assert words.interval(contrasted(0.0489, 0.0485)) == "+4.89 [+0.04, +9.74] points"
    assert words.interval(contrasted(0.05, 0.05)) == "+5.0 [+0.0, +10.0] points"


def test_a_problem_is_told_with_the_answers_of_several_students_as_they_stand() -> None:
    answers = [{"label": "long", "text": "2*3 | <b>\nso $6$\n\\boxed{6}", "right": 2, "samples": 3}]
    case = {"why": "It differs.", "student": "student-s", "problem": "p-1", "question": "How many?", "gold": "6", "answers": answers}
    told = page.render({"lengths": replace(finding(contrasted(0.1, 0.05), claim="lengths"), cases=[case])}, {}, "", ())
    assert "> How many? *(right: 6)*" in told
    assert r"| long | 2 of 3 | 2\*3 \| \<b\><br>so \$6\$<br>\\boxed{6} |" in told


def test_the_notebook_keeps_every_digit_and_what_others_found(tmp_path: Path) -> None:
    first, second = finding(contrasted(1 / 3, 0.1)), finding(contrasted(-0.2, 0.1), claim="lengths")
    told = {"headline": "tiny", "groups": [], "scaling": []}
    Notebook.open(tmp_path).add(CLAIMS["mix"], first, told)
    Notebook.open(tmp_path).add(CLAIMS["lengths"], second, told)
    again = Notebook.open(tmp_path)
    assert again.findings == {"mix": first, "lengths": second}
    assert is_same(again.findings["mix"], first)
    assert (tmp_path / PICTURES / "mix.svg").read_text().startswith("<svg xmlns=")
    assert f"![{CLAIMS['mix'].title}: differences with their intervals]({PICTURES}/mix.svg)" in (tmp_path / PAGE).read_text()


def test_another_number_is_told_where_it_leaves_the_committed_interval() -> None:
    committed = finding(contrasted(0.1, 0.05))
    assert apart(committed, finding(contrasted(0.12, 0.05))) == []
    assert not is_same(committed, finding(contrasted(0.12, 0.05)))
    (told,) = apart(committed, finding(contrasted(0.2, 0.05)))
    assert "0.2000, committed 0.1000 [0.0500, 0.1500]" in told
    other = replace(contrasted(0.1, 0.05), terms="student-s/c - student-s/b")
    assert ["not found" in each or "not among" in each for each in apart(committed, finding(other))] == [True, True]


def test_a_check_says_the_same_inside_or_where_not() -> None:
    committed = finding(contrasted(0.1, 0.05))
    assert held_against(committed, committed) == (True, ["the same"])
    assert held_against(committed, finding(contrasted(0.12, 0.05))) == (True, ["inside the intervals"])
    assert held_against(committed, finding(contrasted(0.2, 0.05)))[0] is False
    other = replace(committed, verdict="contradicted here")
    assert held_against(committed, other) == (False, ["contradicted here, committed: shown here"])
    assert held_against(None, committed) == (False, ["nothing is committed"])


def test_a_damaged_notebook_is_told(tmp_path: Path) -> None:
    (tmp_path / NUMBERS).write_text('{"findings": {"mix": {}}}')
    with pytest.raises(MixrayError, match="cannot be read"):
        Notebook.open(tmp_path)


def test_the_committed_page_is_what_the_committed_numbers_say() -> None:
    notebook = Notebook.open(DOCS)
    assert set(notebook.findings) <= set(CLAIMS)
    there = {path.stem for path in (DOCS / PICTURES).glob("*.svg")}
    assert (DOCS / PAGE).read_text(encoding="utf-8") == page.render(notebook.findings, notebook.seconds, notebook.machine, there)


def test_the_committed_verdicts_follow_from_the_committed_intervals() -> None:
    told = json.loads((DOCS / NUMBERS).read_text(encoding="utf-8"))["findings"]
    for name, each in told.items():
        states = []
        for one in each["contrasts"]:
            assert one["state"] == state_of(one["says"], one["low"], one["high"]), name
            assert one["jointly"] is (
                one["joint"] is None or state_of(one["says"], one["joint"]["low"], one["joint"]["high"]) == one["state"]
            )
            states += [Contrasted(**one).decided] * one["deciding"]
        assert each["verdict"] == verdict(CLAIMS[name], states), name
        wanted = [(one.terms, one.measure) for one in (*CLAIMS[name].deciding, *CLAIMS[name].beside)]
        assert [(one["terms"], one["measure"]) for one in each["contrasts"]] == wanted, f"{name}: run `mixray lab {name}`"


@pytest.mark.parametrize(
    ("terms", "of", "told"),
    [
        ("a/long - a/short", (), "long − short"),
        ("a/long - a/short", ("b/long - b/short",), "long − short: a"),
        ("a/long - a/short - b/long + b/short", (), "long − short: a less b"),
        ("a/long - b/long", (), "a long − b long"),
        ("a/tagged@think - a/tagged@brief", (), "tagged@think − tagged@brief"),
        ("a/long - a/short - a/half-long + a/half-short", (), "long − short − half-long + half-short"),
    ],
)
def test_a_contrast_is_told_in_few_words(terms: str, of: tuple[str, ...], told: str) -> None:
    assert words.short(terms, of) == told
