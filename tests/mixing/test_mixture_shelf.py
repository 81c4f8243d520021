"""Looking at mixtures: found by any clear name, told by subject and level, held against one another problem by problem."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from made_up_mixtures import example, make_mixture, make_pool, make_pools

from mixray.errors import MixtureError, StoreError
from mixray.mixing import shelf
from mixray.mixing.shelf import Nesting
from mixray.mixing.words import difference_in_words, nesting_in_words
from mixray.rows import EXAMPLE
from mixray.store import Artefact, Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artefact]:
    """Mixtures over two pools. Read only."""
    store = Store(str(tmp_path_factory.mktemp("mixtures") / "runs"))
    pools = make_pools(store)
    wanted = {"half": [0, 1, 2, 3], "most": [0, 1, 2, 3, 4, 5], "other": [2, 3, 4, 5], "none": []}
    found = {name: make_mixture(store, name, pools, hard) for name, hard in wanted.items()}
    return found | {"fewer": make_mixture(store, "fewer", pools, [1, 2], range(1, 7))}


def test_a_mixture_is_found_by_its_name_its_hash_and_both(made: dict[str, Artefact]) -> None:
    half = made["half"]
    for text in ("half", half.hash, f"half-{half.hash}", f"mixtures/half-{half.hash}"):
        assert shelf.find(half.store, text) == half
    assert [item.name for item in shelf.mixtures(half.store)] == sorted(made)


def test_an_unknown_or_unclear_name_lists_what_it_may_mean(made: dict[str, Artefact], store: Store) -> None:
    with pytest.raises(StoreError, match=r"no such mixture; seen: hafl; .*see `mixray mixture ls`; did you mean 'half'\?"):
        shelf.find(made["half"].store, "hafl")
    pools = make_pools(store)
    twins = [make_mixture(store, "twin", pools, hard) for hard in ([1], [2])]
    with pytest.raises(StoreError, match="Several mixtures have this name") as told:
        shelf.find(store, "twin")
    assert all(f"twin-{twin.hash}" in str(told.value) for twin in twins)


def test_a_mixture_of_an_earlier_version_is_told_as_such(store: Store) -> None:
    old = store.artefact("mixtures", "old", {"alpha": 0.5})
    with old.staging() as staging:
        staging.write_table("examples.parquet", pa.Table.from_pylist([example(0, "long")], schema=EXAMPLE))
        staging.outcome = {"alpha": 0.5, "num_rows": 1, "rows": {"long": 1}}
    assert not shelf.tells_its_pools(old.outcome)
    with pytest.raises(MixtureError, match="of an earlier version; seen: mixtures/old-"):
        shelf.find(store, "old")


def test_rows_come_in_training_order_over_all_files(made: dict[str, Artefact]) -> None:
    assert [row["problem_id"] for row in shelf.rows(made["half"])] == [f"p{n}" for n in range(8)]
    assert [row["trace_id"] for row in shelf.first_rows(made["half"], 2)] == ["p0/long/0", "p1/long/0"]
    assert shelf.first_rows(made["half"], 0) == []
    assert len(shelf.first_rows(made["half"], 99)) == 8


def test_a_large_row_group_comes_in_small_parts(store: Store) -> None:
    mixture = make_mixture(store, "large", make_pools(store, 0), [], range(700), files=1)
    tables = list(shelf.batches(mixture, ["problem_id", "messages"]))
    assert [table.num_rows for table in tables] == [256, 256, 188]
    assert set(tables[0].column_names) == {"messages", "problem_id"}


def test_pools_are_known_by_the_hashes_of_the_manifest(made: dict[str, Artefact]) -> None:
    store = made["half"].store
    assert {f"{name}-{hash_}" for name, hash_ in shelf.pool_hashes(made["half"]).items()} == set(store.folders("pools"))


def test_shares_are_told_as_asked_and_as_they_came_out(made: dict[str, Artefact]) -> None:
    shares = shelf.shares_of(made["half"])
    assert shares["long"] == {"asked": 0.5, "rows": 0.5, "tokens": 160 / 216, "loss_tokens": 120 / 136}
    assert sum(share["loss_tokens"] or 0 for share in shares.values()) == 1


def test_strata_hold_each_row_once_and_say_what_the_filters_changed(made: dict[str, Artefact]) -> None:
    subjects, levels = shelf.strata(made["half"], "subject"), shelf.strata(made["half"], "level")
    assert [cell["subject"] for cell in subjects] == ["primes", "sums [even]", None]
    assert [cell["level"] for cell in levels] == [1, 2]
    for cells in (subjects, levels):
        assert sum(cell["rows"] for cell in cells) == 8
        assert sum(cell["tokens"] for cell in cells) == 216
        assert sum(cell["share_before"] for cell in cells) == pytest.approx(1)
        assert sum(cell["share_after"] for cell in cells) == pytest.approx(1)
        assert sum(cell["pools"]["long"]["loss_tokens"] for cell in cells) == 120
    sums = subjects[1]  # p0, p3, p6; before: p102 too, each from both pools
    assert (sums["rows"], sums["share_before"], sums["share_after"]) == (3, pytest.approx(8 / 24), 3 / 8)
    assert {name: counts["rows"] for name, counts in sums["pools"].items()} == {"long": 2, "short": 1}


def test_a_larger_share_is_nested(made: dict[str, Artefact]) -> None:
    found = shelf.diff(made["half"], made["most"])
    assert (found.only_first, found.only_second, found.other_pool, found.other_trace) == ([], [], ["p4", "p5"], [])
    assert (found.num_same, found.nestings, found.other_hash) == (6, [Nesting("long", 4, 6, 0, 2)], [])
    assert difference_in_words(found, 5) == [
        "the same 8 problems in both",
        "2 problems in both, from another pool: p4, p5",
        "nested: every problem that takes long in A takes it in B (4 of 6)",
    ]
    assert "takes long in B takes it in A (4 of 6)" in difference_in_words(shelf.diff(made["most"], made["half"]), 5)[-1]


def test_other_problems_are_told_with_a_few_ids(made: dict[str, Artefact]) -> None:
    found = shelf.diff(made["none"], made["fewer"])
    assert (found.only_first, found.only_second, found.other_pool) == (["p0", "p7"], [], ["p1", "p2"])
    assert difference_in_words(found, 1) == [
        "6 problems in both",
        "2 problems in A alone: p0, ...",
        "2 problems in both, from another pool: p1, ...",
        "no problem takes long in A; 2 do in B",
    ]


def test_the_same_pool_under_another_trace_is_a_change(store: Store) -> None:
    pools = make_pools(store)
    first, second = make_mixture(store, "a", pools, [0]), make_mixture(store, "b", {**pools, "short": make_pool(store, "short", [])}, [0])
    found = shelf.diff(first, second)
    assert (found.other_trace, found.num_same, found.other_hash) == ([], 8, ["short"])
    assert "short is not the same pool in both" in difference_in_words(found, 5)[-1]
    other = store.artefact("mixtures", "c", {}, {f"pool {name}": pool for name, pool in pools.items()})
    with other.staging() as staging:
        rows = [example(n, "short") | {"trace_id": f"p{n}/short/1"} for n in range(8)]
        staging.write_table("examples-00000.parquet", pa.Table.from_pylist(rows, schema=EXAMPLE))
        staging.outcome = first.outcome
    assert shelf.diff(first, other).other_trace == [f"p{n}" for n in range(1, 8)]


@pytest.mark.parametrize(
    ("nesting", "told"),
    [
        (Nesting("long", 3, 3, 0, 0), "the same 3 problems take long in A and in B"),
        (Nesting("long", 1, 1, 0, 0), "the same 1 problem takes long in A and in B"),
        (Nesting("long", 2, 3, 1, 2), "not nested: of the problems that take long, 1 do in A alone and 2 in B alone"),
        (Nesting("long", 0, 0, 0, 0), "no problem takes long, in A or in B"),
        (Nesting("long", 2000, 0, 2000, 0), "no problem takes long in B; 2,000 do in A"),
    ],
)
def test_nesting_is_said_in_words(nesting: Nesting, told: str) -> None:
    assert nesting_in_words(nesting) == told


def test_a_damaged_mixture_is_not_read(store: Store) -> None:
    mixture = make_mixture(store, "half", make_pools(store), [0])
    part = next(Path(mixture.path).glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match="not what its manifest says"):
        shelf.first_rows(mixture, 1)
