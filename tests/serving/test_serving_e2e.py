"""Two students brought up for real, asked, scored and taken down."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pytest
from certificate import self_signed
from processes import processes
from ray import serve
from waiting import until

from mixray import evaluation, recipe, rows
from mixray.certificates import certificates
from mixray.serving import serve_students
from mixray.store import Store
from mixray.verify import POLICY, verify

NUM_PROBLEMS = 20
PROMPTS = {"student_prompt": "Q: {question}"}
SERVE = recipe.Serve(port=0, max_model_len=256, kv_cache_bytes=16 * 2**20)
# Sampled, since seeded sampling is where an engine on CPU once died.
EVALUATE = recipe.Evaluate(
    benchmarks={"sums": recipe.ProblemSet(num_problems=NUM_PROBLEMS)}, max_tokens=24, concurrency=16, temperature=0.6, top_p=0.95
)


def replicas() -> list[psutil.Process]:
    """Return every process of ours that holds a student or a part of Serve."""
    return processes("Serve", "SERVE", "EngineCore", "VLLM")


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_students_are_served_proven_asked_scored_and_gone(two_models: dict[str, Path], tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    problems = store.artefact("problems", "sums", {"test": 1})
    table = [
        {"problem_id": f"p{i}", "question": f"{i}+{i}?", "answer": str(2 * i), "subject": "sums", "level": 1} for i in range(NUM_PROBLEMS)
    ]
    with problems.staging() as staging:
        staging.write_table("problems.parquet", pa.Table.from_pylist(table, schema=rows.PROBLEM))
    with serve_students(two_models, SERVE, key="s3cret") as endpoint:
        with httpx.Client(base_url=endpoint.url, timeout=600) as stranger:
            assert stranger.get("/models").status_code == 401
            assert stranger.post("/chat/completions", json={}).status_code == 401
        with httpx.Client(base_url=endpoint.url, timeout=600, headers={"authorization": f"Bearer {endpoint.key}"}) as client:
            assert {card["id"] for card in client.get("/models").json()["data"]} == set(two_models)
            body = {"messages": [{"role": "user", "content": "How much?"}], "max_tokens": 3, "seed": 1}
            answers = [client.post("/chat/completions", json={**body, "model": arm, "temperature": 0}).json() for arm in two_models]
            assert [answer["usage"]["completion_tokens"] for answer in answers] == [3, 3]
            assert client.post("/chat/completions", json={**body, "model": "nobody"}).status_code == 404
            assert client.post("/chat/completions", content=b"{").status_code == 400
            with client.stream("POST", "/chat/completions", json={**body, "model": endpoint.models[0], "stream": True}) as stream:
                events = [line for line in stream.iter_lines() if line]
            assert events[-1] == "data: [DONE]"
            assert json.loads(events[0].removeprefix("data: "))["model"] == endpoint.models[0]
        exam = evaluation.Exam({"sums": problems}, EVALUATE, "{question}", 0, evaluation.Rule(verify, POLICY))
        scores = evaluation.handle(store, "tiny.short", recipe.Student(model=str(two_models["tiny.short"])), exam)
        assert not scores.is_done()
        evaluation.run(scores, exam, evaluation.Student(endpoint.url, endpoint.key, "tiny.short", EVALUATE, EVALUATE.concurrency))
        serving_processes = replicas()
        assert len(serving_processes) >= 3
        listening = [one for process in serving_processes for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        assert len(listening) >= len(serving_processes)
        assert {one.laddr.ip for one in listening} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    psutil.wait_procs(serving_processes, timeout=120)
    assert [process for process in serving_processes if process.is_running()] == []
    assert until(lambda: replicas() == [], 60)

    outcome = scores.outcome["benchmarks"]["sums"]
    assert outcome["num_samples"] == NUM_PROBLEMS
    assert sum(outcome[kind] for kind in ("right", "error", "truncated", "looping", "no_answer", "unknown", "wrong")) == NUM_PROBLEMS
    assert outcome["errors"] == 0
    assert scores.read_table().column("problem_id").to_pylist() == [row["problem_id"] for row in table]


def num_running() -> int:
    """Return how many replicas of the student run."""
    return serve.status().applications["mixray"].deployments["StudentServer:short"].replica_states.get("RUNNING", 0)


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_behind_several_gates_with_https_a_student_grows_with_the_crowd_sleeps_and_wakes(
    two_models: dict[str, Path], tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    told = {"tls_cert": certificate, "tls_key": key, "access_log": str(tmp_path / "log"), "ingress_replicas": 2, "max_model_len": 512}
    scaling = {"replicas": (0, 2), "target_ongoing_requests": 1, "up_seconds": 0.5, "idle_seconds": 2}
    settings = SERVE.model_copy(update={**told, **scaling})
    with serve_students({"short": two_models["tiny.short"]}, settings, key="s3cret", prompts=PROMPTS) as endpoint:
        assert endpoint.url.startswith("https://127.0.0.1:")
        headers = {"authorization": f"Bearer {endpoint.key}", "x-request-id": "mine"}
        body = {"model": "short", "messages": [{"role": "user", "content": "How much?"}], "max_tokens": 400, "ignore_eos": True}
        with httpx.Client(base_url=endpoint.url, timeout=600, headers=headers, verify=certificates(certificate)) as client:
            assert client.get("/models", headers={"authorization": "Bearer other"}).status_code == 401
            assert client.post("/chat/completions", json={**body, "temperature": 0}).json()["usage"]["completion_tokens"] == 400
            with client.stream("POST", "/chat/completions", json={**body, "stream": True}) as stream:
                next(stream.iter_lines())
        assert until(lambda: sorted(status for status in logged(tmp_path)) == [200, 401, 499], 60)

        over = threading.Event()

        def client_of_the_crowd() -> list[int]:
            with httpx.Client(base_url=endpoint.url, timeout=600, headers=headers, verify=certificates(certificate)) as client:
                return [client.post("/chat/completions", json=body).status_code for _ in iter(over.is_set, True)]

        with ThreadPoolExecutor(6) as crowd:
            asking = [crowd.submit(client_of_the_crowd) for _ in range(6)]
            grown = until(lambda: num_running() == 2, 300)
            before = seconds_of_students()
            shared = grown and until(lambda: all(now - before.get(pid, 0) > 0.5 for pid, now in seconds_of_students().items()), 120)
            over.set()
        assert grown
        assert shared, "each replica has its part of the crowd"
        assert {status for client in asking for status in client.result()} == {200}
        assert until(lambda: num_running() == 0, 300)
        with httpx.Client(base_url=endpoint.url, timeout=600, headers=headers, verify=certificates(certificate)) as client:
            assert client.post("/chat/completions", json={**body, "max_tokens": 3}).status_code == 200


def logged(folder: Path) -> list[int]:
    """Return the statuses of my requests in the logs of all gates."""
    lines = [json.loads(line) for path in folder.glob("log*") for line in path.read_text().splitlines()]
    return [line["status"] for line in lines if line["id"] == "mine"]


def seconds_of_students() -> dict[int, float]:
    """Return the processor seconds that each replica of a student has taken."""
    return {process.pid: sum(process.cpu_times()[:2]) for process in processes("StudentServer")}
