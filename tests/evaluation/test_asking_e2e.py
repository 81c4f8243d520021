"""Real students asked both ways, an engine that is killed, and a recipe's students, one of them behind an endpoint, with a judge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi import FastAPI, Request
from loopback import serving

from mixray import evaluation, examine, judging, recipe
from mixray.evaluation.journal import Journal
from mixray.progress import Display
from mixray.store import Artefact, Store

pytestmark = pytest.mark.e2e
MODEL, NUM_PROBLEMS = "tiny:short", 300
AT_ONCE = 16
SERVE = recipe.Serve(port=0, max_model_len=512, kv_cache_bytes=32 * 2**20, engine={"max_num_seqs": AT_ONCE})
PROBLEMS: dict[str, Any] = {"source": "tiny", "split": "test", "num_problems": NUM_PROBLEMS, "seed": 2}


def examined(store: Store, through: str, **settings: Any) -> tuple[evaluation.Exam, examine.Sitting]:
    """Return an exam of tiny problems and what its answers are to be called."""
    evaluate = recipe.Evaluate.model_validate({"benchmarks": {"sums": PROBLEMS}, "max_tokens": 200, "through": through, **settings})
    examine.read_problems(examine.benchmark_sets(evaluate), store, Display(quiet=True))
    exam = judging.exam(store, evaluate, "{question}", 0, recipe.Serve())
    scores = evaluation.handle(store, "short", recipe.Student(model=MODEL), exam)
    return exam, examine.Sitting(scores, evaluation.budgets.handle(scores, exam) if evaluate.budgets else None)


@pytest.mark.usefixtures("ray_cluster")
def test_the_engine_though_it_is_killed_and_the_endpoint_get_the_same_answers(tmp_path: Path) -> None:
    made: dict[str, list[dict[str, Any]]] = {"scores": [], "budgets": []}
    kept: list[int] = []
    for through in ("endpoint", "engine"):
        exam, sitting = examined(Store(str(tmp_path / through)), through, budgets=[50])
        if through == "engine":
            threading.Thread(target=_kill_engine_after, args=(sitting.scores, 50, kept), daemon=True).start()
        examine.ask_models({"short": MODEL}, {"short": sitting}, exam, SERVE, Display(quiet=True))
        assert sitting.budgets is not None
        made["scores"].append({"hash": sitting.scores.hash, "rows": sitting.scores.read_table().to_pylist()})
        made["budgets"].append({"hash": sitting.budgets.hash, "rows": sitting.budgets.read_table().to_pylist()})
        if through == "engine":
            spent = sum(row["seconds"] for row in sitting.scores.read_table().to_pylist())
            assert spent <= AT_ONCE * sitting.scores.outcome["seconds"], "an answer's seconds are its own, not those of who waits before it"
    assert kept, "the engine was killed on the way"
    assert kept[0] < NUM_PROBLEMS
    for one, other in made.values():
        assert one["hash"] == other["hash"]
        assert [len({row["problem_id"] for row in of["rows"]}) for of in (one, other)] == [NUM_PROBLEMS, NUM_PROBLEMS]
        pairs = list(zip(one["rows"], other["rows"], strict=True))
        same = sum(a["response"] == b["response"] and a["num_response_tokens"] == b["num_response_tokens"] for a, b in pairs)
        # Greedy, in float32: only a near tie that another batch rounds otherwise may differ.
        assert same >= 0.98 * NUM_PROBLEMS
        assert abs(sum(a["verdict"] == "right" for a, _ in pairs) - sum(b["verdict"] == "right" for _, b in pairs)) <= NUM_PROBLEMS - same
    right = sum(row["verdict"] == "right" for row in made["scores"][0]["rows"])
    assert right > 0.7 * NUM_PROBLEMS, "the tiny teacher knows its sums"
    assert any(row["forced"] for row in made["budgets"][0]["rows"])


def _kill_engine_after(scores: Artefact, least: int, kept: list[int]) -> None:
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        if (num_there := len(Journal(scores).read())) >= least:
            for process in psutil.process_iter():
                try:
                    ours = "ray::EngineActor" in " ".join(process.cmdline()) and process.username() == psutil.Process().username()
                except psutil.Error:
                    continue
                if ours and _is_below(process, psutil.Process()):
                    kept.append(num_there)
                    os.kill(process.pid, signal.SIGKILL)
            return
        time.sleep(0.01)


def _is_below(process: psutil.Process, parent: psutil.Process) -> bool:
    return parent.pid in [one.pid for one in process.parents()]


class Strangers:
    """Two models behind one endpoint: a student that writes words, and a judge who knows what they mean."""

    def __init__(self) -> None:
        self.asked = Counter[str]()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def answer(request: Request) -> dict[str, Any]:
            body = await request.json()
            self.asked[body["model"]] += 1
            told = "Surely \\boxed{a dozen or so}" if body["model"] == "big" else "True"
            message = {"role": "assistant", "content": told}
            return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 5, "prompt_tokens": 9}}

        return app


@pytest.fixture
def strangers() -> Iterator[tuple[Strangers, str]]:
    both = Strangers()
    with serving(both.app()) as url:
        yield both, f"{url}/v1"


def test_a_recipes_students_are_asked_alone_and_a_judge_has_the_last_word(strangers: tuple[Strangers, str], tmp_path: Path) -> None:
    both, url = strangers
    whole = {
        "name": "asked",
        "problems": {"source": "tiny", "num_problems": 8},
        "teachers": {"long": {"model": "tiny:long"}, "short": {"model": "tiny:short"}},
        "mixtures": {"mix": {"hard": "long", "easy": "short"}},
        "students": {"ours": {"model": MODEL}, "theirs": {"model": "big", "endpoint": url}},
        "serve": SERVE.model_dump(),
        "evaluate": {
            "benchmarks": {"sums": {**PROBLEMS, "num_problems": 10}}, "max_tokens": 200, "through": "engine",
            "judge": {"asked": "not_right", "teacher": {"endpoint": url, "model": "judge"}},
        },
    }  # fmt: skip
    (tmp_path / "asked.yaml").write_text(json.dumps(whole))
    command = [sys.executable, "-m", "mixray.cli", "evaluate", str(tmp_path / "asked.yaml"), "--storage", str(tmp_path / "runs"), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr
    ours, theirs = json.loads(run.stdout)
    assert [each["scores"].rpartition("-")[0] for each in (ours, theirs)] == ["scores/ours-untouched", "scores/theirs-untouched"]
    assert theirs["benchmarks"]["sums"]["right"] == theirs["benchmarks"]["sums"]["right_by_judge"] == 10
    wrong_by_rule = ours["benchmarks"]["sums"]["right_by_judge"]
    assert ours["benchmarks"]["sums"]["right"] >= 10 - ours["benchmarks"]["sums"]["truncated"] - ours["benchmarks"]["sums"]["looping"]
    assert both.asked == {"big": 10, "judge": 10 + wrong_by_rule}
    store = Store(str(tmp_path / "runs"))
    rows = store.open("scores", theirs["scores"].partition("/")[2]).read_table().to_pylist()
    assert {(row["verdict"], row["verdict_reason"], row["judge_verdict"]) for row in rows} == {("right", "judge", "right")}
    assert {row["rule_verdict"] for row in rows} <= {"wrong", "unknown"}
    again = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert json.loads(again.stdout) == [ours, theirs]
    assert both.asked["big"] == 10
