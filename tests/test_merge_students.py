"""The step of a run that merges, and what the report is told of it; the trained arms are made up."""

from __future__ import annotations

import shutil
from pathlib import Path

from made_up_students import moved
from transformers import AutoModelForCausalLM

from mixray import report
from mixray.graph import build_graph
from mixray.pipeline import merge_students, model_folders, told_of
from mixray.progress import Display
from mixray.recipe_file import parse_recipe
from mixray.report.curves import Trained, trained
from mixray.store import Store


def test_a_run_merges_its_trained_arms_and_serves_and_reports_them(store: Store, random_student: str) -> None:
    recipe = parse_recipe(
        {
            "name": "small",
            "problems": {"source": "tiny", "num_problems": 8},
            "teachers": {"long": {"model": random_student}, "short": {"model": random_student}},
            "mixtures": {"mix": {"hard": "long", "easy": "short", "alpha": [0, 1]}},
            "merges": {"soup": {"hard": "long", "easy": "short", "alpha": [0.2, 0.5], "method": "dare", "density": 0.8}},
            "students": {"base": {"model": random_student}},
            "evaluate": {"benchmarks": {"tiny": {"source": "tiny", "split": "test", "num_problems": 8}}},
        },
        [],
    )
    graph = build_graph(recipe, store)
    for number, arm in enumerate(arm for arm in graph.arms if arm.mix and arm.trained):
        assert arm.trained is not None
        with arm.trained.staging() as staging:
            shutil.copytree(random_student, staging.folder, dirs_exist_ok=True)
            moved(staging.folder, number)
    merge_students(graph, store, Display(quiet=True))
    merged = [arm for arm in graph.arms if arm.merged]
    assert [arm.name for arm in merged] == ["base-soup-0.2-s0", "base-soup-0.5-s0"]
    for arm in merged:
        assert arm.trained is not None
        assert arm.trained.is_done()
        AutoModelForCausalLM.from_pretrained(model_folders([arm])[arm.name])
    told = [told_of(arm) for arm in graph.arms]
    assert [(arm.mixture, arm.blend, arm.alpha) for arm in told] == [
        (None, None, None), ("short", "mix", 0.0), ("long", "mix", 1.0), ("soup-0.2", "soup", 0.2), ("soup-0.5", "soup", 0.5),
    ]  # fmt: skip
    assert trained(told[-1]) == Trained(None, None)  # nobody trained it: it has no curve
    assert [arm.merged for arm in told] == [None, None, None, *[report.Merged("long", "short", "dare")] * 2]
    assert Path(told[-1].model).name == f"base-soup-0.5-s0-{merged[-1].trained.hash if merged[-1].trained else ''}"
