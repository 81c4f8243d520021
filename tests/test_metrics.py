"""What a run exports, and that the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from mixray.metrics import METRICS, RUN_TAG

DASHBOARD = Path(__file__).parents[1] / "cluster" / "grafana" / "mixray.json"
QUERIES = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_draws_every_metric_and_no_other() -> None:
    exported = {metric.exported(name) for name, metric in METRICS.items()}
    assert set(re.findall(r"ray_\w+", " ".join(QUERIES))) == exported


def test_the_dashboard_asks_by_tags_that_are_there() -> None:
    for query in QUERIES:
        known = {tag for name, metric in METRICS.items() if metric.exported(name) in query for tag in metric.tags} | {RUN_TAG}
        asked = re.findall(r"(\w+)=~?\"", query) + [tag for tags in re.findall(r"by \(([\w, ]+)\)", query) for tag in tags.split(", ")]
        assert set(asked) <= known, query


def test_without_ray_nothing_is_imported_for_it() -> None:
    program = "import sys; from mixray import metrics; metrics.count('mixray_traces', 1); assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
