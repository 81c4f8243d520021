"""A teacher behind a real HTTP endpoint on loopback that misbehaves on cue: every question ends, is paid for once, and shows no key."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from loopback import serving
from misbehaving_endpoint import FINE, NUM_PROMPT_TOKENS, NUM_RESPONSE_TOKENS, MisbehavingEndpoint

from mixray import completions
from mixray.chat import Messages, ask
from mixray.errors import TeacherError
from mixray.recipe import RemoteTeacher
from mixray.reply import Reply
from mixray.store import Store
from mixray.teachers.endpoint import EndpointSource, answer, read_key, request_body
from mixray.teachers.replies import Replies
from mixray.teachers.source import BadRequest, Source, TeacherAnswer

KEY = "sk-t0p-s3cret"
WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("TEST_TEACHER_KEY", KEY)


@pytest.fixture
def endpoint() -> MisbehavingEndpoint:
    return MisbehavingEndpoint(key=KEY)


@pytest.fixture
def url(endpoint: MisbehavingEndpoint) -> Iterator[str]:
    with serving(endpoint.app()) as url:
        yield f"{url}/v1"


def remote(url: str, **settings: Any) -> RemoteTeacher:
    defaults = {"model": "big", "key_env": "TEST_TEACHER_KEY", "max_tries": 3, "timeout_seconds": 60, "concurrency": 4}
    return RemoteTeacher(endpoint=url, **defaults | settings)


def source(teacher: RemoteTeacher, replies: Replies | None = None) -> EndpointSource:
    return EndpointSource(teacher, read_key(teacher), replies)


def question(text: str) -> Messages:
    return ask(text)


def outcomes(asked: Source, texts: list[str], seed: int = 0) -> list[TeacherAnswer | Exception]:
    futures = [asked.ask(question(text), seed + index) for index, text in enumerate(texts)]
    return [future.exception(WAIT_SECONDS) or future.result() for future in futures]  # type: ignore[misc]


def texts_of(answers: list[TeacherAnswer | Exception]) -> list[str]:
    return [one.text if isinstance(one, TeacherAnswer) else repr(one) for one in answers]


def test_what_is_asked_comes_back_with_its_counts_and_under_a_name(url: str, endpoint: MisbehavingEndpoint) -> None:
    teacher = remote(url, system_prompt="Be brief.", temperature=0.7, top_p=0.9, max_tokens=50)
    with closing(source(teacher)) as asked:
        future = asked.ask(ask("well 2+2?", system_prompt="Be brief."), 17)
        found = future.result(WAIT_SECONDS)
        assert asked.name == "openai-compatible 127.0.0.1"
        assert len(asked.template) == 8
        assert not asked.opens_thinking
    assert (found.text, found.finish_reason) == (FINE, "stop")
    assert (found.num_prompt_tokens, found.num_response_tokens) == (NUM_PROMPT_TOKENS, NUM_RESPONSE_TOKENS)
    assert 0 < found.seconds < WAIT_SECONDS
    assert endpoint.bodies == [
        {
            "model": "big",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "well 2+2?"}],
            "seed": 17,
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 50,
        }
    ]
    assert endpoint.keys == {f"Bearer {KEY}"}


def test_sampling_goes_over_the_rest_null_is_not_sent_and_the_newer_limit_replaces_the_older() -> None:
    def fields(**sampling: Any) -> dict[str, Any]:
        return request_body(remote("http://127.0.0.1/v1", sampling=sampling), question("2+2?"), 3)

    assert fields(top_k=20, reasoning_effort="low").items() >= {"top_k": 20, "reasoning_effort": "low", "max_tokens": 4096}.items()
    assert {"max_tokens", "seed", "top_p"} & set(fields(max_completion_tokens=9, seed=None, top_p=None)) == set()
    assert fields(max_completion_tokens=9)["max_completion_tokens"] == 9
    assert not {"stop", "stream", "top_k"} & set(fields())


@pytest.mark.parametrize("sampling", [{"stream": True}, {"n": 4}, {"model": "x"}, {"x": float("nan")}, {"x": {1}}])
def test_sampling_that_cannot_be_sent_is_told_before_anything_starts(sampling: dict[str, Any]) -> None:
    with pytest.raises(TeacherError, match="sampling"):
        read_key(remote("http://127.0.0.1/v1", sampling=sampling))


def test_the_template_covers_the_model_and_what_is_put_around_a_question() -> None:
    changes: list[dict[str, Any]] = [{}, {"model": "other"}, {"system_prompt": "Hm."}, {"prompt_template": "Q: {question}"}]
    templates = []
    for change in changes:
        with closing(source(remote("http://127.0.0.1/v1", **change))) as asked:
            templates.append(asked.template)
    assert len(set(templates)) == len(changes)
    with closing(source(remote("http://user:pass@127.0.0.1:99/v1", concurrency=1))) as asked:
        assert (asked.template, asked.name) == (templates[0], "openai-compatible 127.0.0.1")


@pytest.mark.parametrize("concurrency", [1, 5, completions.POOL_CONNECTIONS + 4])
def test_no_more_questions_are_in_flight_than_allowed_and_as_many(url: str, endpoint: MisbehavingEndpoint, concurrency: int) -> None:
    endpoint.work_seconds, endpoint.hold_until = 0.05, concurrency
    with closing(source(remote(url, concurrency=concurrency))) as asked, ThreadPoolExecutor(6) as threads:
        futures = list(threads.map(lambda number: asked.ask(question(f"well {number}"), number), range(40)))
        assert {future.result(WAIT_SECONDS).text for future in futures} == {FINE}
    assert endpoint.most_in_flight == concurrency


def test_troubles_that_pass_are_waited_out(url: str, endpoint: MisbehavingEndpoint) -> None:
    endpoint.retry_after = "1"
    texts = ["429 a", "500-once b", "torn-once c", "dropped-once d", "well e"]
    with closing(source(remote(url))) as asked:
        began = time.monotonic()
        assert texts_of(outcomes(asked, texts)) == [FINE] * 5
        assert time.monotonic() - began >= 0.95
    assert endpoint.counts == Counter({text: 1 if text == "well e" else 2 for text in texts})


def test_what_is_refused_or_never_passes_is_told_for_its_question_alone(url: str, endpoint: MisbehavingEndpoint) -> None:
    endpoint.slow_seconds = 60.0
    texts = ["refuse a", "missing b", "overloaded c", "shapeless d", "error-inside e", "slow f", "well g"]
    with closing(source(remote(url, timeout_seconds=5, max_tries=2))) as asked:
        found = outcomes(asked, texts)
    assert all(isinstance(one, BadRequest) for one in found[:-1])
    assert [str(one) for one in found[:3]] == ["HTTP 400: refused on cue", "HTTP 404: no such model", "HTTP 503: full"]
    assert "choices" in str(found[3])
    assert "upstream is gone" in str(found[4])
    assert str(found[5]) == "no answer within 5 seconds"
    assert texts_of(found[-1:]) == [FINE]
    assert [endpoint.counts[text] for text in texts] == [1, 1, 2, 2, 2, 2, 1]


def test_nobody_there_is_a_refusal_with_its_reason() -> None:
    with serving(MisbehavingEndpoint().app()) as url:
        pass
    for address in (url, "http://no-such-host.invalid/v1"):
        with closing(source(remote(address))) as asked:
            (found,) = outcomes(asked, ["well"])
        assert isinstance(found, BadRequest)
        assert "ConnectError" in str(found)


def test_odd_answers_are_answers(url: str) -> None:
    with closing(source(remote(url))) as asked:
        empty, looping, cut, filtered, thinking, uncounted = outcomes(asked, ["empty", "loop", "cut", "filter", "think", "uncounted"])
    assert texts_of([empty, cut]) == [" ", "it is \\box"]
    assert [getattr(one, "finish_reason", "") for one in (empty, looping, cut, filtered)] == ["stop", "length", "length", "content_filter"]
    assert texts_of([thinking]) == [f"<think>\ntwo and two\n</think>\n\n{FINE}"]
    assert isinstance(uncounted, TeacherAnswer)
    assert (uncounted.text, uncounted.num_prompt_tokens, uncounted.num_response_tokens) == (FINE, 0, 0)


def test_thinking_is_put_where_the_model_would_have_written_it() -> None:
    def text(content: str, reasoning: str = "", finish_reason: str = "stop", tags: tuple[str, str] = ("<t>", "</t>")) -> str:
        return answer(Reply(content, reasoning, finish_reason, 1, 1), tags, 0.5).text

    assert text("4", "2+2") == "<t>\n2+2\n</t>\n\n4"
    assert text("4", "2+2", "length") == "<t>\n2+2\n</t>\n\n4"
    assert text("", "2+2", "length") == "<t>\n2+2"  # cut off while thinking
    assert text("", "2+2") == "<t>\n2+2\n</t>\n\n"
    assert text("2+2</t>4") == "<t>2+2</t>4"  # the endpoint's prompt had opened it
    assert text("<t>2+2</t>4") == "<t>2+2</t>4"
    assert text("4") == "4"
    assert text("2+2</t>4", tags=("", "")) == "2+2</t>4"


def test_a_wrong_key_ends_every_question_with_one_clear_error(
    url: str, endpoint: MisbehavingEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEST_TEACHER_KEY", "sk-wr0ng")
    with closing(source(remote(url), Replies(Store(str(tmp_path))))) as asked:
        found = outcomes(asked, [f"well {number}" for number in range(100)])
    assert all(isinstance(one, TeacherError) for one in found)
    assert sum(endpoint.counts.values()) <= 4  # those that were in flight
    told = str(pickle.loads(pickle.dumps(found[0])))
    assert "TEST_TEACHER_KEY" in told
    assert "127.0.0.1: HTTP 401" in told
    assert not any("sk-wr0ng" in str(one) + repr(one) for one in found)


def test_an_endpoint_that_wants_a_key_where_none_is_named_says_so(url: str) -> None:
    with closing(source(remote(url, key_env=None))) as asked:
        (found,) = outcomes(asked, ["well"])
    assert isinstance(found, TeacherError)
    assert "key_env" in str(found)


@pytest.mark.parametrize("value", [None, "", " \n", "two words", "ключ", "a\nb"])
def test_a_key_that_is_not_there_or_cannot_be_sent_is_told_by_its_variable(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_TEACHER_KEY")
    if value is not None:
        monkeypatch.setenv("TEST_TEACHER_KEY", value)
    with pytest.raises(TeacherError, match="TEST_TEACHER_KEY") as caught:
        read_key(remote("http://127.0.0.1/v1"))
    assert caught.value.exit_code == 1
    assert not (value or "").strip() or value not in str(caught.value)


def test_a_key_travels_but_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TEACHER_KEY", f"{KEY}\n")
    key = read_key(remote("http://127.0.0.1/v1"))
    assert pickle.loads(pickle.dumps(key)).value == KEY
    assert KEY not in f"{key} {key!r} {[key]}"
    with pytest.raises(TeacherError, match="URL cannot be read"):
        read_key(remote("http://[::1"))


def test_the_key_is_in_no_file_log_or_error(
    url: str, endpoint: MisbehavingEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Store(str(tmp_path))
    texts = ["well", "refuse", "missing", "500-once", "429", "filter", "shapeless"]
    with closing(source(remote(url), Replies(store))) as asked:
        found = outcomes(asked, texts)
        endpoint.key = "changed"
        found += outcomes(asked, ["well again"])
        shown = [repr(found), *map(str, found), repr(asked), asked.name, asked.template]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) == 3
    shown += [str(path) + path.read_text() for path in kept]
    shown += [caplog.text, *capfd.readouterr()]
    assert not [text for text in shown if KEY in text]
    assert isinstance(found[-1], TeacherError)


def test_what_was_answered_is_not_asked_again(url: str, endpoint: MisbehavingEndpoint, tmp_path: Path) -> None:
    replies = Replies(Store(str(tmp_path)))
    teacher, texts = remote(url), [f"well {number}" for number in range(30)] + ["think"]
    with closing(source(teacher, replies)) as asked:
        first = outcomes(asked, texts)
    again = teacher.model_copy(update={"concurrency": 1, "key_env": None, "think_tags": ("[", "]")})
    with closing(source(again, replies)) as asked:
        second = outcomes(asked, texts)
    assert sum(endpoint.counts.values()) == len(texts)
    assert first[:-1] == second[:-1]
    assert texts_of(second)[-1] == f"[\ntwo and two\n]\n\n{FINE}"
    with closing(source(teacher, replies)) as asked:
        outcomes(asked, texts[:1], seed=99)  # another sample is another question
        outcomes(asked, texts[1:2], seed=1)
    assert endpoint.counts == Counter(texts) + Counter(texts[:1])


def test_failures_and_torn_entries_are_asked_again(url: str, endpoint: MisbehavingEndpoint, tmp_path: Path) -> None:
    replies = Replies(Store(str(tmp_path)))
    texts = ["well", "refuse", "filter", "empty"]
    for _ in range(2):
        with closing(source(remote(url), replies)) as asked:
            outcomes(asked, texts)
        (entry,) = [path for path in tmp_path.rglob("*") if path.is_file()]
        entry.write_bytes(entry.read_bytes()[:50])
    assert endpoint.counts == Counter(dict.fromkeys(texts, 2))


def test_answers_arrive_though_the_cache_can_neither_be_read_nor_written(
    url: str, endpoint: MisbehavingEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".replies").write_text("a file in the way")
    with closing(source(remote(url), Replies(Store(str(tmp_path))))) as asked:
        assert texts_of(outcomes(asked, ["well", "well again"])) == [FINE, FINE]
    assert endpoint.counts == Counter(["well", "well again"])
    assert caplog.text.count("cannot be read") == caplog.text.count("cannot be kept") == 2


CHILD = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
import test_endpoint_source as here
asked = here.source(here.remote({url!r}), here.Replies(here.Store({store!r})))
here.outcomes(asked, [f"well {{number}}" for number in range(200)])
"""


def test_kill_9_pays_twice_for_no_reply_that_was_kept(url: str, endpoint: MisbehavingEndpoint, tmp_path: Path) -> None:
    endpoint.work_seconds = 0.05
    here = Path(__file__).parent
    code = CHILD.format(tests=str(here.parent), here=str(here), url=url, store=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    while sum(endpoint.counts.values()) < 25:
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = len(list(tmp_path.rglob("*.json")))
    asked_before = endpoint.counts.copy()
    assert kept >= 25 - 2 * 4  # four were in flight, and four at most on their way to the disk
    with closing(source(remote(url), Replies(Store(str(tmp_path))))) as asked:
        assert set(texts_of(outcomes(asked, [f"well {number}" for number in range(40)]))) == {FINE}
    twice = [text for text, count in endpoint.counts.items() if count > 1]
    assert len(twice) <= sum(asked_before.values()) - kept


def test_close_gives_up_what_is_asked_and_leaves_no_thread(url: str, endpoint: MisbehavingEndpoint, tmp_path: Path) -> None:
    endpoint.slow_seconds = 60.0
    before = set(threading.enumerate())
    asked = source(remote(url, concurrency=2), Replies(Store(str(tmp_path))))
    futures: list[Future[TeacherAnswer]] = [asked.ask(question(f"slow {number}"), number) for number in range(20)]
    while endpoint.in_flight < 2:
        time.sleep(0.01)
    began = time.monotonic()
    asked.close()
    asked.close()
    assert time.monotonic() - began < 30
    futures.append(asked.ask(question("well"), 0))
    assert all(isinstance(future.exception(30), CancelledError) for future in futures)
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert not [name for name in left if name.startswith(("mixray", "asyncio"))]


def test_a_source_that_cannot_start_says_so_and_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "no://proxy")
    with pytest.raises(ValueError, match="proxy"):
        source(remote("http://127.0.0.1/v1"))
    assert "mixray-endpoint" not in [thread.name for thread in threading.enumerate()]
