"""`mixray evaluate` as a user runs it: any endpoint, a model folder, and a recipe's students."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from loopback import serving


def endpoint(keys: list[str], bodies: list[dict[str, Any]]) -> FastAPI:
    """Return a server that says 18 to everything, and asks for a reason to be asked twice."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def answer(request: Request) -> dict[str, Any]:
        keys.append(request.headers.get("authorization", ""))
        bodies.append(await request.json())
        message = {"role": "assistant", "content": "So it is 18."}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 5, "prompt_tokens": 9}}

    return app


def mixray(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "mixray.cli", "evaluate", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, timeout=400, env={**os.environ, **environment}, check=False)


@pytest.fixture
def gsm8k(tmp_path: Path) -> Path:
    file = tmp_path / "gsm8k.jsonl"
    rows = [{"question": f"Question {index}?", "answer": f"so\n#### {18 if index < 3 else 7}"} for index in range(4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_any_endpoint_is_scored_without_ray_or_recipe(gsm8k: Path, tmp_path: Path) -> None:
    keys: list[str] = []
    bodies: list[dict[str, Any]] = []
    options = ["--model", "Org/Big", "--key-env", "OTHERS", "--benchmark", f"gsm8k={gsm8k}", "--preset", "paper"]
    with serving(endpoint(keys, bodies)) as url:
        options += ["--endpoint", f"{url}/v1", "--storage", str(tmp_path / "runs")]
        shown = mixray(*options, OTHERS="k3y")
        again = mixray(*options, "--json", OTHERS="k3y")
    assert shown.returncode == 0, shown.stderr
    assert "75.0%" in shown.stdout
    assert "gsm8k has 4 problems here, 1,319 as published" in shown.stdout
    (told,) = json.loads(again.stdout)
    assert told["scores"].startswith("scores/big-")
    assert (told["benchmarks"]["gsm8k"]["right"], told["benchmarks"]["gsm8k"]["wrong"]) == (3, 1)
    assert told["benchmarks"]["gsm8k"]["low"] < 0.75 < told["benchmarks"]["gsm8k"]["high"]
    assert set(keys) == {"Bearer k3y"}
    assert len(bodies) == 4, "found the second time"
    assert {body["messages"][0]["content"] for body in bodies} == {f"Question {index}?" for index in range(4)}
    assert {(body["model"], body["max_tokens"], body["temperature"]) for body in bodies} == {("Org/Big", 16000, 0)}
    written = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert b"k3y" not in written + (shown.stdout + shown.stderr).encode()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "It is not said who is asked"),
        (["tiny", "--model", "tiny:short"], "It is not said who is asked"),
        (["--model", "tiny:short"], "--benchmark names at least one"),
        (["--model", "x", "--benchmark", "maths", "--num-problems", "3"], "no shipped benchmark is called 'maths'"),
        (["--model", "x", "--key-env", "K", "--benchmark", "math500"], "give endpoint, too"),
        (["--model", "x", "--endpoint", "ftp://x", "--benchmark", "math500"], "student.endpoint"),
        (["--model", "x", "--benchmark", "math500", "--set", "evaluate.stop=[x]"], "stop"),
    ],
)
def test_what_is_missing_is_told_before_anything_starts(arguments: list[str], told: str, tmp_path: Path) -> None:
    run = mixray(*arguments, "--storage", str(tmp_path / "runs"))
    assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
    assert told in run.stderr
    assert not (tmp_path / "runs").exists()
