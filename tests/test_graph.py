"""The names a recipe stands for."""

from __future__ import annotations

import shutil
from pathlib import Path

from mixray.graph import build_graph
from mixray.recipe_file import parse_recipe
from mixray.store import Store


def test_students_that_count_tokens_differently_have_mixtures_of_their_own(store: Store, random_student: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(random_student, other)
    template = other / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    students = {"one": {"model": random_student}, "same": {"model": random_student}, "other": {"model": str(other)}}
    recipe = parse_recipe(
        {
            "name": "small",
            "problems": {"source": "tiny", "num_problems": 8},
            "teachers": {"long": {"model": random_student}, "short": {"model": random_student}},
            "mixtures": {"mix": {"hard": "long", "easy": "short", "alpha": [0, 0.2]}},
            "students": students,
            "evaluate": {"benchmarks": {"tiny": {"source": "tiny", "split": "test", "num_problems": 8}}},
        },
        [],
    )
    graph = build_graph(recipe, store)
    names = [f"{mixture} of {student}" for student in (random_student, str(other)) for mixture in ("short", "mix-0.2")]
    assert list(graph.mixtures) == names
    assert len({artefact.hash for artefact in graph.mixtures.values()}) == 4
