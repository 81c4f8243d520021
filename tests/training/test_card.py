"""The card of a student: what the hub reads, what people read, and that what it says can be done."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up_mixtures import make_mixture, make_pools
from made_up_students import make_student

from mixray import training
from mixray.progress import StageProgress
from mixray.recipe import Merging
from mixray.store import Artefact, Store
from mixray.training.card import Facts, card, facts_of
from mixray.training.license import license_of, license_of_model
from mixray.training.measured import Measured, Score

SCORE = Score("sums", 0.75, 20, "scores/arm-s0-0123456789ab", 0.531, 0.888)


@pytest.fixture
def mixture(store: Store) -> Artefact:
    return make_mixture(store, "half", make_pools(store), range(4))


@pytest.fixture
def student(store: Store, mixture: Artefact, random_student: str) -> Artefact:
    return make_student(store, "arm-s0", mixture, random_student)


@pytest.fixture
def facts(student: Artefact, mixture: Artefact) -> Facts:
    return facts_of(student, student.outcome, mixture)


def head(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---")[1]))


def rows(text: str) -> dict[str, str]:
    """Return the tables' rows of two cells."""
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, flags=re.MULTILINE))


def test_a_card_tells_base_mixture_recipe_and_figures(facts: Facts, mixture: Artefact, random_student: str) -> None:
    text = card(facts)
    assert f"A student trained by mixray from `{Path(random_student).name}` on the mixture `{mixture.label}`." in text
    told = rows(text)
    assert (told["learning_rate"], told["dtype"], told["seed"]) == ("1e-05", '"bfloat16"', "0")
    assert (told["optimiser steps"], told["loss tokens"], told["loss at the last step"]) == ("3", "208", "1.1250")
    assert "| long | 4 (50.0%) | 160 (74.1%) | 120 (88.2%) |" in text
    assert "## Scores" not in text
    assert facts.label in text
    assert str(Path(random_student).parent) not in text


def test_a_card_warns_where_examples_were_cut(facts: Facts) -> None:
    assert "never to stop" not in card(facts)
    settings, figures = {**facts.settings, "max_tokens": 1024}, {**facts.figures, "num_cut_rows": 3, "num_cut_tokens": 4500}
    text = card(replace(facts, settings=settings, figures=figures))
    assert (rows(text)["examples that were cut"], rows(text)["tokens that those lost"]) == ("3", "4,500")
    assert "* It is a control: 3 of its 8 examples were cut at 1,024 tokens and lost 4,500, their answer and their end of turn" in text


def test_the_head_is_what_the_hub_understands(facts: Facts) -> None:
    of_hub = replace(facts, base_model="Qwen/Qwen2.5-0.5B-Instruct", base_is_on_hub=True, license_id="apache-2.0")
    assert head(card(of_hub)) == {
        "library_name": "transformers", "pipeline_tag": "text-generation", "license": "apache-2.0",
        "base_model": "Qwen/Qwen2.5-0.5B-Instruct", "base_model_relation": "finetune",
        "tags": ["mixray", "distillation", "reasoning", "sft"],
    }  # fmt: skip
    assert "base_model" not in head(card(facts))


def test_scores_have_intervals_where_they_are_known(facts: Facts) -> None:
    text = card(replace(facts, measured=Measured([SCORE, replace(SCORE, benchmark="other", low=None, high=None)])))
    assert "| sums | 75.0 % | [53.1, 88.8] | 20 | – | – | `scores/arm-s0-0123456789ab` |" in text
    assert "| other | 75.0 % | – | 20 |" in text


def test_what_is_not_known_is_said_to_be_so(facts: Facts) -> None:
    text = card(replace(facts, base_model=None, mixture=None, pools={}))
    assert "trained by mixray from `a model its manifest does not name` on the mixture `that is no longer stored`" in text
    assert "Its licence is unknown: none was found with the base model" in text
    assert head(text)["license"] == "unknown"


def test_settings_that_may_hold_paths_are_not_told(facts: Facts) -> None:
    text = card(replace(facts, settings={"deepspeed": {"zero_optimization": {"offload_optimizer": {"nvme_path": "/home/me"}}}}))
    assert rows(text)["deepspeed"] == "given"
    assert "/home/me" not in text


def test_names_cannot_break_the_card(facts: Facts) -> None:
    text = card(replace(facts, base_model="/models/evil`|\n---\nlicense: mit", settings={"a|b": "c|d\n| x | y |"}))
    assert head(text)["license"] == "unknown"
    assert text.count("\n---\n") == 1
    assert "| x | y |" not in text


def test_what_the_card_says_of_loading_can_be_done(facts: Facts, student: Artefact) -> None:
    text = card(replace(facts, place=str(student.local_folder())))
    code = text.split("```python\n")[1].split("```")[0]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "card", "exec"), {})
    assert said.getvalue().endswith("\n")
    assert f"vllm serve {student.local_folder()}" in text


def test_a_merge_tells_its_parents_and_how(store: Store, mixture: Artefact, random_student: str, quiet: StageProgress) -> None:
    parents = [make_student(store, f"arm-{name}-s0", mixture, random_student, number) for number, name in enumerate(("long", "short"))]
    made = training.merging.run(store, "soup", parents[0], parents[1], random_student, Merging(method="ties", density=0.4), 0.3, 7, quiet)
    text = (made.local_folder() / "README.md").read_text()
    assert f"two students trained by mixray: `{parents[0].label}` and `{parents[1].label}`" in text
    told = rows(text)
    assert (told["method"], told["alpha"], told["density"], told["seed"]) == ('"ties"', "0.3", "0.4", "7")
    assert told["tensors merged"] == "26"
    assert head(text)["tags"][-1] == "merge"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": "---\nlicense: gemma\ntags: [x]\n---\n# Model"}, "gemma"),
        ({"README.md": "# Model without a head", "LICENSE": "\n   Apache License\n   Version 2.0, January 2004\n"}, "apache-2.0"),
        ({"LICENSE.txt": "MIT License\n\nCopyright"}, "mit"),
        ({"README.md": "---\nlicense: [mit\n---\n", "LICENSE": "MIT License"}, "mit"),
        ({"README.md": "---\nno end"}, None),
        ({"LICENSE": "You may do nothing at all."}, None),
        ({}, None),
    ],
)
def test_the_licence_is_the_base_models_or_unknown(files: dict[str, str], expected: str | None, tmp_path: Path) -> None:
    for name, text in {"config.json": "{}", **files}.items():
        (tmp_path / name).write_text(text)
    assert license_of(tmp_path) == expected
    assert license_of_model(str(tmp_path)) == expected


def test_the_licence_of_a_model_that_is_not_here_is_not_known(tmp_path: Path) -> None:
    assert license_of_model(None) is None
    assert license_of_model(str(tmp_path / "gone")) is None
    assert license_of_model("nobody/never-fetched") is None
