"""Clients that people use, ten thousand requests nobody should send, and a replica killed under load: on one endpoint, up once."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hardships
import httpx
import openai
import pytest
from waiting import until

from mixray import recipe
from mixray.serving import Endpoint, serve_students

ARM, OTHER = "tiny.short", "tiny.untouched"
KEYS = {"anna": "key-of-anna-0123456789", "bert": "key-of-bert-0123456789"}
MESSAGES = [{"role": "user", "content": "How much?"}]
NUM_MALFORMED = 10_000
NUM_CLIENTS = 32

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Up:
    """The endpoint, and what lies beside it."""

    endpoint: Endpoint
    root: str
    models: dict[str, Path]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Return the access log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def asking(self, key: str = "anna", **more: Any) -> openai.OpenAI:
        """Return OpenAI's client."""
        return openai.OpenAI(base_url=self.endpoint.url, api_key=KEYS.get(key, key), timeout=300, **{"max_retries": 0, **more})


@pytest.fixture(scope="module")
def up(ray_cluster: None, two_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "keys").write_text("".join(f"{name}:{key}\n" for name, key in KEYS.items()))
    settings = recipe.Serve(
        port=0, max_model_len=512, kv_cache_bytes=32 * 2**20, keys_file=str(folder / "keys"), access_log=str(folder / "log"),
        max_ongoing=48, max_queued=16,
    )  # fmt: skip
    with serve_students(two_models, settings, prompts={"student_prompt": "Q: {question}"}) as endpoint:
        yield Up(endpoint, endpoint.url.removesuffix("/v1"), two_models, folder / "log")


def test_openais_client_is_answered_in_every_way_it_asks(up: Up) -> None:
    ask = up.asking()
    assert {model.id for model in ask.models.list()} == {ARM, OTHER}
    assert ask.models.retrieve(ARM).id == ARM
    chat = ask.chat.completions.create(model=ARM, messages=MESSAGES, max_tokens=5, temperature=0, logprobs=True, top_logprobs=2)
    assert chat.usage
    assert chat.usage.completion_tokens == 5
    assert len(chat.choices[0].logprobs.content) == 5
    assert len(chat.choices[0].logprobs.content[0].top_logprobs) == 2
    several = ask.chat.completions.create(model=ARM, messages=MESSAGES, max_tokens=5, n=3, seed=1, temperature=1)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    streamed = list(
        ask.chat.completions.create(
            model=ARM, messages=MESSAGES, max_tokens=5, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(piece.choices[0].delta.content or "" for piece in streamed if piece.choices) == chat.choices[0].message.content
    assert streamed[-1].usage.completion_tokens == 5
    whole = ask.completions.create(model=OTHER, prompt="How much", max_tokens=5, temperature=0, logprobs=1, echo=True)
    assert whole.choices[0].text.startswith("How much")
    assert len(whole.choices[0].logprobs.token_logprobs) == whole.usage.total_tokens
    pieces = list(ask.completions.create(model=OTHER, prompt="How much", max_tokens=5, temperature=0, stream=True))
    assert "How much" + "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    assert {line["key"] for line in up.lines() if line["status"] == 200} == {"anna"} | {up.lines()[0]["key"]}


def test_openais_client_knows_our_errors_as_its_own(up: Up) -> None:
    body = {"model": ARM, "messages": MESSAGES, "max_tokens": 2}
    with pytest.raises(openai.AuthenticationError):
        up.asking("no-such-key").chat.completions.create(**body)
    ask = up.asking()
    with pytest.raises(openai.NotFoundError, match="nobody"):
        ask.chat.completions.create(**{**body, "model": "nobody"})
    with pytest.raises(openai.BadRequestError, match="temperature"):
        ask.chat.completions.create(**body, temperature=3)
    with pytest.raises(openai.BadRequestError, match="chat_template"):
        ask.chat.completions.create(**body, extra_body={"chat_template": "x"})
    with pytest.raises(openai.BadRequestError, match="512"):  # that it does not fit is for the student to know
        ask.chat.completions.create(**{**body, "max_tokens": 600})
    with pytest.raises(openai.BadRequestError, match="512"):
        ask.chat.completions.create(**{**body, "max_tokens": 600}, stream=True)


def test_beyond_capacity_requests_are_turned_away_at_once_and_come_back_by_themselves(up: Up) -> None:
    body = {"model": ARM, "messages": MESSAGES, "max_tokens": 400, "temperature": 0, "extra_body": {"ignore_eos": True}}

    def ask(client: openai.OpenAI) -> tuple[str, str | None]:
        try:
            client.chat.completions.create(**body)
        except (openai.RateLimitError, openai.InternalServerError) as error:
            return type(error).__name__, error.response.headers["retry-after"]
        return "answered", None

    with ThreadPoolExecutor(160) as threads:
        told = list(threads.map(ask, [up.asking(name) for name in KEYS for _ in range(80)]))
        counts = Counter(told)
        print(dict(counts))
        assert set(counts) <= {("answered", None), ("RateLimitError", "1"), ("InternalServerError", "1")}
        assert counts["answered", None] >= 64
        assert len(counts) > 1
        patient = list(threads.map(ask, [up.asking(name, max_retries=30) for name in KEYS for _ in range(50)]))
    assert Counter(patient) == {("answered", None): 100}


def test_curl_is_answered(up: Up) -> None:
    said = {"model": ARM, "messages": MESSAGES, "max_tokens": 3, "stream": True}
    command = ["curl", "-sS", "-N", f"{up.endpoint.url}/chat/completions", "-H", f"Authorization: Bearer {KEYS['bert']}",
               "-H", "Content-Type: application/json", "-H", "X-Request-Id: from-curl", "-d", json.dumps(said), "-D", "-"]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "200 OK" in told
    assert "x-request-id: from-curl" in told
    assert told.rstrip().endswith("data: [DONE]")
    ready = subprocess.run(["curl", "-sSf", "--retry", "30", f"{up.root}/ready"], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(ready.stdout) == {"status": "ready", "students": 2, "answering": 2}
    assert [line["key"] for line in up.lines() if line["id"] == "from-curl"] == ["bert"]


def hang_up(up: Up, client: httpx.Client, request_id: str) -> list[dict[str, Any]]:
    """Hang up after the first line of a long answer; return what the access log tells of it."""
    body = {"model": ARM, "messages": MESSAGES, "max_tokens": 400, "ignore_eos": True, "stream": True}
    with client.stream("POST", f"{up.endpoint.url}/chat/completions", json=body, headers={"x-request-id": request_id}) as stream:
        next(stream.iter_lines())
    until(lambda: any(line["id"] == request_id for line in up.lines()), 60)
    return [line for line in up.lines() if line["id"] == request_id]


def test_a_client_that_hangs_up_stops_the_engine(up: Up) -> None:
    with httpx.Client(headers={"authorization": f"Bearer {KEYS['anna']}"}, timeout=60) as client:
        for attempt in range(5):  # all 400 tokens may be sent before a busy machine lets the client hang up
            (line,) = hang_up(up, client, f"hung-up-{attempt}")
            if line["status"] == 499:
                break
        assert line["status"] == 499
        assert line["response_bytes"] > 0
        metrics = client.get(f"{up.root}/metrics").text
    assert "mixray_ongoing 0.0" in metrics
    assert f'mixray_requests_total{{model="{ARM}",route="/v1/chat/completions",status="200"}}' in metrics


def test_lm_evals_clients_score_a_student(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("OPENAI_API_KEY", KEYS["anna"])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"question": f"{i}+{i}?", "answer": str(2 * i), "choices": ["1", str(2 * i)], "label": 1} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = (
        f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path}/rows.jsonl}}}}\n"
        "test_split: test\ndoc_to_text: 'Q: {{question}}'\n"
    )
    (tmp_path / "likely.yaml").write_text(
        f"task: likely\n{data}output_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: label\nmetric_list: [{{metric: acc}}]\n"
    )
    (tmp_path / "written.yaml").write_text(
        f"task: written\n{data}output_type: generate_until\ndoc_to_target: answer\n"
        "generation_kwargs: {max_gen_toks: 5, do_sample: false, until: ['Q:']}\nmetric_list: [{metric: exact_match}]\n"
    )
    common = {"model": ARM, "num_concurrent": 4, "max_retries": 3, "tokenizer_backend": "huggingface", "tokenizer": str(up.models[ARM])}
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    for kind, path, tasks in (
        ("local-completions", "completions", ["likely", "written"]),
        ("local-chat-completions", "chat/completions", ["written"]),
    ):
        told = lm_eval.simple_evaluate(
            model=kind, model_args={**common, "base_url": f"{up.endpoint.url}/{path}"}, tasks=tasks, task_manager=manager,
            bootstrap_iters=0, apply_chat_template=kind == "local-chat-completions",
        )  # fmt: skip
        assert {task: len(told["samples"][task]) for task in tasks} == dict.fromkeys(tasks, 4)
        if "likely" in tasks:
            likelihoods = [answer[0] for sample in told["samples"]["likely"] for answer in sample["filtered_resps"]]
            assert len(likelihoods) == 8
            assert all(value < 0 for value in likelihoods)


def test_ten_thousand_malformed_requests_give_no_server_error(up: Up) -> None:
    storm = hardships.storm(up.root, KEYS["bert"], ARM, NUM_MALFORMED)
    print(f"{NUM_MALFORMED / storm.seconds:.0f} malformed requests a second: {dict(sorted(storm.counts.items()))}")
    for status, request, told in storm.bad[:10]:
        print(status, request.method, request.path, request.headers, request.content[:300], told[:300])
    assert sum(storm.counts.values()) == NUM_MALFORMED
    assert not storm.bad
    assert storm.counts[400] > NUM_MALFORMED / 2
    assert up.asking().chat.completions.create(model=ARM, messages=MESSAGES, max_tokens=2).choices


def test_a_replica_killed_under_load_costs_time_but_no_answer(up: Up) -> None:
    killed = hardships.killed_under_load(up.endpoint.url, KEYS["anna"], ARM, NUM_CLIENTS)
    print(f"recovered {killed.seconds:.1f} s after the kill: {dict(killed.counts)}")
    assert not killed.wrong
    assert killed.news[0].startswith(f"{ARM}: gone (")
    assert killed.news[1] == f"{ARM}: back"
    assert not killed.strange  # 503 need not come: what had not begun may be asked of the next replica
    other = up.asking().chat.completions.create(model=OTHER, messages=MESSAGES, max_tokens=2)
    assert other.choices
