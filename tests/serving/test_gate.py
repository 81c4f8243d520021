"""The gate: who gets in, with what, and what is kept of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gated import CHAT, COMPLETIONS, GOOD, KEY, Cued, client, gate, question, run
from loopback import serving

from mixray.serving.exchange import ROUTES
from mixray.serving.keys import Keys


async def statuses(headers: dict[str, Any], paths: list[str]) -> list[int]:
    async with client(gate()) as asking:
        return [(await asking.get(path, headers=headers)).status_code for path in paths]


async def posted(body: Any, app: Any = None, path: str = CHAT, headers: dict[str, Any] | None = None) -> httpx.Response:
    async with client(app or gate()) as asking:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await asking.post(path, headers={**GOOD, **(headers or {})}, content=content)


def test_only_health_and_readiness_are_open() -> None:
    paths = ["/health", "/ready", "/v1/models", "/v1/models/echo", "/tokenize", "/docs", "/metrics", "/v1/../tokenize", "/"]
    assert run(statuses({}, paths)) == [200, 200, *[401] * 7]


@pytest.mark.parametrize(
    "header", [KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer ", "Bearer", f"Basic {KEY}", f"Bearer {KEY} {KEY}", "bearer"]
)
def test_a_wrong_key_is_refused(header: str) -> None:
    assert run(statuses({"authorization": header.encode()}, ["/v1/models"])) == [401]


def test_the_key_opens_the_listed_routes_and_no_others() -> None:
    paths = ["/v1/models", "/v1/models/echo", "/health", "/metrics", "/tokenize", "/openapi.json", "/v1/models/nobody", CHAT]
    assert run(statuses(GOOD, paths)) == [200, 200, 200, 200, 404, 404, 404, 405]
    assert "/tokenize" not in ROUTES


def test_a_route_asked_in_the_wrong_way_says_which_is_right() -> None:
    async def ask() -> list[tuple[int, str]]:
        async with client(gate()) as asking:
            answers = [await asking.get(CHAT, headers=GOOD), await asking.delete("/v1/models", headers=GOOD)]
            return [(answer.status_code, answer.headers["allow"]) for answer in answers]

    assert run(ask()) == [(405, "POST"), (405, "GET, HEAD")]


def test_each_of_several_keys_opens_and_is_told_apart_in_the_log_without_being_in_it(tmp_path: Path) -> None:
    keys = Keys.of([("anna", "key-of-anna"), ("bert", "key-of-bert")])
    app = gate(log=tmp_path / "log", keys=keys)
    for name in ("anna", "bert"):
        assert run(posted(question(), app, headers={"authorization": f"Bearer key-of-{name}"})).status_code == 200
    text = (tmp_path / "log").read_text()
    assert [json.loads(line)["key"] for line in text.splitlines()] == ["anna", "bert"]
    for secret in ("key-of-anna", "key-of-bert", "How much?"):
        assert secret not in text
        assert secret not in repr(vars(app.shared))


def test_readiness_is_that_of_every_student() -> None:
    students = Cued()
    students.answering -= 1

    async def ask() -> httpx.Response:
        async with client(gate(students)) as asking:
            return await asking.get("/ready")

    answer = run(ask())
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready", "students": 7, "answering": 6})


def test_a_student_hears_what_is_known_and_said_and_nothing_else() -> None:
    students = Cued()
    run(posted(question(n=None, user="me", tools=[], temperature=0, seed=-1), gate(students)))
    assert students.asked == [question(temperature=0, seed=-1)]


@pytest.mark.parametrize(
    ("settings", "body", "status", "limit"),
    [
        ({"body_bytes": 100}, question(user="x" * 100), 413, "100 bytes"),
        ({"max_tokens": 10}, question(max_tokens=11), 400, "to 10"),
        ({"max_tokens": 10}, question(max_completion_tokens=11), 400, "to 10"),
        ({"answers": 4}, question(n=5), 400, "to 4"),
        ({"messages": 1}, question(messages=[{"role": "user", "content": ""}] * 2), 400, "1 to 1 messages"),
        ({"prompt_characters": 8}, question(), 400, "the limit is 8"),
        ({"json_depth": 3}, b'{"messages": [[[[]]]]}', 400, "the limit is 3"),
        ({"logprobs": 3}, question(logprobs=True, top_logprobs=4), 400, "to 3"),
        ({"stop_strings": 1}, question(stop=["a", "b"]), 400, "at most 1"),
        ({"stop_characters": 2}, question(stop="abc"), 400, "to 2"),
        ({"logit_bias": 1}, question(logit_bias={"1": 1, "2": 1}), 400, "at most 1"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_with_the_limit(settings: Any, body: Any, status: int, limit: str) -> None:
    students = Cued()
    answer = run(posted(body, gate(students, limits=settings)))
    assert answer.status_code == status
    assert limit in answer.json()["error"]["message"]
    assert students.asked == []


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"prompt": ["a"] * 3}, "the limit is 2"),
        ({"prompt": [[1, 2], [3, 4]]}, "the limit is 3"),
        ({"prompt": "a", "n": 9}, "to 4"),
        ({"prompt": ["a", "b"], "n": 3}, "6 answers; the limit is 4"),
    ],
)
def test_the_limits_of_prompts(body: Any, limit: str) -> None:
    answer = run(posted({"model": "echo", **body}, gate(limits={"prompts": 2, "prompt_tokens": 3, "answers": 4}), COMPLETIONS))
    assert answer.status_code == 400
    assert limit in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "field",
    [
        {"chat_template": "{{ 1 }}"}, {"chat_template_kwargs": {}}, {"mm_processor_kwargs": {}}, {"vllm_xargs": {}}, {"guided_json": {}},
        {"structured_outputs": {}}, {"tools": [{"type": "function"}]}, {"response_format": {"type": "json_object"}}, {"priority": 1},
        {"kv_transfer_params": {}}, {"prompt_logprobs": 5}, {"documents": []}, {"best_of": 2}, {"use_beam_search": True},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}]},
        {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [{"role": "user", "content": "x", "tool_calls": []}]},
    ],
)  # fmt: skip
def test_what_students_do_not_offer_is_refused(field: dict[str, Any]) -> None:
    answer = run(posted(question(**field)))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff", b"[" * 100_000, b'{"a": 1}}'])
def test_a_malformed_body_is_the_senders_fault_and_says_so(body: bytes) -> None:
    answer = run(posted(body))
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


def test_only_json_is_read_and_headers_are_limited() -> None:
    assert run(posted(question(), headers={"content-type": "text/plain"})).status_code == 415
    assert run(posted(question(), headers={"content-encoding": "gzip"})).status_code == 415
    assert run(posted(question(), headers={"x-long": "x" * 20_000})).status_code == 431


def test_a_body_in_pieces_passes_whole_one_too_large_does_not_and_one_too_slow_is_not_waited_for() -> None:
    async def pieces(count: int, seconds: float) -> AsyncIterator[bytes]:
        yield json.dumps(question()).encode()[:-1]
        for _ in range(count):
            await asyncio.sleep(seconds)
            yield b" " * 100
        yield b"}"

    async def ask(count: int, seconds: float = 0, body_seconds: float = 60) -> httpx.Response:
        async with client(gate(limits={"body_bytes": 1000, "body_seconds": body_seconds})) as asking:
            return await asking.post(CHAT, headers=GOOD, content=pieces(count, seconds))

    assert run(ask(5)).json() == {"heard": question()}
    assert run(ask(50)).status_code == 413
    slow = run(ask(5, 0.1, body_seconds=0.2))
    assert slow.status_code == 408
    assert "0.2 seconds" in slow.json()["error"]["message"]


def test_a_request_keeps_a_sane_id_and_gets_one_in_place_of_another(tmp_path: Path) -> None:
    app = gate(log=tmp_path / "log")
    ids = [run(posted(question(), app, headers={"x-request-id": given})).headers["x-request-id"] for given in ("mine-1", "not sane!", "")]
    assert ids[0] == "mine-1"
    assert all(len(made) == 32 for made in ids[1:])
    assert [json.loads(line)["id"] for line in (tmp_path / "log").read_text().splitlines()] == ids


def test_errors_are_told_by_kind_and_what_failed_inside_is_not_told(tmp_path: Path) -> None:
    app = gate(log=tmp_path / "log")
    answers = [run(posted(question(model), app)) for model in ("nobody", "gone", "fails")]
    assert [answer.status_code for answer in answers] == [404, 503, 500]
    assert [answer.headers.get("retry-after") for answer in answers] == [None, "1", None]
    assert "secret" not in answers[2].text
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["refused"] for line in lines] == ["model_not_found", "student_unavailable", "internal_error"]


def test_the_log_and_the_metrics_tell_tokens_times_and_status(tmp_path: Path) -> None:
    app = gate(log=tmp_path / "log")

    async def ask() -> str:
        async with client(app) as asking:
            for body in (question(), question(stream=True), question(n=0)):
                await asking.post(CHAT, headers=GOOD, json=body)
            return (await asking.get("/metrics", headers=GOOD)).text

    metrics = run(ask())
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()][:3]
    assert [(line["status"], line["stream"], line["prompt_tokens"], line["response_tokens"]) for line in lines] == [
        (200, False, 7, 3), (200, True, 7, 3), (400, False, None, None),
    ]  # fmt: skip
    assert all(0 <= line["first_byte_seconds"] <= line["seconds"] < 60 for line in lines)
    assert 'mixray_requests_total{model="echo",route="/v1/chat/completions",status="200"} 2.0' in metrics
    assert 'mixray_tokens_total{kind="response",model="echo"} 6.0' in metrics
    assert 'mixray_refused_total{reason="invalid_value"} 1.0' in metrics


def test_the_log_is_set_aside_when_it_is_full(tmp_path: Path) -> None:
    from mixray.serving.records import AccessLog, Record

    log = AccessLog(tmp_path / "log", most_bytes=1000)
    for number in range(10):
        log.write(Record(str(number), "GET", "/health"))
    sizes = [(tmp_path / name).stat().st_size for name in ("log", "log.1")]
    assert all(0 < size <= 1000 for size in sizes)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_set_aside_goes_on_and_is_set_aside_when_it_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mixray.serving.records import AccessLog, Record

    log = AccessLog(tmp_path / "log", most_bytes=1000)
    (tmp_path / "log.new").mkdir()
    for number in range(20):
        log.write(Record(str(number), "GET", "/health"))
    assert len((tmp_path / "log").read_text().splitlines()) == 20
    assert len([record for record in caplog.records if "cannot be set aside" in record.message]) == 1
    (tmp_path / "log.new").rmdir()
    log.write(Record("20", "GET", "/health"))
    assert [json.loads(line)["id"] for line in (tmp_path / "log").read_text().splitlines()] == ["20"]
    assert len((tmp_path / "log.1").read_text().splitlines()) == 20


def test_what_a_client_sends_cannot_act_on_the_terminal_of_who_reads_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Quoting(Cued):
        async def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Any]:
            raise ValueError(body["messages"][0]["content"])
            yield

    evil = "\x1b[2J\u202egnp.exe"
    assert run(posted(question(messages=[{"role": "user", "content": evil}]), gate(Quoting()))).status_code == 500
    assert "gnp.exe" in caplog.text
    assert not set(caplog.text) & {"\x1b", "\u202e"}


def test_a_full_disk_costs_lines_of_the_log_and_no_answers() -> None:
    app = gate(log=Path("/dev/full"))
    assert [run(posted(question(), app)).status_code for _ in range(3)] == [200] * 3
    assert b"mixray_access_log_lines_lost_total 3.0" in app.shared.metrics.text()


def test_a_stream_comes_piece_by_piece_and_one_that_breaks_does_not_look_whole() -> None:
    async def ask(model: str) -> str:
        async with client(gate()) as asking:
            return (await asking.post(CHAT, headers=GOOD, json=question(model, stream=True))).text

    assert run(ask("echo")) == "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    broken = run(ask("breaks"))
    assert broken.startswith('data: 1\n\ndata: {"error"')
    assert "[DONE]" not in broken


def test_a_student_that_dies_after_its_answer_does_not_spoil_it() -> None:
    with serving(gate()) as url, httpx.Client(headers=GOOD) as asking:
        assert [asking.post(url + CHAT, json=question("dies")).status_code for _ in range(3)] == [200] * 3


def test_a_client_that_leaves_ends_its_request_and_frees_its_place(tmp_path: Path) -> None:
    students = Cued()
    app = gate(students, tmp_path / "log", max_ongoing=1, max_queued=1)
    with serving(app) as url, httpx.Client(headers=GOOD, timeout=60) as asking:
        with pytest.raises(httpx.ReadTimeout):
            asking.post(url + CHAT, json=question("slow"), timeout=1)
        deadline = time.monotonic() + 60
        while not students.ended and time.monotonic() < deadline:
            time.sleep(0.01)
        assert students.ended == ["slow"]
        assert asking.post(url + CHAT, json=question()).status_code == 200
    first, *_ = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (first["status"], first["refused"]) == (499, "client_gone")


def test_the_key_is_nowhere_in_the_gate_nor_in_its_answers() -> None:
    async def ask() -> str:
        async with client(gate()) as asking:
            return (await asking.get("/v1/models", headers={"authorization": f"Basic {KEY}".encode()})).text

    assert KEY not in run(ask())
    assert KEY not in repr(vars(gate().shared))
