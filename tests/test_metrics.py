"""What a run exports, and that the dashboard asks for nothing else."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mixray import metrics
from mixray.metrics import METRICS, RUN_TAG
from mixray.training.watch import EXPORTED, Exported

PACKAGE = Path(metrics.__file__).parent
DASHBOARD = Path(__file__).parents[1] / "cluster" / "grafana" / "mixray.json"
PANELS = json.loads(DASHBOARD.read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]


def test_the_dashboard_draws_every_metric_and_no_other() -> None:
    exported = {metric.exported(name) for name, metric in METRICS.items()}
    assert set(re.findall(r"ray_\w+", " ".join(QUERIES))) == exported


def test_the_dashboard_asks_by_tags_that_are_there() -> None:
    for query in QUERIES:
        known = {tag for name, metric in METRICS.items() if metric.exported(name) in query for tag in metric.tags} | {RUN_TAG}
        asked = re.findall(r"(\w+)=~?\"", query) + [tag for tags in re.findall(r"by \(([\w, ]+)\)", query) for tag in tags.split(", ")]
        assert set(asked) <= known, query


def test_a_panel_of_counts_says_that_they_go_with_their_processes() -> None:
    summed = [
        panel for panel in PANELS if any("_total" in each["expr"] and "rate(" not in each["expr"] for each in panel.get("targets", []))
    ]
    assert len(summed) > 3
    assert all("it falls when one ends" in panel.get("description", "") for panel in summed)


def said_in(path: Path) -> list[tuple[str, str, set[str]]]:
    """Return name, kind and tags of each number that a module says by a name that stands there."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        (call.args[0].value, call.func.attr, {keyword.arg for keyword in call.keywords})
        for call in calls
        if ast.unparse(call.func) in ("metrics.count", "metrics.level") and isinstance(call.args[0], ast.Constant)
    ]  # fmt: skip


def test_every_number_is_said_somewhere_and_as_the_table_has_it() -> None:
    said = {each[0]: each[1:] for path in PACKAGE.rglob("*.py") for each in said_in(path)}
    said |= {f"mixray_training_{name}": ("level", {"arm"}) for name in EXPORTED}
    assert said == {name: (metric.kind, set(metric.tags)) for name, metric in METRICS.items()}


def test_a_training_tells_its_loss_and_its_mfu_where_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, float] = {}
    for kind in ("count", "level"):
        monkeypatch.setattr(metrics, kind, lambda name, value, **tags: told.update({name: value, **tags}))
    record = {"step": 3, "loss": 0.5, "grad_norm": 1.0, "tokens_per_second": 800.0, "mfu": 0.25, "num_tokens": 400}
    Exported("mix-0.2").add(record)
    assert told == {"arm": "mix-0.2", **{f"mixray_training_{name}": record[name] for name in EXPORTED}, "mixray_training_tokens": 400}
    told.clear()
    Exported("mix-0.2").add(record | {"mfu": None})
    assert "mixray_training_mfu" not in told, "a processor has no peak to be held against"


def test_without_ray_nothing_is_imported_for_it() -> None:
    program = "import sys; from mixray import metrics; metrics.count('mixray_traces', 1); assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
