"""Every shipped recipe loads, says what it is for and what it costs, and can be planned for the shipped clusters without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest
import yaml
from estimates import line

from mixray import models
from mixray.graph import build_graph
from mixray.recipe import Recipe
from mixray.recipe_file import load_recipe, plain_recipe, shipped_recipes
from mixray.store import Store

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "mixray" / "recipes"
CLUSTERS = ["cluster/aws.yaml", "cluster/gcp.yaml", "cluster/kuberay/raycluster.yaml"]
NAMES = shipped_recipes()
# The tiny world's need two cores; docs/laboratory.md says what they took.
ON_GPUS = [name for name in NAMES if name != "tiny" and not name.startswith("lab/")]
PAPER = [name for name in shipped_recipes() if name.startswith("paper/")]
ON_CLUSTERS = [name for name in NAMES if name.startswith("paper/") or name == "two-node"]
IDS = [f"E{number}" for number in range(13)] + [f"C{number}" for number in range(1, 10)]


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def comment_of(name: str) -> list[str]:
    return [row for row in text_of(name).splitlines() if row.startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    assert load_recipe(name).name == name.rpartition("/")[2], "file names, job names and logs are made of it: no slash"


@pytest.mark.parametrize("name", NAMES)
def test_an_editor_accepts_it_by_the_schema(name: str) -> None:
    jsonschema.validate(plain_recipe(name), Recipe.model_json_schema())


def test_every_experiment_of_the_paper_and_every_control_has_a_recipe() -> None:
    told = {comment_of(name)[0].removeprefix("# ").partition(",")[0] for name in PAPER}
    assert told == set(IDS)
    assert all(
        name.removeprefix("paper/").startswith(comment_of(name)[0].removeprefix("# ").partition(",")[0].lower() + "-") for name in PAPER
    )


@pytest.mark.parametrize("name", PAPER)
def test_its_header_says_which_table_what_was_found_what_to_expect_and_what_it_costs(name: str) -> None:
    told = comment_of(name)
    assert re.match(r"# [EC]\d+, .*(Tables? \d|Figs? \d|no table|every table)", told[0]), told[0]
    for word in ("Found", "Expect", "Estimate, not measured"):
        assert sum(row.startswith(f"# {word}: ") for row in told) == 1, word
    rows = text_of(name).splitlines()
    assert rows[: len(told)] == told, "the header comes first"
    assert len(rows) < 50, "a recipe is short"


@pytest.mark.parametrize("name", ON_GPUS)
def test_its_estimate_is_the_one_of_the_rule(name: str) -> None:
    assert line(load_recipe(name)) in comment_of(name), "python tests/estimates.py prints it"


@pytest.mark.parametrize("name", shipped_recipes())
def test_it_names_no_file_of_one_machine(name: str) -> None:
    assert not re.search(r"(?<![\w:/.])[/~]\w", "\n".join(row for row in text_of(name).splitlines() if not row.startswith("#")))


@pytest.mark.parametrize("name", PAPER)
def test_released_and_generated_variants_differ_in_the_teachers_alone(name: str) -> None:
    generated = name.removesuffix("-released")
    if generated == name or generated == "paper/e6-mix-distillation":  # R1's traces were not released
        return
    one, other = (yaml.safe_load(text_of(each)) for each in (name, generated))
    assert {key for key in one if one[key] != other[key]} == {"name", "teachers"}


def test_the_table_of_recipes_is_complete_and_right() -> None:
    rows = {row.split("`")[1]: row for row in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines() if row.startswith("| `")}
    assert set(rows) == {"tiny", *ON_GPUS}
    for name in ON_GPUS:
        hours, cost = re.findall(r": ([\d,]+ GPU hours).*; (.*) at list prices", line(load_recipe(name)))[0]
        assert rows[name].endswith(f"| {hours.removesuffix(' GPU hours')} | {cost.replace(' USD on spot machines', '')} |"), name


def without_network() -> tuple[list[str], dict[str, str]]:
    """Return the words before a command, and the environment, in which nothing answers."""
    if shutil.which("unshare") and subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return ["unshare", "-n"], {}
    closed = "http://127.0.0.1:9"
    return [], {name: closed for proxy in ("http_proxy", "https_proxy", "all_proxy") for name in (proxy, proxy.upper())}


def test_every_recipe_can_be_planned_for_every_shipped_cluster_without_a_network(tmp_path: Path) -> None:
    words, further = without_network()
    clusters = ",".join(str(ROOT / cluster) for cluster in CLUSTERS)
    environment = {**os.environ, **further, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf")}
    command = [*words, sys.executable, str(ROOT / "tests" / "plan_all.py"), str(tmp_path / "runs"), clusters, *ON_CLUSTERS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    plans = json.loads(done.stdout.splitlines()[-1])
    wrong = {name: told for name in plans for code, told in plans[name].values() if code or "It fits." not in told}
    assert not wrong
    assert len(plans) == len(ON_CLUSTERS)


def test_the_recipe_for_one_gpu_asks_for_one(tmp_path: Path) -> None:
    words, further = without_network()
    command = [*words, sys.executable, str(ROOT / "tests" / "plan_all.py"), str(tmp_path / "runs"), "", "single-gpu"]
    environment = {**os.environ, **further, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    code, told = json.loads(done.stdout.splitlines()[-1])["single-gpu"][""]
    assert (code, told.rstrip().endswith("1 GPUs at once")) == (0, True), told


def test_models_are_looked_up_on_a_silent_hub_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that takes connections and never answers costs its patience once, not once for each student."""
    students = {f"s{number}": {"model": f"nobody/never-seen-{number}"} for number in range(8)}
    recipe = Recipe.model_validate(load_recipe("tiny").model_dump() | {"students": students})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held: list[socket.socket] = []
        threading.Thread(target=lambda: [held.append(silent.accept()[0]) for _ in range(100)], daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(models, "HUB_SECONDS", 5)
        began = time.monotonic()
        models.look_up(student.model for student in recipe.students.values())
        assert time.monotonic() - began < 30
        asked = len(held)
        build_graph(recipe, Store(str(tmp_path)))
        assert len(held) == asked, "what was looked up is not asked again"
    for connection in held:
        connection.close()
