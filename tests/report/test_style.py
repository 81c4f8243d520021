"""Words of style against words of content, on made-up ranks counted by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mixray.report.style import style_shift
from mixray.rows import digest
from mixray.shifts.actor import SHIFT
from mixray.store import Artefact, Store


def read_back(store: Store, name: str, ranks: list[list[int]]) -> Artefact:
    """Store responses that say `Wait Ann has 7`, a token a word."""
    made = [
        {
            "problem_id": f"p{number}", "benchmark": "b", "sample": 0, "response": "Wait Ann has 7", "token_ids": [1, 2, 3, 4],
            "words": [0, 1, 2, 3], "ranks": each, "surprisals": [0.0] * 4, "own_ranks": None,
        }
        for number, each in enumerate(ranks)
    ]  # fmt: skip
    artefact = store.artefact("shifts", name, {"rows": digest(made)})
    with artefact.staging() as staging:
        staging.write_table("shifts.parquet", pa.Table.from_pylist(made, schema=SHIFT))
        staging.write_json("spellings.json", {1: "Wait", 2: " Ann", 3: " has", 4: " 7"})
    return artefact


def test_the_share_of_style_that_shifts_less_that_of_content(store: Store) -> None:
    # `Wait` and `has` are of style, `Ann` is not, `7` is neither. Beyond rank 3 a word has shifted.
    arm = read_back(store, "one", [[9, 1, 1, 99], [9, 9, 4, 99], [1, 1, 1, 99], [9, 1, 9, 1]])
    told = style_shift([arm], {"Wait", "has"}, 3, 0.95)
    assert told.value == pytest.approx(np.mean([0.5 - 0, 1 - 1, 0 - 0, 1 - 0]))
    assert told.low < told.value < told.high


def test_seeds_are_taken_together_problem_by_problem(store: Store) -> None:
    one, other = read_back(store, "one", [[9, 1, 9, 1]] * 3), read_back(store, "other", [[1, 9, 1, 1]] * 2)
    told = style_shift([one, other], {"Wait", "has"}, 3, 0.95)
    assert told.value == 0  # +1 with one seed, -1 with the other, over the two problems of both
