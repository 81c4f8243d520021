"""The scoring stage against a real HTTP server that misbehaves on cue."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from hub import COMMIT, Hub
from loopback import serving

from mixray import completions, evaluation, recipe, rows
from mixray.errors import EvaluationError, StoreError, VerifyError
from mixray.evaluation import client, score
from mixray.evaluation import journal as journal_of
from mixray.evaluation.exam import Name
from mixray.evaluation.journal import Journal
from mixray.store import Artefact, Store
from mixray.threads import side_by_side
from mixray.verify import POLICY, Verdict, verify

NUM_PROBLEMS = 60
EVALUATE = recipe.Evaluate(
    benchmarks={"sums": recipe.ProblemSet(num_problems=NUM_PROBLEMS)}, max_tokens=50, concurrency=8, timeout_seconds=60
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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "FIRST_WAIT_SECONDS", 0.01)


def benchmark(store: Store, num_problems: int = NUM_PROBLEMS) -> dict[str, Artefact]:
    problems = store.artefact("problems", "sums", {"test": 1} | ({"verifier": "strict"} if num_problems < NUM_PROBLEMS else {}))
    table = [
        {"problem_id": f"p{i:02}", "question": f"{i}+{i}?", "answer": str(2 * i), "subject": "", "level": 1} for i in range(num_problems)
    ]
    if not problems.is_done():
        with problems.staging() as staging:
            staging.write_table("problems.parquet", pa.Table.from_pylist(table, schema=rows.PROBLEM))
    return {"sums": problems}


def exam(store: Store, evaluate: recipe.Evaluate = EVALUATE, seed: int = 0, policy: str = POLICY) -> evaluation.Exam:
    return evaluation.Exam(benchmark(store), evaluate, "{question}", seed, evaluation.Rule(verify, policy))


def handle(store: Store, evaluate: recipe.Evaluate = EVALUATE, seed: int = 0, policy: str = POLICY) -> Artefact:
    return evaluation.handle(store, "arm", store.artefact("students", "arm", {}), exam(store, evaluate, seed, policy))


def ask(store: Store, url: str, evaluate: recipe.Evaluate = EVALUATE, policy: str = POLICY) -> Artefact:
    asker = evaluation.Student(f"{url}/v1", "s3cret", "arm", evaluate, evaluate.concurrency)
    return evaluation.run(handle(store, evaluate, policy=policy), exam(store, evaluate, policy=policy), asker)


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
    assert (out["wrong"], out["no_answer"], out["unknown"], out["looping"]) == (2, 2, 0, 0)
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


def test_a_small_benchmark_that_failed_is_not_lost_among_the_answers_of_a_large_one() -> None:
    def asked(benchmark: str, number: int, finish_reason: str) -> client.StudentAnswer:
        return client.StudentAnswer(Name(benchmark, f"p{number:04d}", 0), "", finish_reason, 0, 0.1, "HTTP 500")

    answers = [asked("gsm8k", number, "stop") for number in range(5000)] + [asked("aime24", number, "error") for number in range(30)]
    with pytest.raises(EvaluationError, match="30 of 30 questions to arm failed in aime24"):
        score.refuse_many_errors("arm", answers)
    score.refuse_many_errors("arm", answers[:5000])


def test_arms_asked_side_by_side_share_the_questions_in_flight(store: Store) -> None:
    """Each has half of them, the endpoint is never asked more, and an arm's answers do not depend on the other's."""
    app, flying, most, models = FastAPI(), Counter[str](), Counter[str](), ("one", "other")

    @app.post("/v1/chat/completions")
    async def answer(request: Request) -> Response:
        body = await request.json()
        flying[body["model"]] += 1
        most[body["model"]] = max(most[body["model"]], flying[body["model"]])
        last = time.monotonic() + 30
        while most[body["model"]] < EVALUATE.concurrency // 2 and time.monotonic() < last:
            await asyncio.sleep(0.01)  # as many as may be are in flight, sooner or later
        await asyncio.sleep(0.01)
        flying[body["model"]] -= 1
        return reply(right(body["messages"][-1]["content"]) + body["model"])

    with serving(app) as url:
        askers = {name: evaluation.Student(f"{url}/v1", "k", name, EVALUATE, EVALUATE.concurrency // 2) for name in models}
        arms = {name: evaluation.handle(store, name, store.artefact("students", name, {}), exam(store)) for name in models}
        for _ in side_by_side([partial(evaluation.run, arms[name], exam(store), askers[name]) for name in models]):
            pass
    assert most == dict.fromkeys(models, EVALUATE.concurrency // 2)
    for name in models:
        assert {row["response"].endswith(name) for row in arms[name].read_table().to_pylist()} == {True}


def test_a_refused_key_ends_the_asking_at_once(store: Store) -> None:
    script = Script(lambda question, count: PlainTextResponse("Incorrect API key s3cret", 401))
    with serving(script.app()) as url, pytest.raises(EvaluationError, match="refuses the key; seen: HTTP 401;"):
        ask(store, url)
    assert sum(script.counts.values()) <= EVALUATE.concurrency


def test_nobody_listening_is_told_and_costs_no_answer(store: Store) -> None:
    with serving(Script().app()) as url:
        pass
    with pytest.raises(EvaluationError, match="ConnectError"):
        ask(store, url)


def test_torn_files_of_a_killed_run_cost_only_their_torn_line(store: Store, tmp_path: Path) -> None:
    with Journal(handle(store)) as journal:
        for index in (1, 2):
            name = Name("sums", f"p{index:02}", 0)
            journal.add(client.StudentAnswer(name, right(f"{index}+{index}?") + " ½\ud800", "stop", 7, 0.1))
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
test_score.ask(Store({store!r}), {url!r})
"""


def killed_run(store: Store, url: str, now: Callable[[], bool]) -> None:
    """Begin a run in a process of its own and kill it as soon as `now` holds."""
    here = Path(__file__).parent
    code = CHILD.format(tests=str(here.parent), here=str(here), store=store.url, url=url)
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    while not now() and child.poll() is None:
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


def test_kill_9_at_any_moment_repeats_what_was_in_flight_alone_and_loses_nothing(store: Store) -> None:
    """Killed when the first question comes, twice on the way, and with the last answers: five runs, one after another."""
    answered: list[str] = []
    least, gone = 1, threading.Event()

    def trouble(question: str, count: int) -> Response | None:
        time.sleep(0.03)
        answered.append(question)
        if len(set(answered)) >= least:
            gone.wait(60)  # so that the run does not end before it is killed
        return None

    script = Script(trouble)
    with serving(script.app()) as url:
        for least in (1, 20, 45, NUM_PROBLEMS):
            gone.clear()
            killed_run(store, url, lambda least=least: len(set(answered)) >= least)  # type: ignore[misc]
            gone.set()
            assert not handle(store).is_done()
            kept = set(Journal(handle(store)).read())
            assert len(set(answered)) - EVALUATE.concurrency <= len(kept) <= len(set(answered))
        before = Counter(script.counts)
        scores = ask(store, url)
    assert scores.outcome["benchmarks"]["sums"]["right"] == NUM_PROBLEMS
    assert sum(script.counts.values()) <= NUM_PROBLEMS + 4 * EVALUATE.concurrency
    asked_again = {f"p{int(question.partition('+')[0]):02}" for question in script.counts if script.counts[question] > before[question]}
    assert asked_again == {f"p{index:02}" for index in range(NUM_PROBLEMS)} - {name.problem_id for name in kept}


def test_a_store_without_appending_loses_what_came_since_the_last_flush_alone(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(journal_of.time, "monotonic", lambda: now[0])
    scores = s3_store.artefact("scores", "arm", {})
    answers = [client.StudentAnswer(Name("sums", f"p{index}", 0), "x", "stop", 7, 0.1) for index in range(4)]
    left_open = Journal(scores)
    left_open.add(answers[0])
    now[0] += journal_of.FLUSH_SECONDS
    left_open.add(answers[1])
    left_open.add(answers[2])
    assert list(Journal(scores).read().values()) == answers[:2]
    with left_open:
        left_open.add(answers[3])
    assert sorted(Journal(scores).read().values(), key=lambda answer: answer.name) == answers


def test_another_policy_asks_nobody_again(store: Store) -> None:
    def trouble(question: str, count: int) -> Response | None:
        return PlainTextResponse("too long", 400) if question == "9+9?" and count == 1 else None

    script = Script(trouble)
    with serving(script.app()) as url:
        former = ask(store, url)
        made = ask(store, url, policy="another")
    assert former.outcome["benchmarks"]["sums"]["errors"] == 1
    assert (made.hash != former.hash, made.outcome["benchmarks"]["sums"]["right"]) == (True, NUM_PROBLEMS)
    assert made.outcome["num_adopted"] == NUM_PROBLEMS - 1
    assert script.counts == Counter({f"{i}+{i}?": 1 + (i == 9) for i in range(NUM_PROBLEMS)})


@dataclass(frozen=True)
class Own:
    """A user's verifier, as one source of its module has it."""

    source: str

    def identity(self) -> dict[str, str]:
        return {"function": "checks:judge", "source": self.source}

    def __call__(self, responses: Any, golds: Any, reasons: Any, unboxed: bool) -> list[Verdict]:
        if self.source == "broken":
            raise VerifyError("A recipe's verifier failed", seen="checks:judge")
        return [Verdict("right", "own", "4") for _ in golds]


def test_a_users_verifier_that_fails_costs_no_answer(store: Store) -> None:
    script = Script()
    with serving(script.app()) as url:
        for source in ("broken", "mended"):
            of = replace(exam(store), rule=evaluation.Rule(verify, POLICY, {"sums": Own(source)}))
            scores = evaluation.handle(store, "arm", store.artefact("students", "arm", {}), of)
            asker = evaluation.Student(f"{url}/v1", "s3cret", "arm", EVALUATE, EVALUATE.concurrency)
            with pytest.raises(VerifyError) if source == "broken" else nullcontext():
                evaluation.run(scores, of, asker)
    assert scores.outcome["benchmarks"]["sums"]["right"] == NUM_PROBLEMS
    assert scores.outcome["num_adopted"] == NUM_PROBLEMS
    assert sum(script.counts.values()) == NUM_PROBLEMS


def test_judging_again_makes_scores_beside_the_former_or_replaces_them(store: Store) -> None:
    with serving(Script().app()) as url:
        former = ask(store, url)
    beside = handle(store, policy="another")
    assert evaluation.can_be_judged(beside)
    assert evaluation.judge_again(beside, exam(store, policy="another")).changes == Counter()
    assert beside.read_table() == former.read_table()

    def strict(responses: Any, golds: Any, reasons: Any, unboxed: bool) -> list[Verdict]:
        return [Verdict("right" if int(gold) < 10 else "wrong", "strict", gold) for gold in golds]

    redone = evaluation.judge_again(former, replace(exam(store), rule=evaluation.Rule(strict, POLICY)))
    assert (redone.num_traces, redone.changes) == (NUM_PROBLEMS, Counter({("right", "wrong"): NUM_PROBLEMS - 5}))
    assert handle(store).outcome["benchmarks"]["sums"]["accuracy"] == 5 / NUM_PROBLEMS
    smaller = replace(exam(store, policy="third"), benchmarks=benchmark(store, NUM_PROBLEMS - 1))
    fewer = evaluation.handle(store, "arm", store.artefact("students", "arm", {}), smaller)
    redone = evaluation.judge_again(fewer, smaller)
    assert (redone.num_traces, redone.changes) == (NUM_PROBLEMS - 1, Counter({("wrong", "right"): NUM_PROBLEMS - 6})), (
        "one is set aside now"
    )
    nothing = handle(store, seed=1)
    assert not evaluation.can_be_judged(nothing)
    with pytest.raises(StoreError, match="no answers to judge again"):
        evaluation.judge_again(nothing, exam(store, seed=1))


def test_what_an_endpoint_tells_apart_as_reasoning_is_stored_as_thinking(store: Store) -> None:
    def trouble(question: str, count: int) -> Response | None:
        message = {"role": "assistant", "content": right(question), "reasoning_content": "hm \\boxed{1}"}
        return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 7}})

    with serving(Script(trouble).app()) as url:
        table = ask(store, url).read_table()
    assert set(table["verdict"].to_pylist()) == {"right"}
    assert table["response"].to_pylist()[3] == "<think>\nhm \\boxed{1}\n</think>\n\nSo \\boxed{6}"


def test_a_foreign_endpoint_is_sent_what_every_server_knows_and_what_the_recipe_adds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHERS_KEY", "their-key")
    script = Script()
    with serving(script.app()) as url:
        student = recipe.Student(model="big", endpoint=f"{url}/v1", key_env="OTHERS_KEY", request={"top_k": 5, "frequency_penalty": None})
        scores = evaluation.handle(store, "big-untouched", student, exam(store))
        evaluation.run(scores, exam(store), evaluation.behind_endpoint(student, EVALUATE))
    sent = {"model", "messages", "seed", "temperature", "top_p", "max_tokens", "presence_penalty", "top_k"}
    assert all(set(body) == sent for body in script.bodies)
    assert script.keys == {"Bearer their-key"}
    assert script.bodies[0]["model"] == "big"
    assert evaluation.handle(store, "big-untouched", student.model_copy(update={"key_env": None}), exam(store)) == scores
    assert evaluation.handle(store, "big-untouched", student.model_copy(update={"model": "small"}), exam(store)) != scores
    monkeypatch.delenv("OTHERS_KEY")
    with pytest.raises(EvaluationError, match="OTHERS_KEY"):
        evaluation.behind_endpoint(student, EVALUATE)


def test_the_handle_depends_on_what_is_asked_and_not_on_how_fast(store: Store) -> None:
    same = handle(store, EVALUATE.model_copy(update={"concurrency": 1, "timeout_seconds": 9}))
    assert same == handle(store)
    changes: list[dict[str, Any]] = [{"temperature": 0.5}, {"num_samples": 2}, {"max_tokens": 51}, {"top_p": 0.9}]
    assert handle(store) not in [handle(store, EVALUATE.model_copy(update=change)) for change in changes]
    assert handle(store) != handle(store, seed=1)
    assert handle(store) != handle(store, policy="another")
    assert handle(store) == handle(store, EVALUATE.model_copy(update={"through": "engine"}))
    prompted = EVALUATE.benchmarks["sums"].model_copy(update={"prompt": "Sum: {question}"})
    assert handle(store) != handle(store, EVALUATE.model_copy(update={"benchmarks": {"sums": prompted}}))
    assert json.loads(json.dumps(handle(store).made_by)) == handle(store).made_by
    assert score.MAX_ERROR_SHARE < 1 / 20


def test_scores_are_named_by_what_of_serving_changes_answers_and_by_nothing_else(store: Store) -> None:
    whole = store.artefact("students", "arm", {"train": {"lora": None}})
    lora = store.artefact("students", "arm", {"train": {"lora": {"rank": 8}}})

    def name(student: Artefact | recipe.Student, through: str = "endpoint", **serve: Any) -> str:
        of = exam(store, EVALUATE.model_copy(update={"through": through}))
        return evaluation.handle(store, "arm", student, replace(of, serve=recipe.Serve(**serve))).hash

    for student in (whole, recipe.Student(model="tiny:short")):
        assert name(student, port=1, keys_file="keys", replicas=3, threads=1, students_at_once=1, kv_cache_bytes=1) == name(student)
        assert len({name(student), name(student, engine={"dtype": "half"}), name(student, max_model_len=512)}) == 3
        assert name(student, adapters="shared") == name(student), "it has no adapters"
    assert name(lora, adapters="shared") != name(lora)
    assert name(lora, "engine", adapters="shared") == name(lora), "an engine of its own has merged weights"


def test_an_untouched_student_of_the_hub_is_named_by_the_commit_its_id_stands_for(store: Store, hub: Hub) -> None:
    told = evaluation.handle(store, "arm", recipe.Student(model="me/half"), exam(store))
    assert told.made_by["settings"]["student"] == f"me/half@{COMMIT}"
    hub.token = "another"  # it refuses us: the id alone is what is known
    assert evaluation.handle(store, "arm", recipe.Student(model="me/other"), exam(store)).made_by["settings"]["student"] == "me/other"


def test_an_engine_has_the_threads_the_recipe_says() -> None:
    threads = [evaluation.EngineStudent("tiny:short", recipe.Serve(threads=given), EVALUATE, 1000).settings.threads for given in (3, None)]
    assert threads == [3, 1]
