"""One question to an endpoint: what is tried again, for how long it waits, what ends it, and that the key shows nowhere."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from hypothesis import given
from hypothesis import strategies as st
from loopback import serving

from mixray import completions
from mixray.completions import LONGEST_PAUSE_SECONDS, Client, KeyRefused, Refused, retry_after
from mixray.reply import Reply, read_reply

KEY = "sk-do-not-show-me"
NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "FIRST_WAIT_SECONDS", 0.01)


def fine(text: str = "four", **choice: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"} | choice], "usage": usage}


@dataclass
class Endpoint:
    """Answers the n-th request as `script(n)` says, well where that is None; keeps when each came and with which key."""

    script: Callable[[int], Response | None] = lambda number: None
    asked_at: list[float] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def answer(request: Request) -> Response:
            self.asked_at.append(time.monotonic())
            self.keys.add(request.headers.get("authorization"))
            return self.script(len(self.asked_at)) or JSONResponse(fine())

        return app


@asynccontextmanager
async def asking(url: str, key: str | None = KEY, max_tries: int = 4, timeout_seconds: float = 60) -> AsyncIterator[Client]:
    client = Client(url, key, timeout_seconds, max_tries, concurrency=8)
    try:
        yield client
    finally:
        await client.close()


def ask(url: str, times: int = 1, **settings: Any) -> list[Reply | BaseException]:
    """Ask so many questions at once; return what came of each."""

    async def main() -> list[Reply | BaseException]:
        async with asking(f"{url}/v1", **settings) as client:
            questions = (client.ask({"model": "m"}, seed, read_reply) for seed in range(times))
            return list(await asyncio.gather(*questions, return_exceptions=True))

    return asyncio.run(main())


def ask_one(url: str, **settings: Any) -> Reply:
    (outcome,) = ask(url, **settings)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


GOOD = Reply("four", "", "stop", 11, 7)


def test_a_question_is_posted_once_with_its_key_and_read() -> None:
    endpoint = Endpoint()
    with serving(endpoint.app()) as url:
        assert ask_one(url) == GOOD
        assert ask_one(url, key=None) == GOOD
    assert endpoint.keys == {f"Bearer {KEY}", None}
    assert len(endpoint.asked_at) == 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 524, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    endpoint = Endpoint(lambda number: PlainTextResponse("busy", status) if number < 3 else None)
    with serving(endpoint.app()) as url:
        assert ask_one(url) == GOOD
    assert len(endpoint.asked_at) == 3


@pytest.mark.parametrize(
    "reply",
    [
        PlainTextResponse("<html>"),
        Response(b""),
        Response(b"\xff\xfe{"),
        Response(b"[" * 100_000),
        JSONResponse([]),
        JSONResponse({"choices": []}),
        JSONResponse({"choices": [None]}),
        JSONResponse(fine(finish_reason=None)),
        JSONResponse(fine(message={"content": [1, 2]})),
        Response(b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["html", "nothing", "no UTF-8", "deep", "list", "no choice", "null", "unfinished", "no text", "no gzip"],
)
def test_what_cannot_be_read_is_asked_for_again(reply: Response) -> None:
    endpoint = Endpoint(lambda number: reply if number == 1 else None)
    with serving(endpoint.app()) as url:
        assert ask_one(url) == GOOD
    assert len(endpoint.asked_at) == 2


def test_an_error_inside_a_success_is_tried_again_and_told() -> None:
    endpoint = Endpoint(lambda number: JSONResponse({"error": {"code": 502, "message": "upstream is gone"}}))
    with serving(endpoint.app()) as url, pytest.raises(Refused, match="upstream is gone"):
        ask_one(url)
    assert len(endpoint.asked_at) == 4


def test_an_endless_reply_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "MOST_REPLY_BYTES", 1000)
    endpoint = Endpoint(lambda number: JSONResponse(fine("x" * 2000)))
    with serving(endpoint.app()) as url, pytest.raises(Refused, match="more than 1000 bytes"):
        ask_one(url, max_tries=2)


@pytest.mark.parametrize("status", [301, 400, 404, 413, 422, 501])
def test_a_refusal_is_final(status: int) -> None:
    endpoint = Endpoint(lambda number: PlainTextResponse("no", status))
    with serving(endpoint.app()) as url, pytest.raises(Refused, match=f"HTTP {status}: no"):
        ask_one(url)
    assert len(endpoint.asked_at) == 1


def test_tries_are_bounded_and_their_waits_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "FIRST_WAIT_SECONDS", 0.1)
    endpoint = Endpoint(lambda number: PlainTextResponse("busy", 500))
    with serving(endpoint.app()) as url, pytest.raises(Refused, match="HTTP 500: busy"):
        ask_one(url)
    waits = [later - earlier for earlier, later in zip(endpoint.asked_at, endpoint.asked_at[1:], strict=False)]
    assert len(waits) == 3
    assert all(0.05 * 2**index <= wait for index, wait in enumerate(waits))


@pytest.mark.parametrize("header", ["seconds", "date", "milliseconds"])
def test_a_limit_with_a_time_pauses_every_question_for_so_long(header: str) -> None:
    def limit(number: int) -> Response | None:
        stated = {
            "seconds": {"Retry-After": "1"},
            "date": {"Retry-After": formatdate(time.time() + 2, usegmt=True)},
            "milliseconds": {"retry-after-ms": "900", "Retry-After": "30"},
        }
        return PlainTextResponse("slow down", 429, stated[header]) if number == 1 else None

    endpoint = Endpoint(limit)

    async def main(url: str) -> None:
        async with asking(f"{url}/v1") as client:
            first = asyncio.create_task(client.ask({}, 0, read_reply))
            while not endpoint.asked_at:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # its reply has come
            others = [client.ask({}, seed, read_reply) for seed in (1, 2, 3)]
            assert await asyncio.gather(first, *others) == [GOOD] * 4

    with serving(endpoint.app()) as url:
        asyncio.run(main(url))
    assert len(endpoint.asked_at) == 5
    gap = endpoint.asked_at[1] - endpoint.asked_at[0]
    assert 0.85 <= gap < 10


def test_another_trouble_with_a_time_holds_up_its_own_question_alone() -> None:
    endpoint = Endpoint(lambda number: PlainTextResponse("oops", 500, {"Retry-After": "5"}) if number == 1 else None)

    async def main(url: str) -> None:
        async with asking(f"{url}/v1") as client:
            first = asyncio.create_task(client.ask({}, 0, read_reply))
            while not endpoint.asked_at:
                await asyncio.sleep(0.01)
            await client.ask({}, 1, read_reply)
            assert not first.done()
            assert await first == GOOD

    with serving(endpoint.app()) as url:
        asyncio.run(main(url))
    assert endpoint.asked_at[2] - endpoint.asked_at[0] >= 4.75


def test_a_limit_that_is_reached_again_and_again_fails_no_question() -> None:
    """Six questions meet an endpoint that answers every fourth request: each is turned away more often than it may fail."""
    endpoint = Endpoint(lambda number: None if number % 4 == 0 else PlainTextResponse("slow down", 429))
    with serving(endpoint.app()) as url:
        assert ask(url, times=6, max_tries=4) == [GOOD] * 6


def test_a_question_that_is_always_too_much_ends_while_others_are_answered() -> None:
    num_tries = 0

    async def main(url: str) -> None:
        async with asking(f"{url}/v1", max_tries=1) as client:

            def too_much(reply: Any) -> Reply:
                nonlocal num_tries
                num_tries += 1
                client.num_answered += 1  # as if another question had been answered meanwhile
                raise completions._Passing("HTTP 429: too many tokens", 429, 0.0)

            with pytest.raises(Refused, match="too many tokens"):
                await client.ask({}, 0, too_much)

    with serving(Endpoint().app()) as url:
        asyncio.run(main(url))
    assert num_tries == completions.LIMIT_PATIENCE


def test_a_limit_that_never_lifts_ends_after_the_tries() -> None:
    endpoint = Endpoint(lambda number: PlainTextResponse("quota", 429))
    with serving(endpoint.app()) as url:
        outcomes = ask(url, times=3, max_tries=2)
    assert [str(outcome) for outcome in outcomes] == ["HTTP 429: quota"] * 3
    assert len(endpoint.asked_at) == 6


def test_a_slow_try_is_given_up_in_all_even_where_bytes_drip() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    from fastapi.responses import StreamingResponse

    endpoint = Endpoint(lambda number: StreamingResponse(drip()) if number == 1 else None)
    with serving(endpoint.app()) as url:
        began = time.monotonic()
        assert ask_one(url, timeout_seconds=0.5) == GOOD
        assert 0.4 < time.monotonic() - began < 30
        endpoint.asked_at.clear()
        with pytest.raises(Refused, match=r"no answer within 0\.5 seconds"):
            ask_one(url, timeout_seconds=0.5, max_tries=1)


@contextmanager
def dropping(first: bytes) -> Iterator[str]:
    """A server that sends so much of a reply, and ends the connection; from the second time on it answers well."""
    listener = socket.create_server(("127.0.0.1", 0))
    whole = (
        b'{"choices": [{"message": {"content": "four"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}'
    )

    def serve() -> None:
        for piece in (first, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(whole) + whole):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(piece)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread.join(5)
    listener.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices', b"SSH-2.0-OpenSSH\r\n"],
    ids=["at once", "in the header", "in the body", "no HTTP"],
)
def test_a_dropped_connection_is_tried_again(sent: bytes) -> None:
    with dropping(sent) as url:
        assert ask_one(url) == GOOD


def test_nobody_there_is_told_after_the_tries() -> None:
    with serving(Endpoint().app()) as url:
        pass
    with pytest.raises(Refused, match="ConnectError"):
        ask_one(url)
    with pytest.raises(Refused, match="ConnectError"):
        ask_one("http://no-such-host.invalid")
    with pytest.raises(Refused, match="InvalidURL"):
        ask_one("http://[::1")


def test_a_wrong_key_is_told_apart_and_does_not_show() -> None:
    refusals = {401: JSONResponse({"error": f"Incorrect key {KEY[:6]}**"}, 401), 403: JSONResponse({"error": f"{KEY} may not"}, 403)}
    for status, refusal in refusals.items():
        with serving(Endpoint(lambda number, refusal=refusal: refusal).app()) as url, pytest.raises(KeyRefused) as caught:  # type: ignore[misc]
            ask_one(url)
        assert f"HTTP {status}" in str(caught.value)
        assert KEY[:6] not in repr(caught.value)


def test_a_403_after_answers_is_about_the_question() -> None:
    endpoint = Endpoint(lambda number: PlainTextResponse("flagged", 403) if number == 2 else None)

    async def main(url: str) -> None:
        async with asking(f"{url}/v1") as client:
            await client.ask({}, 0, read_reply)
            with pytest.raises(Refused, match="HTTP 403: flagged") as caught:
                await client.ask({}, 1, read_reply)
            assert not isinstance(caught.value, KeyRefused)

    with serving(endpoint.app()) as url:
        asyncio.run(main(url))


def test_what_an_endpoint_echoes_is_told_without_the_key() -> None:
    endpoint = Endpoint(lambda number: PlainTextResponse("x" * 290 + KEY, 400))
    with serving(endpoint.app()) as url, pytest.raises(Refused) as caught:
        ask_one(url)
    assert "sk-" not in str(caught.value)


def test_reasoning_is_kept_apart_and_what_is_not_counted_is_unknown() -> None:
    for field_name in ("reasoning_content", "reasoning"):
        reply = fine()
        reply["choices"][0]["message"][field_name] = "two and two"
        assert read_reply(reply) == Reply("four", "two and two", "stop", 11, 7)
    assert read_reply(fine(message={"content": None, "reasoning": {"no": "text"}})) == Reply("", "", "stop", 11, 7)
    for usage in (None, {}, {"prompt_tokens": None}, {"prompt_tokens": -1, "completion_tokens": 2**40}):
        assert read_reply(fine() | {"usage": usage}) == Reply("four", "", "stop", None, None)


@given(seconds=st.floats(0, 1e9, allow_subnormal=False).map(lambda number: f"{number:.3f}") | st.integers(0, 10**30).map(str))
def test_stated_seconds_are_obeyed_up_to_the_longest_pause(seconds: str) -> None:
    expected = min(float(seconds), LONGEST_PAUSE_SECONDS)
    assert retry_after({"retry-after": f" {seconds} "}, NOW) == expected
    assert retry_after({"retry-after-ms": seconds, "retry-after": "7"}, NOW) == min(float(seconds) / 1000, LONGEST_PAUSE_SECONDS)


@given(ahead=st.integers(-(10**6), 10**6), skew=st.integers(-(10**6), 10**6))
def test_stated_dates_are_measured_by_the_endpoints_own_clock(ahead: int, skew: int) -> None:
    date = formatdate(NOW + skew + ahead, usegmt=True)
    expected = min(max(ahead, 0), LONGEST_PAUSE_SECONDS)
    assert retry_after({"retry-after": date, "date": formatdate(NOW + skew, usegmt=True)}, NOW) == expected
    assert retry_after({"retry-after": date, "date": "soon"}, NOW + skew) == expected


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,4} [A-Z][a-z]{2} [0-9]{1,9} [0-9:]{0,12} [-+A-Z0-9]{0,9}"))
def test_any_other_header_is_no_error_and_no_endless_wait(text: str) -> None:
    for headers in ({"retry-after": text}, {"retry-after-ms": text}, {"retry-after": formatdate(NOW), "date": text}):
        wait = retry_after(headers, NOW)
        assert wait is None or 0 <= wait <= LONGEST_PAUSE_SECONDS
