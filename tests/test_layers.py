"""The import graph is the data flow: stages stand on the shared floor and never on one another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mixray"
FLOOR = {
    "commits", "copies", "disk", "errors", "fields", "files", "rows", "recipe", "recipe_file", "locks", "staging", "steady", "store",
    "chat",
    "completions", "form", "models", "session", "progress", "quarantine", "ray_data", "threads", "shelf", "export", "hub", "engine",
    "passing", "forward",
    "card", "versions", "terminal", "certificates", "committed", "naming", "reply", "placement", "ids", "metrics", "runs",
    "functions", "judged",
}  # fmt: skip
STAGES = {"problems", "teachers", "verify", "overlaps", "mixing", "training", "serving", "evaluation", "shifts", "report"}
COMMANDS = {
    "recipes_cli", "run_cli", "pool_cli", "mixture_cli", "student_cli", "evaluate_cli", "audit_cli", "report_cli", "serve_cli",
    "submit_cli", "lab_cli",
}  # fmt: skip
ALLOWED = {
    **dict.fromkeys(FLOOR, FLOOR),
    **{name: FLOOR | {name} for name in STAGES},
    "problems": FLOOR | {"problems", "tiny"},
    "tiny": FLOOR | {"tiny", "training", "verify"},
    "judging": FLOOR | STAGES,
    "graph": FLOOR | STAGES | {"judging"},
    "examine": FLOOR | STAGES | {"graph", "judging"},
    "pipeline": FLOOR | STAGES | {"graph", "examine", "judging"},
    "clusters": FLOOR | STAGES | {"graph", "clusters"},
    "cluster_cli": FLOOR | {"graph", "clusters", "terminal"},
    "needs": FLOOR | {"graph", "clusters"},
    "terminal": {"ids"},
    "options": FLOOR | {"terminal"},
    "making": FLOOR | {"pipeline", "terminal", "options"},
    "pool_cli": FLOOR | STAGES | {"making", "pipeline", "terminal", "options", "pool_tables"},
    "pool_tables": FLOOR | STAGES | {"terminal"},
    "evaluate_cli": FLOOR | STAGES | {"graph", "examine", "terminal", "options"},
    "mixture_cli": FLOOR | STAGES | {"making", "terminal", "options", "mixture_tables"},
    "mixture_tables": FLOOR | STAGES | {"terminal"},
    "conversation": FLOOR | {"training", "terminal"},
    "student_cli": FLOOR | STAGES | {"making", "conversation", "terminal", "options", "cards"},
    "standing": FLOOR | STAGES | {"graph"},
    "run_cli": FLOOR | STAGES | {"graph", "pipeline", "cluster_cli", "needs", "standing", "terminal", "options"},
    "audit_cli": FLOOR | STAGES | {"terminal", "options"},
    "recipes_cli": FLOOR | {"terminal", "options"},
    "report_cli": FLOOR | STAGES | {"terminal", "options"},
    "serve_cli": FLOOR | STAGES | {"graph", "pipeline", "terminal", "options"},
    "laboratory": FLOOR | STAGES | {"graph", "pipeline", "laboratory", "tiny"},
    "lab_cli": FLOOR | {"graph", "pipeline", "laboratory", "terminal", "options"},
    "jobs": FLOOR | STAGES | {"graph", "pipeline"},
    "entry": FLOOR | {"jobs", "cli"},
    "submitting": FLOOR | {"submitting", "jobs", "entry", "terminal"},
    "submit_cli": FLOOR | {"submitting", "jobs", "options", "terminal"},
    "cards": FLOOR | STAGES,
    "cli": FLOOR | STAGES | {"graph", "pipeline", "terminal", "tiny", "options"} | COMMANDS,
}


def imported_rooms(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "mixray":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixray."):
            rooms.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mixray.")}
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported_rooms(path) <= ALLOWED.get(room, set()), f"{room} may import {sorted(ALLOWED.get(room, set()))}"
