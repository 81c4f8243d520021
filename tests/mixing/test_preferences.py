"""Preference pairs: what is chosen, what is rejected and why, for which problems, and that TRL's form of them loads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from made_up_mixtures import make_mixture, make_pool, make_pools, prompt, trace

from mixray.errors import MixtureError
from mixray.mixing import preferences
from mixray.mixing.preferences import Counts
from mixray.mixing.words import preferences_in_words
from mixray.store import Store

LOOP = ("again " * 9, "unknown", "looping")
CUT = ("so far", "unknown", "truncated")
WRONG = (r"\boxed{5}", "wrong", "ok")


def pairs(store: Store, out: Path, pools: dict[str, list[dict[str, Any]]], numbers: range = range(1)) -> list[dict[str, Any]]:
    """The pairs of a mixture of the problems `numbers`, from pools of these traces."""
    made = {name: make_pool(store, name, traces) for name, traces in pools.items()}
    preferences.write(make_mixture(store, "half", made, [], numbers, files=1), out)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_pairs_are_what_trl_calls_conversational_preferences(store: Store, tmp_path: Path) -> None:
    mixture = make_mixture(store, "half", make_pools(store), [0, 1, 2, 3])
    counts = preferences.write(mixture, tmp_path / "out.jsonl")
    assert counts == Counts(8, 5, {"looping": 4, "truncated": 0, "wrong": 1}, 0, 3)
    rows = datasets.load_dataset("json", data_files=str(tmp_path / "out.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["problem_id"][:] == ["p0", "p2", "p3", "p4", "p6"], "in the mixture's order, each once"
    assert rows["reason"][:] == ["looping", "looping", "wrong", "looping", "looping"]
    for row in rows:
        assert row["prompt"] == prompt(row["problem_id"]), "as the mixture asks it"
        assert row["chosen"] == [{"role": "assistant", "content": r"\boxed{4}"}]
        assert [turn["role"] for turn in row["rejected"]] == ["assistant"]


def test_the_shortest_right_trace_is_chosen(store: Store, tmp_path: Path) -> None:
    long = [trace("p0", "long", 0, "right " * 5), trace("p0", "long", 1, "right"), trace("p0", "long", 2, *LOOP)]
    short = [
        trace("p0", "short", 0, "right, too"),
        trace("p0", "short", 1, "no", "wrong"),
        trace("p0", "short", 2, "x", "right", "garbled"),
    ]
    (row,) = pairs(store, tmp_path / "out", {"long": long, "short": short})
    assert (row["chosen_trace_id"], row["chosen_pool"], row["chosen"][0]["content"]) == ("p0/long/1", "long", "right")


def test_tags_and_views_are_as_the_mixture_teaches_them(store: Store, tmp_path: Path) -> None:
    pools = {
        "long": [trace("p0", "long", 0, "<think>hm</think> the long way, right"), trace("p0", "long", 1, "<think>hm</think> off", "wrong")],
        "short": [trace("p0", "short", 0, "<think>so</think> right"), trace("p0", "short", 1, "<think>so</think> wrong", "wrong")],
    }
    made = {name: make_pool(store, name, traces) for name, traces in pools.items()}
    mixture = make_mixture(store, "half", made, [0], range(1), files=1, tags={"long": "/think", "short": "/no_think"}, view="summary")
    preferences.write(mixture, tmp_path / "out")
    (row,) = (json.loads(line) for line in (tmp_path / "out").read_text().splitlines())
    assert row["prompt"][-1]["content"].endswith("?\n/no_think"), "the chosen trace's tag, though the row is of the other pool"
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("right", "wrong")
    assert row["rejected_pool"] == "short"


def test_a_tie_goes_to_the_first_name(store: Store, tmp_path: Path) -> None:
    pools = {name: [trace("p0", name, n, "same") for n in (1, 0)] + [trace("p0", name, 2, *WRONG)] for name in ("short", "long")}
    (row,) = pairs(store, tmp_path / "out", pools)
    assert (row["chosen_trace_id"], row["rejected_trace_id"]) == ("p0/long/0", "p0/long/2")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([WRONG, CUT, LOOP], "looping"),
        ([WRONG, CUT], "truncated"),
        ([WRONG, ("", "unknown", "empty")], "wrong"),
        ([("again, \\boxed{4}", "right", "looping")], "looping"),
    ],
)
def test_looping_is_rejected_before_truncated_before_wrong(bad: list[Any], reason: str, store: Store, tmp_path: Path) -> None:
    long = [trace("p0", "long", 0, "right"), *(trace("p0", "long", sample, *told) for sample, told in enumerate(bad, start=1))]
    (row,) = pairs(store, tmp_path / "out", {"long": long, "short": []})
    assert row["reason"] == reason
    assert row["rejected"][0]["content"] == next(told[0] for told in bad if reason in told)


def test_the_chosen_traces_own_pool_is_rejected_from_first(store: Store, tmp_path: Path) -> None:
    long = [trace("p0", "long", 0, *WRONG), trace("p1", "long", 0, *LOOP)]
    short = [trace(problem, "short", sample, *told) for problem in ("p0", "p1") for sample, told in enumerate([("yes",), WRONG])]
    one, two = pairs(store, tmp_path / "out", {"long": long, "short": short}, range(2))
    assert (one["reason"], one["rejected_pool"]) == ("wrong", "short")
    assert (two["reason"], two["rejected_pool"]) == ("looping", "long"), "what is bad comes before who said it"


@pytest.mark.parametrize("told", [("", "wrong", "ok"), ("%%", "wrong", "garbled"), ("?", "unknown", "ok"), (None, "unknown", "error")])
def test_what_teaches_nothing_is_not_rejected(told: tuple[Any, ...], store: Store, tmp_path: Path) -> None:
    bad = trace("p0", "long", 1, *told) | {"response": told[0]}
    with pytest.raises(MixtureError, match="both a right and a bad trace"):
        pairs(store, tmp_path / "out", {"long": [trace("p0", "long"), bad], "short": []})
    assert not (tmp_path / "out").exists()


def test_problems_that_the_mixture_does_not_hold_give_no_pair(store: Store, tmp_path: Path) -> None:
    pools = make_pools(store, 20)
    mixture = make_mixture(store, "half", pools, [], [2, 4])
    assert mixture.outcome["steps"][1]["step"] == "contaminated"
    preferences.write(mixture, tmp_path / "out")
    assert [json.loads(line)["problem_id"] for line in (tmp_path / "out").read_text().splitlines()] == ["p2", "p4"]


def test_the_same_file_comes_of_it_each_time(store: Store, tmp_path: Path) -> None:
    mixture = make_mixture(store, "half", make_pools(store), [1])
    for name in ("a", "b"):
        preferences.write(mixture, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "runs"]


def test_a_pool_that_is_gone_is_told(store: Store, tmp_path: Path) -> None:
    pools = make_pools(store)
    mixture = make_mixture(store, "half", pools, [0])
    shutil.rmtree(pools["short"].path)
    with pytest.raises(MixtureError, match=rf"A pool of the mixture is gone; seen: pools/short-{pools['short'].hash}"):
        preferences.write(mixture, tmp_path / "out")


def test_the_counts_say_why_a_problem_has_no_pair() -> None:
    told = preferences_in_words(Counts(2000, 1500, {"looping": 1000, "truncated": 0, "wrong": 500}, 100, 400))
    assert told == "1,500 pairs of 2,000 problems (1,000 looping, 500 wrong; 100 without a right trace; 400 without a bad trace)"
