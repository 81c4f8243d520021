"""The mixture rule as properties: exact, nested, the same in any layout, each problem as often as its sharing says."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from candidate_rows import Traces, gathered, mixed, trace, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.errors import MixtureError
from mixray.mixing import dealing
from mixray.mixing.ordering import stretches
from mixray.mixing.rule import Rule
from mixray.mixing.selection import select
from mixray.recipe import Blend

ALPHAS = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
UNITS = st.sampled_from(("rows", "tokens", "loss_tokens"))
ASSIGNS = st.sampled_from(("hash", "hardest", "easiest", "longest", "shortest"))
STRATA = st.sampled_from(((), ("subject",), ("subject", "level")))
SHARINGS = st.sampled_from(("both_right", "disjoint", "paired", "independent"))


def problems(rows: list[tuple[str, str, int]], pool: str) -> set[str]:
    return {problem for name, problem, _ in rows if name == pool}


def tokens(pools: Traces, rows: list[tuple[str, str, int]], pool: str) -> int:
    sizes = {(row["problem_id"], row["sample"]): row["num_tokens"] for row in pools[pool]}
    return sum(sizes[problem, sample] for name, problem, sample in rows if name == pool)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=5).filter(any), st.integers(0, 1000))
def test_counts_are_of_largest_remainder(parts: list[int], total: int) -> None:
    shares = [Fraction(part, sum(parts)) for part in parts]
    counts = dealing.counts(shares, total)
    assert sum(counts) == total
    assert all(abs(count - share * total) < 1 for count, share in zip(counts, shares, strict=True))
    up = [share * total - math.floor(share * total) for count, share in zip(counts, shares, strict=True) if count > share * total]
    down = [share * total - count for count, share in zip(counts, shares, strict=True) if count < share * total]
    assert not up or not down or min(up) >= max(down)


@given(traces(), ALPHAS, ASSIGNS, STRATA)
def test_alpha_rounds_up_and_no_problem_is_there_twice(pools: Traces, alpha: float, assign: str, strata: tuple[str, ...]) -> None:
    shared = {row["problem_id"] for row in pools["long"]} & {row["problem_id"] for row in pools["short"]}
    if not shared:
        with pytest.raises(MixtureError, match="No problem was solved by every pool"):
            mixed(pools, alpha)
        return
    rows = mixed(pools, alpha, assign=assign, stratify=strata)
    assert Counter(problem for _, problem, _ in rows) == Counter(shared)
    assert len(problems(rows, "long")) == math.ceil(Fraction(repr(alpha)) * len(shared))


@given(traces(all_solve=True), ALPHAS, ALPHAS, UNITS, ASSIGNS, STRATA)
def test_a_larger_alpha_holds_a_smaller_one(
    pools: Traces, alpha: float, other: float, by: str, assign: str, strata: tuple[str, ...]
) -> None:
    less, more = (mixed(pools, each, by=by, assign=assign, stratify=strata) for each in sorted((alpha, other)))
    assert problems(less, "long") <= problems(more, "long")
    assert [problem for _, problem, _ in less] == [problem for _, problem, _ in more], "each problem keeps its place"


@given(traces(all_solve=True), ALPHAS, st.integers(1, 40), st.integers(1, 40))
def test_fewer_rows_are_a_part_of_more(pools: Traces, alpha: float, size: int, other: int) -> None:
    most = len(pools["short"])
    less, more = (mixed(pools, alpha, size=min(each, most)) for each in sorted((size, other)))
    assert {problem for _, problem, _ in less} <= {problem for _, problem, _ in more}


@given(traces(most_samples=3), ALPHAS, UNITS, SHARINGS, st.integers(1, 3), st.integers(0, 5), st.sampled_from((1, 3, 8)))
def test_the_layout_of_the_pools_changes_nothing(
    pools: Traces, alpha: float, by: str, sharing: str, per_problem: int, shuffled: int, blocks: int
) -> None:
    def made(layout: tuple[int | None, int]) -> Any:
        try:
            return mixed(pools, alpha, layout=layout, by=by, sharing=sharing, per_problem=per_problem, pick="shortest")
        except MixtureError as error:
            return error.args

    assert made((shuffled, blocks)) == made((None, 1))


@given(traces(most_samples=3, all_solve=True), ALPHAS, st.integers(1, 3), SHARINGS)
def test_rows_are_exact_with_several_samples_of_a_problem(pools: Traces, alpha: float, per_problem: int, sharing: str) -> None:
    try:
        rows = mixed(pools, alpha, per_problem=per_problem, sharing=sharing)
    except MixtureError:
        return  # nothing exact at all, such as ceil(0.01 * 1) of both
    assert len(set(rows)) == len(rows)
    assert Counter(pool for pool, _, _ in rows)["long"] == math.ceil(Fraction(repr(alpha)) * len(rows))
    assert max(Counter((pool, problem) for pool, problem, _ in rows).values()) <= per_problem


@given(traces(all_solve=True), ALPHAS)
def test_shares_of_tokens_are_met_to_the_nearest_problem(pools: Traces, alpha: float) -> None:
    rows = mixed(pools, alpha, by="tokens")
    hard, easy = tokens(pools, rows, "long"), tokens(pools, rows, "short")
    longest = max(row["num_tokens"] for pool in pools.values() for row in pool)
    assert abs(hard / (hard + easy) - alpha) <= longest / (hard + easy)
    assert len(rows) == len(pools["long"]), "every shared problem is in"


@given(
    traces(("a", "b", "c"), all_solve=True),
    st.sampled_from(((0.2, 0.3, 0.5), (0, 0.5, 0.5), ("1/3", "1/3", "1/3"), (0.9, 0.05, 0.05))),
    UNITS,
)
def test_three_pools_share_all_problems(pools: Traces, shares: tuple[Any, ...], by: str) -> None:
    asked = dict(zip("abc", shares, strict=True))
    rows = mixed(pools, pools=asked, by=by)
    assert Counter(problem for _, problem, _ in rows) == Counter(row["problem_id"] for row in pools["a"])
    exact = {name: Fraction(share) if isinstance(share, str) else Fraction(repr(share)) for name, share in asked.items()}
    if by == "rows":
        assert [len(problems(rows, name)) for name in "abc"] == dealing.counts(list(exact.values()), len(rows))
    elif by == "tokens":
        brought = {name: tokens(pools, rows, name) for name in "abc"}
        longest = max(row["num_tokens"] for pool in pools.values() for row in pool)
        for name, share in exact.items():
            assert abs(brought[name] - share * sum(brought.values())) <= 3 * longest


@given(traces(), ALPHAS)
def test_disjoint_pools_share_no_problem(pools: Traces, alpha: float) -> None:
    try:
        rows = mixed(pools, alpha, sharing="disjoint")
    except MixtureError:
        return
    assert len({problem for _, problem, _ in rows}) == len(rows)
    solved = [{row["problem_id"] for row in pools[name]} for name in ("long", "short")]
    total = len(rows) + 1  # Hall's condition fails for every larger mixture
    for larger in range(total, len(solved[0] | solved[1]) + 1):
        hard, easy = dealing.counts([Fraction(repr(alpha)), 1 - Fraction(repr(alpha))], larger, first_rounds_up=True)
        assert hard > len(solved[0]) or easy > len(solved[1]) or hard + easy > len(solved[0] | solved[1])


@given(traces(all_solve=True), ALPHAS)
def test_paired_problems_have_every_trace_the_smaller_share_allows(pools: Traces, alpha: float) -> None:
    rows = mixed(pools, alpha, sharing="paired")
    hard, easy = problems(rows, "long"), problems(rows, "short")
    assert hard <= easy if len(hard) <= len(easy) else easy <= hard
    assert len(easy) == len(pools["short"]) or len(hard) == len(pools["short"]), "the larger share takes every problem"


def test_paired_tokens_are_as_many_as_the_pools_hold() -> None:
    """Long tails: the total grows with every problem, whichever set of them is looked at first."""
    generator = np.random.default_rng(0)
    lengths = [np.ceil(generator.lognormal(mean, 1, 500)).astype(int).tolist() for mean in (7, 5)]
    pools = {
        name: [trace(number, tokens=size) for number, size in enumerate(sizes)]
        for name, sizes in zip(("long", "short"), lengths, strict=True)
    }
    for alpha in (0.2, 0.5, 0.8):
        rows = mixed(pools, alpha, sharing="paired", by="tokens")
        hard, easy = tokens(pools, rows, "long"), tokens(pools, rows, "short")
        assert hard / (hard + easy) == pytest.approx(alpha, abs=0.02)
        assert hard > 0.9 * sum(lengths[0]) or easy > 0.9 * sum(lengths[1]), "one of the two pools is all but used up"


@given(traces(("a", "b", "c"), most_samples=3, all_solve=True), st.integers(1, 40))
def test_three_pools_with_several_samples_bring_a_size_to_the_row_or_say_so(pools: Traces, size: int) -> None:
    shares = {"a": "11/15", "b": "3/15", "c": "1/15"}
    try:
        rows = mixed(pools, pools=shares, per_problem=2, size=size)
    except MixtureError:
        return
    counts = Counter(pool for pool, _, _ in rows)
    assert [counts[name] for name in "abc"] == dealing.counts([Fraction(share) for share in shares.values()], size)


def test_tokens_of_three_pools_are_shared_in_any_line() -> None:
    generator = np.random.default_rng(1)
    pools = {
        name: [trace(number, tokens=int(size) + 1) for number, size in enumerate(generator.lognormal(5, 1, 1000))]
        for name in ("a", "b", "c")
    }
    for assign in ("hash", "longest", "shortest"):
        rows = mixed(pools, pools={"a": 0.2, "b": 0.3, "c": 0.5}, by="tokens", assign=assign)
        brought = [tokens(pools, rows, name) for name in "abc"]
        assert [share / sum(brought) for share in brought] == pytest.approx([0.2, 0.3, 0.5], abs=0.01)


def test_strata_hold_their_share_however_many_and_uneven() -> None:
    made = [trace(number, subject="large" if number < 200 else f"small {number}") for number in range(240)]
    pools = {name: [dict(row) for row in made] for name in ("long", "short")}
    for alpha in (0.2, 0.3, 0.5):
        hard = problems(mixed(pools, alpha, stratify="subject"), "long")
        large = sum(row["subject"] == "large" for row in pools["long"] if row["problem_id"] in hard)
        assert abs(large - 200 * alpha) <= 1
        assert abs(len(hard) - large - 40 * alpha) <= 1


def test_a_problem_is_as_hard_as_all_its_samples_say() -> None:
    """Eight of eight and one of eight are nine of sixteen: harder than six and six of eight, though more of its samples are here."""
    pools: Traces = {"long": [], "short": []}
    for name, (first, second) in {"long": (8, 6), "short": (1, 6)}.items():
        pools[name] = [trace(0, sample, pass_rate=first / 8) for sample in range(first)]
        pools[name] += [trace(1, sample, pass_rate=second / 8) for sample in range(second)]
    assert problems(mixed(pools, 0.5, assign="hardest"), "long") == {"p000"}


@given(traces(), ALPHAS, UNITS)
def test_independent_pools_are_drawn_by_themselves(pools: Traces, alpha: float, by: str) -> None:
    try:
        rows = mixed(pools, alpha, sharing="independent", by=by)
    except MixtureError:
        return
    for pool in ("long", "short"):
        mine = [problem for name, problem, _ in rows if name == pool]
        assert len(mine) == len(set(mine)) <= len(pools[pool])


@given(traces(all_solve=True), st.sampled_from(((0.0, 0.2, 0.5), (1.0, 0.0), (0.3,), (1.0, 1.0, 0.0), (0.0, 0.0))))
def test_staged_mixtures_hold_their_alpha_in_every_stretch(pools: Traces, stages: tuple[float, ...]) -> None:
    rows = mixed(pools, stages=stages)
    assert Counter(problem for _, problem, _ in rows) == Counter(row["problem_id"] for row in pools["long"])
    sizes = dealing.counts([Fraction(1, len(stages))] * len(stages), len(rows))
    start = 0
    for stage, size in zip(stages, sizes, strict=True):
        taken = Counter(pool for pool, _, _ in rows[start : start + size])["long"]
        assert abs(taken - stage * size) <= len(stages)
        start += size


@given(traces(all_solve=True), ALPHAS)
def test_strata_hold_their_share_to_the_row(pools: Traces, alpha: float) -> None:
    rows = mixed(pools, alpha, stratify=("subject", "level"))
    cell = {row["problem_id"]: (row["subject"], row["level"]) for row in pools["long"]}
    all_of, hard_of = Counter(cell.values()), Counter(cell[problem] for name, problem, _ in rows if name == "long")
    for stratum, size in all_of.items():
        assert abs(hard_of[stratum] - size * len(problems(rows, "long")) / len(rows)) <= 1


def test_the_hard_pool_takes_the_problems_it_is_assigned() -> None:
    pools = {
        "long": [trace(number, tokens=10 * number + 5, pass_rate=1 - number / 20) for number in range(10)],
        "short": [trace(number, pass_rate=1 - number / 20) for number in range(10)],
    }
    top, bottom = {"p008", "p009"}, {"p000", "p001"}
    wanted = {"hardest": top, "easiest": bottom, "longest": top, "shortest": bottom}
    assert {assign: problems(mixed(pools, 0.2, assign=assign), "long") for assign in wanted} == wanted


@pytest.mark.parametrize(("pick", "sample"), [("first", 0), ("shortest", 1), ("longest", 2)])
def test_of_several_samples_one_is_picked(pick: str, sample: int) -> None:
    pools = {name: [trace(1, 0, 20), trace(1, 1, 10), trace(1, 2, 30)] for name in ("long", "short")}
    assert mixed(pools, 1.0, pick=pick) == [("long", "p001", sample)]


def test_a_random_pick_follows_the_seed() -> None:
    pools = {name: [trace(number, sample) for number in range(30) for sample in range(4)] for name in ("long", "short")}
    picks = [mixed(pools, 0.0, pick="random", seed=seed) for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]
    assert len({sample for _, _, sample in picks[0]}) == 4


def test_rows_come_in_the_order_that_is_asked() -> None:
    pools = {name: [trace(number, pass_rate=1 - number / 20) for number in range(10)] for name in ("long", "short")}
    easy_first = mixed(pools, 0.5, order="easy_first", assign="hash")
    assert [pool for pool, _, _ in easy_first] == ["short"] * 5 + ["long"] * 5
    for pool in ("short", "long"):
        mine = [problem for name, problem, _ in easy_first if name == pool]
        assert mine == sorted(mine)
    assert mixed(pools, 0.5, order="hard_first") == [*reversed(easy_first)]


@pytest.mark.parametrize(
    ("said", "num"), [({}, 1), ({"order": "easy_first"}, 4), ({"order": "hard_first"}, 4), ({"stages": (0, 1, 0.5)}, 3)]
)
def test_stretches_are_of_rows_that_the_order_holds_alike(said: dict[str, Any], num: int) -> None:
    """Within them a training's seed shuffles."""
    pools = {name: [trace(number, pass_rate=1.0 if number % 3 else 0.5) for number in range(30)] for name in ("long", "short")}
    blend, found = Blend(hard="long", easy="short", **said), gathered(pools)
    rule = Rule(blend, tuple(blend.shares(None if blend.stages else 0.5).values()), 3)
    rows, _ = select(found, np.ones(len(found.problem), bool), rule)
    sizes = stretches(found, rows, rule)
    assert (len(sizes), sum(sizes)) == (num, 30)
    kinds = [(found.pool[row], found.pass_rate[found.problem[row]]) for row in rows]
    held_alike = [set(kinds[end - size : end]) for size, end in zip(sizes, np.cumsum(sizes), strict=True)]
    assert blend.stages or blend.order == "shuffled" or all(len(each) == 1 for each in held_alike)
    assert not blend.stages or (sizes, [len(each) for each in held_alike[:2]]) == ([10] * 3, [2, 2]), "of one pool, of both rates"


def test_a_pool_that_is_too_small_is_told_with_what_is_missing() -> None:
    pools = {"long": [trace(number) for number in range(3)], "short": [trace(number) for number in range(30)]}
    with pytest.raises(MixtureError, match=r"rows there are: .* 3.*size = 10, sharing = both_right: 2 of long, 8 of short"):
        mixed(pools, 0.2, size=10)
    with pytest.raises(MixtureError, match=r"long 3, short 30; enough for 15.*size = 20, sharing = independent: 4 of long, 16 of short"):
        mixed(pools, 0.2, size=20, sharing="independent")
    assert len(mixed(pools, 0.2, sharing="independent")) == 15, "fit takes the largest exact mixture"


def test_a_size_in_tokens_is_met_to_the_nearest_problem() -> None:
    pools = {"long": [trace(number, tokens=40) for number in range(100)], "short": [trace(number, tokens=10) for number in range(100)]}
    for sharing in ("both_right", "disjoint", "paired", "independent"):
        rows = mixed(pools, 0.5, size=800, by="tokens", sharing=sharing)
        assert [tokens(pools, rows, name) for name in ("long", "short")] == [400, 400], sharing


@settings(max_examples=20)
@given(traces(all_solve=True))
def test_two_questions_under_one_id_are_an_error(pools: Traces) -> None:
    pools["short"][0]["question_key"] = 1
    with pytest.raises(MixtureError, match="Two pools were asked different questions"):
        gathered(pools)
