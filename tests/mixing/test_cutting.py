"""The control that cuts what is too long: which rows it has, and that every count is of what is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from candidate_rows import gathered, trace
from hypothesis import given
from hypothesis import strategies as st

from mixray import chat, mixing, overlaps, rows
from mixray.mixing import actor, fit, words
from mixray.mixing.gathering import cut
from mixray.mixing.rule import Rule
from mixray.mixing.selection import select
from mixray.progress import StageProgress
from mixray.recipe import Blend
from mixray.store import Artefact, Store
from mixray.tiny import problems, styles
from mixray.training.tokens import tokenise

LIMIT, ROOM = 125, 10_000
NUM_PROBLEMS = 24
UNITS = ("num_tokens", "num_loss_tokens")


def pool_of(store: Store, style: str, fills: bool) -> Artefact:
    """A right trace of each problem; long ones are beyond LIMIT, and problem 0 may fill it with its question alone."""
    made = []
    for number, problem in enumerate(problems.take("train", NUM_PROBLEMS, (3, 4), 0)):
        row: dict[str, Any] = dict.fromkeys(rows.TRACE.names)
        problem_id = f"p{number:02d}"
        row |= {
            "trace_id": rows.trace_id(problem_id, style, 0), "problem_id": problem_id, "teacher": style, "sample": 0,
            "question": problem.question + (" 1" * LIMIT if fills and number == 0 else ""),
            "response": styles.write(style, problem), "verdict": "right", "status": "ok",
        }  # fmt: skip
        made.append(row)
    pool = store.artefact("pools", style, {"style": style})
    with pool.staging() as staging:
        staging.write_table("part-0.parquet", pa.Table.from_pylist(made, schema=rows.TRACE))
    return pool


def overlaps_of(store: Store, pool: Artefact, progress: StageProgress) -> Artefact:
    table = pool.read_table(["problem_id", "question"]).to_pylist()
    source = store.artefact("problems", "train", {})
    with source.staging() as staging:
        blank = {"answer": "1", "subject": None, "level": None}
        staging.write_table("problems.parquet", pa.Table.from_pylist([row | blank for row in table], schema=rows.PROBLEM))
    return overlaps.run(store, source, {}, progress)


class Kitchen:
    """Mixes long and short traces of the tiny world for one student."""

    def __init__(self, store: Store, student: str, progress: StageProgress, fills: bool = False) -> None:
        self.store, self.student, self.progress = store, student, progress
        self.pools = {style: pool_of(store, style, fills) for style in ("long", "short")}
        self.overlaps = overlaps_of(store, self.pools["long"], progress)

    def ingredients(self, max_tokens: int, cuts: bool, alpha: float = 0.5, **said: Any) -> mixing.Ingredients:
        return mixing.Ingredients(
            blend=Blend(hard="long", easy="short", **said), alpha=alpha, pools=self.pools, overlaps=self.overlaps, student=self.student,
            student_prompt="{question}", max_tokens=max_tokens, seed=7, cuts=cuts,
        )  # fmt: skip

    def mix(self, max_tokens: int = LIMIT, cuts: bool = True, **said: Any) -> Artefact:
        return mixing.run(self.store, "mix", self.ingredients(max_tokens, cuts, **said), self.progress)


@pytest.fixture
def kitchen(store: Store, random_student: str, quiet: StageProgress) -> Kitchen:
    return Kitchen(store, random_student, quiet)


def rows_of(mixture: Artefact) -> list[dict[str, Any]]:
    return list(mixture.read_table().to_pylist())


def test_the_rows_are_those_of_a_limit_with_room_for_all_but_for_what_is_trained(kitchen: Kitchen) -> None:
    whole, found = (rows_of(kitchen.mix(limit, cuts)) for limit, cuts in ((ROOM, False), (LIMIT, True)))
    texts = [[{key: row[key] for key in row if key not in UNITS} for row in side] for side in (whole, found)]
    assert texts[0] == texts[1], "in the same order, the messages whole"
    lost = [max(0, row["num_tokens"] - LIMIT) for row in whole]
    assert 0 < sum(number > 0 for number in lost) < len(found) == NUM_PROBLEMS
    for unit in UNITS:
        assert [row[unit] for row in found] == [row[unit] - number for row, number in zip(whole, lost, strict=True)]


def test_a_mixture_counts_what_the_student_is_trained_on(kitchen: Kitchen, random_student: str) -> None:
    mixture = kitchen.mix()
    tokens = tokenise(mixture.read_table(), random_student, LIMIT)
    found = rows_of(mixture)
    for unit in UNITS:
        assert tokens[unit].to_pylist() == [row[unit] for row in found]
    told = mixture.outcome["cut"]
    lost = tokens["num_cut_tokens"].to_pylist()
    for pool in ("long", "short"):
        mine = [number for number, row in zip(lost, found, strict=True) if row["pool"] == pool and number]
        assert told[pool] == {"rows": len(mine), "tokens": sum(mine)}
    assert told["long"]["rows"] > told["short"]["rows"] == 0


def test_an_example_whose_prompt_fills_the_limit_is_dropped_with_the_usual_reason(
    store: Store, random_student: str, quiet: StageProgress
) -> None:
    mixture = Kitchen(store, random_student, quiet, fills=True).mix()
    assert mixture.outcome["dropped"] == {"long": 1, "short": 1}
    assert {row["problem_id"] for row in rows_of(mixture)} == {f"p{number:02d}" for number in range(1, NUM_PROBLEMS)}


def test_a_step_tells_the_tokens_before_and_after_the_cut(kitchen: Kitchen) -> None:
    outcome = kitchen.mix().outcome
    steps = {step["step"]: step for step in outcome["steps"]}
    assert [*steps][-4:] == ["too long", "cut", "shared and picked", "mixture"]
    assert steps["cut"]["dropped_rows"] == steps["cut"]["dropped_problems"] == 0
    before, after = (steps[name]["pools"]["long"] for name in ("too long", "cut"))
    lost = before["tokens"] - after["tokens"]
    assert lost == before["loss_tokens"] - after["loss_tokens"] > 0
    assert steps["cut"]["pools"]["short"] == steps["too long"]["pools"]["short"]
    whole = kitchen.mix(ROOM, cuts=False).outcome
    assert outcome["before"]["pools"] == whole["pools"], "the shares without the limit"
    assert outcome["token_share"] < whole["token_share"], "long traces lose their ends"
    assert "cut" not in whole


def test_shares_of_tokens_are_met_after_the_cut(kitchen: Kitchen) -> None:
    outcome = kitchen.mix(by="loss_tokens").outcome
    most = LIMIT / sum(pool["loss_tokens"] for pool in outcome["pools"].values())
    assert outcome["loss_token_share"] == pytest.approx(0.5, abs=most)


def test_cutting_alone_changes_a_hash(kitchen: Kitchen) -> None:
    made_of = kitchen.ingredients(LIMIT, cuts=False, pick="fitting")
    assert "too_long" not in mixing.handle(kitchen.store, "mix", made_of).made_by["settings"]
    cutting = replace(made_of, cuts=True)
    assert mixing.handle(kitchen.store, "mix", cutting).hash != mixing.handle(kitchen.store, "mix", made_of).hash
    fits = [of.fits(kitchen.store)["long"] for of in (made_of, cutting)]
    assert fits[0].hash != fits[1].hash
    assert fits[0].hash == fit.handle(kitchen.store, kitchen.pools["long"], kitchen.student, "{question}", LIMIT).hash


def test_fit_is_measured_on_what_is_left(kitchen: Kitchen) -> None:
    block = kitchen.pools["long"].read_table().slice(0, 6)
    kept, cutting = (actor.FitActor(kitchen.student, "{question}", LIMIT, False, cuts)(block).to_pylist() for cuts in (False, True))
    assert [row["mean_rank"] for row in kept] == [None] * 6
    assert all(row["mean_rank"] >= 1 for row in cutting)
    assert [row["num_tokens"] for row in cutting] == [LIMIT] * 6


def test_samples_are_picked_by_their_whole_length() -> None:
    found = cut(gathered({"long": [trace(1, 0, 70), trace(1, 1, 60)], "short": [trace(1, 0, 30)]}), 50)
    for pick, sample in (("shortest", 1), ("longest", 0)):
        rule = Rule(Blend(hard="long", easy="short", pick=pick), (1, 0), 3)
        chosen, _ = select(found, np.ones(3, bool), rule)
        assert found.sample[chosen].tolist() == [sample], "both have 50 tokens left"


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60))
def test_candidates_are_cut_as_rows_are(prompt: int, loss: int, most: int) -> None:
    row = chat.cut(chat.Encoded(list(range(prompt + loss)), loss), most)
    candidates = gathered({"long": [trace(1, 0, prompt + loss, num_loss_tokens=loss)], "short": [trace(1)]})
    found = cut(candidates, most)
    assert (found.num_tokens[0], found.num_loss_tokens[0]) == (len(row.ids), row.num_loss_tokens)
    assert found.length.tolist() == candidates.num_tokens.tolist()
    assert row.ids[:prompt] == list(range(prompt)), "the prompt stays whole"
    assert row.num_loss_tokens >= 1
    assert len(row.ids) <= most or prompt >= most


def test_what_was_cut_is_told_in_words(kitchen: Kitchen) -> None:
    outcome = kitchen.mix().outcome
    told = outcome["cut"]["long"]
    text = words.cut_in_words(outcome)
    assert text is not None
    assert f"A control: {told['rows']} of 24 rows ({told['rows']} of long, 0 of short) are cut at 125 tokens" in text
    assert f"lose {told['tokens']:,} tokens, their answer and their end of turn among them" in text
    assert words.cut_in_words(kitchen.mix(ROOM, cuts=False).outcome) is None
