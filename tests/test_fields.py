"""Paths into rows: keys with dots, items with brackets, and an error that helps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixray.errors import RecipeError
from mixray.fields import NoSuchField, value_at

ROW = {"a": {"b": [{"c": 1}, {"c": 2}]}, "x.y": "whole", "x": {"y": "nested"}, "null": None, "turns": [["first"], ["last"]]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b[0].c", 1),
        ("a.b[-1].c", 2),
        ("turns[1][0]", "last"),
        ("null", None),
        ("x.y", "whole"),  # a column's own name comes before a path
        ("x", {"y": "nested"}),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: Any) -> None:
    assert value_at(ROW, path) == value


def test_a_path_may_start_with_an_item() -> None:
    assert value_at([{"a": 1}, {"a": 2}], "[1].a") == 2


@pytest.mark.parametrize(
    ("row", "path", "told"),
    [
        (ROW, "answer", r"`answer` is missing: the row has 'a', 'x.y', 'x', 'null', 'turns'"),
        (ROW, "a.d", r"`a.d` is missing: a has 'b'"),
        (ROW, "a.b[2].c", r"`a.b\[2\].c` is missing: a.b is a list of 2"),
        (ROW, "a.b.c", r"a.b is a list of 2"),
        (ROW, "a[0]", r"a has 'b'"),
        (ROW, "null.c", r"null is null"),
        (ROW, "turns[0][0].text", r"turns\[0\]\[0\] is no mapping but str"),
        ({}, "a", r"the row has nothing"),
        ({str(number): 0 for number in range(99)}, "a", r"'19', \.\.\.$"),
        ("text", "a", r"the row is no mapping but str"),
    ],
)
def test_what_is_missing_is_told_with_what_is_there(row: Any, path: str, told: str) -> None:
    with pytest.raises(NoSuchField, match=told):
        value_at(row, path)


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a[", "a[b]", "a]b", "a[1]b", "a.[0]"])
def test_what_is_no_path_is_an_error_of_the_recipe(path: str) -> None:
    with pytest.raises(RecipeError, match="path cannot be read"):
        value_at(ROW, path)


keys = st.text(st.characters(exclude_characters=".[]"), min_size=1)
trees = st.recursive(st.integers(), lambda inner: st.dictionaries(keys, inner) | st.lists(inner), max_leaves=10)


@given(trees)
def test_every_place_has_a_path(tree: Any) -> None:
    def walk(value: Any, path: str) -> None:
        if path:
            assert value_at(tree, path) is value
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, item in inside:
            walk(item, f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}".removeprefix("."))

    walk(tree, "")
