"""The scoring stage against a real HTTP server that misbehaves on cue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from loopback import serving

from mixray import completions, evaluation, recipe, rows
from mixray.errors import EvaluationError
from mixray.evaluation import client, score
from mixray.evaluation.journal import Journal
from mixray.store import Artefact, Store
from mixray.verify import verify

NUM_PROBLEMS = 60
EVALUATE = recipe.Evaluate(
    benchmarks={"sums": recipe.ProblemSet(num_problems=NUM_PROBLEMS)}, max_tokens=50, concurrency=8, timeout_seconds=5
)


@dataclass
class Script:
    """An OpenAI-like server that answers `n+n?`, unless `trouble` answers for it; keeps every body it was sent."""

    trouble: Callable[[str, int], Response | None] = lambda question, count: None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def answer(request: Request) -> Response:
            body = await request.json()
            question = body["messages"][-1]["content"]
            self.bodies.append(body)
            self.keys.add(request.headers["authorization"])
            self.counts[question] += 1
            return self.trouble(question, self.counts[question]) or reply(right(question))

        return app


def right(question: str) -> str:
    return f"So \\boxed{{{2 * int(question.partition('+')[0])}}}"


def reply(text: str, finish_reason: str = "stop") -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return JSONResponse({"choices": [choice], "usage": {"completion_tokens": 7}})


@dataclass
class Place:
    url: str
    key: str = "s3cret"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "FIRST_WAIT_SECONDS", 0.01)


def benchmark(store: Store) -> dict[str, Artefact]:
    problems = store.artefact("problems", "sums", {"test": 1})
    table = [
        {"problem_id": f"p{i:02}", "question": f"{i}+{i}?", "answer": str(2 * i), "subject": "", "level": 1} for i in range(NUM_PROBLEMS)
    ]
    if not problems.is_done():
        with problems.staging() as staging:
            staging.write_table("problems.parquet", pa.Table.from_pylist(table, schema=rows.PROBLEM))
    return {"sums": problems}


def handle(store: Store, evaluate: recipe.Evaluate = EVALUATE, seed: int = 0) -> Artefact:
    return evaluation.handle(store, "arm", store.artefact("students", "arm", {}), benchmark(store), evaluate, "{question}", seed)


def ask(store: Store, url: str, evaluate: recipe.Evaluate = EVALUATE) -> Artefact:
    return evaluation.run(handle(store, evaluate), benchmark(store), Place(f"{url}/v1"), evaluate, "{question}", 0, verify, {"sums": False})


def test_every_sample_is_asked_once_judged_and_kept_in_order(store: Store) -> None:
    def trouble(question: str, count: int) -> Response | None:
        return {"0+0?": reply("\\boxed{1}"), "1+1?": reply("\\boxed{2}", "length"), "2+2?": reply("")}.get(question)

    script = Script(trouble)
    evaluate = EVALUATE.model_copy(update={"num_samples": 2, "temperature": 0.7})
    with serving(script.app()) as url:
        scores = ask(store, url, evaluate)
        assert ask(store, url, evaluate) == scores
    table = scores.read_table()
    assert table.schema == rows.SCORE
    names = [(row["problem_id"], row["sample"]) for row in table.to_pylist()]
    assert names == [(f"p{i:02}", sample) for i in range(NUM_PROBLEMS) for sample in range(2)]
    out = scores.outcome["benchmarks"]["sums"]
    assert (out["num_problems"], out["num_samples"], out["errors"]) == (NUM_PROBLEMS, 2 * NUM_PROBLEMS, 0)
    assert (out["right"], out["truncated"]) == (2 * NUM_PROBLEMS - 6, 2)
    assert out["wrong"] + out["unknown"] == 4
    assert out["accuracy"] == out["right"] / out["num_samples"]
    assert out["mean_response_tokens"] == 7
    assert len(script.bodies) == 2 * NUM_PROBLEMS


def test_what_is_sent_shapes_sampling_fully_and_stops_nothing(store: Store) -> None:
    script = Script()
    evaluate = EVALUATE.model_copy(update={"num_samples": 2, "temperature": 0.7})
    with serving(script.app()) as url:
        ask(store, url, evaluate)
    body = script.bodies[0]
    assert {"stop", "stop_token_ids", "stream"} & set(body) == set()
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("arm", 0.7, 1.0, 50)
    assert (body["top_k"], body["repetition_penalty"]) == (0, 1.0)
    assert script.keys == {"Bearer s3cret"}
    seeds = Counter(body["seed"] for body in script.bodies)
    assert max(seeds.values()) == 1
    assert {row["seed"] for row in handle(store, evaluate).read_table().to_pylist()} == set(seeds)


def test_passing_troubles_are_tried_again_until_they_pass(store: Store) -> None:
    def trouble(question: str, count: int) -> Response | None:
        passing = [PlainTextResponse("full", 503), PlainTextResponse("slow down", 429), PlainTextResponse("<html>"), JSONResponse({})]
        return passing[count - 1] if question == "7+7?" and count <= len(passing) else None

    script = Script(trouble)
    with serving(script.app()) as url:
        outcome = ask(store, url).outcome["benchmarks"]["sums"]
    assert (outcome["right"], outcome["errors"]) == (NUM_PROBLEMS, 0)
    assert script.counts["7+7?"] == 5


def test_a_question_that_fails_for_good_is_a_row_and_counted(store: Store) -> None:
    script = Script(lambda question, count: PlainTextResponse("too long", 400) if question == "9+9?" else None)
    with serving(script.app()) as url:
        scores = ask(store, url)
    failed = [row for row in scores.read_table().to_pylist() if row["finish_reason"] == "error"]
    assert [(row["problem_id"], row["verdict"], row["verdict_reason"]) for row in failed] == [("p09", "unknown", "HTTP 400: too long")]
    assert script.counts["9+9?"] == 1
    outcome = scores.outcome["benchmarks"]["sums"]
    assert (outcome["errors"], outcome["unknown"], outcome["right"]) == (1, 0, NUM_PROBLEMS - 1)


def test_many_failures_end_in_an_error_and_the_next_run_asks_only_for_those(store: Store) -> None:
    down = Script(lambda question, count: PlainTextResponse("no such model", 404) if question < "3" else None)
    with serving(down.app()) as url, pytest.raises(EvaluationError, match=r"questions to arm failed.*HTTP 404: no such model"):
        ask(store, url)
    assert not handle(store).is_done()
    mended = Script()
    with serving(mended.app()) as url:
        assert ask(store, url).outcome["benchmarks"]["sums"]["right"] == NUM_PROBLEMS
    assert set(mended.counts) == {question for question in down.counts if question < "3"}
    assert not Path(handle(store).work_path).exists()


def test_nobody_listening_is_told_and_costs_no_answer(store: Store) -> None:
    with serving(Script().app()) as url:
        pass
    with pytest.raises(EvaluationError, match="ConnectError"):
        ask(store, url)


def test_torn_files_of_a_killed_run_cost_only_their_torn_line(store: Store, tmp_path: Path) -> None:
    journal = Journal(handle(store))
    for index in (1, 2):
        journal.add(client.Answer(("sums", f"p{index:02}", 0), right(f"{index}+{index}?") + " ½\ud800", "stop", 7, 0.1))
    journal.flush()
    (file,) = Path(handle(store).work_path).iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    (file.parent / "another.jsonl").write_bytes(b'\x00\x00\n{"name": 3}\n[]\n')
    script = Script()
    with serving(script.app()) as url:
        assert ask(store, url).outcome["benchmarks"]["sums"]["right"] == NUM_PROBLEMS
    assert set(script.counts) == {f"{i}+{i}?" for i in range(NUM_PROBLEMS) if i != 1}


CHILD = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
import test_score
from mixray.store import Store
test_score.score.FLUSH_SECONDS = 0.0
test_score.ask(Store({store!r}), {url!r})
"""


def test_kill_9_loses_and_repeats_no_answer_that_was_written(store: Store) -> None:
    def trouble(question: str, count: int) -> Response | None:
        time.sleep(0.05)
        return None

    script = Script(trouble)
    here = Path(__file__).parent
    with serving(script.app()) as url:
        code = CHILD.format(tests=str(here.parent), here=str(here), store=store.url, url=url)
        child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        while sum(script.counts.values()) < 20 and child.poll() is None:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        written = Journal(handle(store)).read()
        asked_before = Counter(script.counts)
        assert 20 - EVALUATE.concurrency - 1 <= len(written) < NUM_PROBLEMS
        assert ask(store, url).outcome["benchmarks"]["sums"]["right"] == NUM_PROBLEMS
    repeated = {question for question in script.counts if asked_before[question] and script.counts[question] > asked_before[question]}
    assert repeated.isdisjoint({f"{int(name[1][1:])}+{int(name[1][1:])}?" for name in written})


def test_the_handle_depends_on_what_is_asked_and_not_on_how_fast(store: Store) -> None:
    same = handle(store, EVALUATE.model_copy(update={"concurrency": 1, "timeout_seconds": 9}))
    assert same == handle(store)
    changes: list[dict[str, Any]] = [{"temperature": 0.5}, {"num_samples": 2}, {"max_tokens": 51}, {"top_p": 0.9}]
    assert handle(store) not in [handle(store, EVALUATE.model_copy(update=change)) for change in changes]
    assert handle(store) != handle(store, seed=1)
    assert json.loads(json.dumps(handle(store).made_by)) == handle(store).made_by
    assert score.MAX_ERROR_SHARE < 1 / 20
