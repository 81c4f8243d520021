"""What is left out before anything is mixed: what has a reason, nothing else, and every step says how much."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from candidate_rows import gathered, trace
from hypothesis import given
from hypothesis import strategies as st

from mixray.mixing.dropping import drop
from mixray.mixing.shares import Ledger
from mixray.recipe import Blend
from mixray.rows import keyed_draw

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "problem": st.integers(0, 12),
            "repetition": st.sampled_from((0.1, 0.5, 0.9)),
            "foreign": st.sampled_from((0.0, 0.2)),
            "tokens": st.sampled_from((5, 50)),
            "likeness": st.sampled_from((0x0F0F0F0F, 0xF0F0F0F0, 0xFF00FF00)),
        }
    ),
    max_size=20,
)
IDS = st.sets(st.integers(0, 12).map(lambda number: f"p{number:03d}"), max_size=4)


TWINS = st.dictionaries(st.sampled_from(("p003", "p004", "p005", "p006")), st.sampled_from(("p001", "p002")), max_size=4)


def numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each row of a problem the next sample number; the last row is one that nothing is wrong with."""
    seen: dict[int, int] = {}
    made = []
    for row in [*rows, {"problem": 99, "repetition": 0.1, "foreign": 0.0, "tokens": 5, "likeness": 9}]:
        number = row["problem"]
        said = {key: value for key, value in row.items() if key not in ("problem", "tokens")}
        made.append(trace(number, seen.get(number, 0), row["tokens"], **said))
        seen[number] = seen.get(number, 0) + 1
    return made


@given(ROWS, ROWS, TWINS, IDS, st.sampled_from(("drop", "keep")), st.sampled_from(("drop", "keep")))
def test_no_good_row_is_lost_and_no_bad_one_stays(
    long: list[dict[str, Any]], short: list[dict[str, Any]], twins: dict[str, str], contaminated: set[str], duplicates: str, kept: str
) -> None:
    pools = {"long": numbered(long), "short": numbered(short)}
    found = gathered(pools)
    blend = Blend(hard="long", easy="short", duplicates=duplicates, contaminated=kept, max_repetition=0.6, max_foreign=0.1)
    ledger = Ledger(found)
    alive = drop(found, blend, twins, contaminated, 20, ledger)
    stays = {(found.names[found.pool[row]], int(found.row[row])) for row in np.flatnonzero(alive)}
    solved = [{row["problem_id"] for row in rows} for rows in pools.values()]
    groups: dict[str, set[str]] = {}
    for problem, same in twins.items():
        groups.setdefault(same, {same}).add(problem)
    repeated = {problem for group in groups.values() for problem in group - {min(group & solved[0] & solved[1] or group)}}
    wanted = set()
    for name, rows in pools.items():
        taught: set[tuple[str, int]] = set()
        for place, row in enumerate(rows):
            again = (row["problem_id"], row["likeness"]) in taught
            taught.add((row["problem_id"], row["likeness"]))
            bad = row["repetition"] > 0.6 or row["foreign"] > 0.1 or row["num_tokens"] > 20
            bad |= duplicates == "drop" and (again or row["problem_id"] in repeated)
            bad |= kept == "drop" and row["problem_id"] in contaminated
            if not bad:
                wanted.add((name, place))
    assert stays == wanted
    steps = ledger.steps()
    assert sum(step["dropped_rows"] for step in steps) == len(found.row) - len(stays)
    for before, after in itertools.pairwise(steps):
        left = [sum(pool["rows"] for pool in step["pools"].values()) for step in (before, after)]
        assert left[0] - left[1] == after["dropped_rows"]
    for unit in ("rows", "tokens", "loss_tokens"):
        for step in steps:
            cells = [cell[unit] for cell in ledger.cells() if cell["step"] == step["step"]]
            assert sum(cells) == sum(pool[unit] for pool in step["pools"].values())


def test_ids_are_met_by_their_keys() -> None:
    assert keyed_draw("p001") in gathered({"long": [trace(1)], "short": [trace(1)]}).problem_key
