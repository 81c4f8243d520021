"""Mixtures that follow the student: which problems take the hard trace, and which sample is taught, by how well it fits."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from mixray import mixing, overlaps, rows
from mixray.mixing import fit
from mixray.progress import StageProgress
from mixray.recipe import Blend
from mixray.store import Artefact, Store

NUM_PROBLEMS = 12


def pool(store: Store, name: str) -> Artefact:
    """Two right answers to each problem: one in the tiny teachers' words, one in words no tiny model ever saw."""
    plain, odd = "Tom has {n} balls. He buys 1. {n} + 1 = {m}. \\boxed{{{m}}}", "zq#{n} xw! vv{n}?? kj \\boxed{{{m}}}"
    made: list[dict[str, Any]] = []
    for number in range(NUM_PROBLEMS):
        for sample, text in enumerate((odd, plain) if number % 2 else (plain, odd)):
            made.append(
                {
                    "trace_id": rows.trace_id(f"p{number}", name, sample), "problem_id": f"p{number}", "teacher": name, "sample": sample,
                    "seed": 0, "question": f"Tom has {number} balls. He buys 1 more. How many balls does he have?", "gold": str(number + 1),
                    "response": text.format(n=number, m=number + 1), "finish_reason": "stop", "num_prompt_tokens": 9,
                    "num_response_tokens": 9, "seconds": 0.1, "status": "ok", "repetition": 0.1, "verdict": "right",
                }
            )  # fmt: skip
    artefact = store.artefact("pools", name, {"name": name})
    with artefact.staging() as staging:
        staging.write_table("traces.parquet", pa.Table.from_pylist(made, schema=rows.TRACE))
    return artefact


@pytest.mark.usefixtures("ray_cluster")
def test_the_student_is_asked_once_and_the_mixture_follows_it(store: Store, quiet: StageProgress) -> None:
    pools = {name: pool(store, name) for name in ("long", "short")}
    problems = store.artefact("problems", "train", {})
    with problems.staging() as staging:
        staging.write_table("problems.parquet", rows.PROBLEM.empty_table())
    twice = overlaps.run(store, problems, {}, quiet)

    def mixed(**said: Any) -> list[dict[str, Any]]:
        blend = Blend(hard="long", easy="short", **said)
        made_of = mixing.Ingredients(blend, 0.25, pools, twice, "tiny:student-s", "{question}", 512, 3)
        return list(mixing.run(store, "mix", made_of, quiet).read_table().to_pylist())

    picked = mixed(pick="fitting")
    assert all(row["messages"][-1]["content"].startswith("Tom") for row in picked), "of two samples the one in known words"
    fits = {
        row["trace_id"]: row["rank_surprisal"]
        for row in fit.handle(store, pools["long"], "tiny:student-s", "{question}", 512).read_table().to_pylist()
    }
    assert len(fits) == 2 * NUM_PROBLEMS
    measured = store.folders("fits")
    assigned = mixed(assign="fitting", pick="fitting")
    hard = {row["problem_id"] for row in assigned if row["pool"] == "long"}
    best = sorted(
        (min(fits[rows.trace_id(f"p{number}", "long", sample)] for sample in range(2)), f"p{number}") for number in range(NUM_PROBLEMS)
    )
    assert hard == {problem for _, problem in best[:3]}
    assert store.folders("fits") == measured, "one forward pass serves every blend"
    by_perplexity = mixed(pick="fitting", fit="perplexity")
    assert all(row["messages"][-1]["content"].startswith("Tom") for row in by_perplexity)
