"""How many workers fit a cluster's nodes, and how long a training waits for nodes it has lost."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.errors import ClusterError
from mixray.recipe import Train
from mixray.training import fit
from mixray.training.fit import Patience, room_for

AMOUNTS = st.integers(0, 40).map(lambda tenths: tenths / 10)
NODES = st.lists(st.fixed_dictionaries({}, optional={"CPU": AMOUNTS, "GPU": AMOUNTS, "memory": AMOUNTS}), max_size=5)
WANTED = st.fixed_dictionaries({"CPU": st.integers(1, 30).map(lambda tenths: tenths / 10)}, optional={"GPU": st.just(1.0)})


@pytest.mark.parametrize(
    ("nodes", "wanted", "room"),
    [
        ([], {"CPU": 1.0}, 0),
        ([{}], {"CPU": 1.0}, 0),
        ([{"CPU": 8.0}], {"CPU": 1.0, "GPU": 1.0}, 0),
        ([{"CPU": 1.0, "GPU": 8.0}], {"CPU": 2.0, "GPU": 1.0}, 0),
        ([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 4.0}], {"CPU": 8.0, "GPU": 1.0}, 8),
        ([{"CPU": 3.0}, {"CPU": 3.0}], {"CPU": 2.0}, 2),  # halves of two nodes are no place
        ([{"CPU": 0.3}], {"CPU": 0.1}, 3),  # 0.3 / 0.1 is less than 3 in floating point
    ],
)
def test_a_worker_fits_one_node(nodes: list[dict[str, float]], wanted: dict[str, float], room: int) -> None:
    assert room_for(nodes, wanted) == room


@given(NODES, WANTED)
def test_places_are_taken_one_by_one(nodes: list[dict[str, float]], wanted: dict[str, float]) -> None:
    placed = 0
    for node in nodes:
        left = {name: Fraction(amount).limit_denominator(10) for name, amount in node.items()}
        needs = {name: Fraction(amount).limit_denominator(10) for name, amount in wanted.items()}
        while all(left.get(name, Fraction(0)) >= need for name, need in needs.items()):
            left = {name: amount - needs.get(name, Fraction(0)) for name, amount in left.items()}
            placed += 1
    assert room_for(nodes, wanted) == placed


def test_patience_ends_with_the_wait_and_starts_anew_with_every_return(monkeypatch: pytest.MonkeyPatch) -> None:
    now, nodes = [0.0], [{"CPU": 2.0}]
    monkeypatch.setattr(fit, "resources_of_nodes", lambda train: nodes)
    monkeypatch.setattr(fit.time, "monotonic", lambda: now[0])
    patience = Patience(Train(workers=(2, 2), node_wait_minutes=1))

    def at(second: float, num_cpus: float) -> bool:
        now[0], nodes[0] = second, {"CPU": num_cpus}
        return patience.waits()

    assert not at(10, 2)
    assert at(20, 1)
    assert at(69, 1)
    assert not at(72, 2)
    assert at(130, 1)
    with pytest.raises(ClusterError, match=r"nodes with 1 CPU: room for 1; rule: 2 workers of 1 CPU each"):
        at(133, 1)
