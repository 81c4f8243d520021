"""A pool made by an endpoint, from problems to files: every question ends, none is paid for twice, the key is nowhere to be found."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import RULE, make_problems
from loopback import serving
from misbehaving_endpoint import NUM_PROMPT_TOKENS, NUM_RESPONSE_TOKENS, MisbehavingEndpoint

from mixray.errors import TeacherError
from mixray.progress import StageProgress
from mixray.recipe import RemoteTeacher, Until
from mixray.store import Artefact, Store
from mixray.teachers import run

KEY = "sk-n0body-may-see-this"
WORDS = ["well", "429", "500-once", "torn-once", "dropped-once", "think", "uncounted", "cut", "empty", "filter", "refuse", "overloaded"]
ENDS_WELL = {"well", "429", "500-once", "torn-once", "dropped-once", "think", "uncounted"}

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> MisbehavingEndpoint:
    monkeypatch.setenv("TEST_TEACHER_KEY", KEY)
    return MisbehavingEndpoint(key=KEY, retry_after="1")


@pytest.fixture
def url(endpoint: MisbehavingEndpoint) -> Iterator[str]:
    with serving(endpoint.app()) as url:
        yield f"{url}/v1"


def remote(url: str, **settings: Any) -> RemoteTeacher:
    defaults = {
        "model": "big",
        "key_env": "TEST_TEACHER_KEY",
        "max_tries": 2,
        "timeout_seconds": 20,
        "max_failed_share": 1,
        "block_rows": 4,
    }
    return RemoteTeacher(endpoint=url, **defaults | settings)


def asked(store: Store, teacher: RemoteTeacher, questions: list[str], quiet: StageProgress) -> Artefact:
    return run(store, "far", teacher, make_problems(store, questions), 0, RULE, quiet)


def test_every_question_ends_in_a_row_and_is_paid_for_once(
    store: Store, quiet: StageProgress, url: str, endpoint: MisbehavingEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    questions = [f"{word} {index}?" for index, word in enumerate(WORDS)]
    teacher = remote(url, price={"prompt_per_million_tokens": 1000, "response_per_million_tokens": 2000, "currency": "EUR"})
    with caplog.at_level(logging.DEBUG):
        pool = asked(store, teacher, questions, quiet)
    rows = {row["question"].split()[0]: row for row in pool.read_table().to_pylist()}
    assert [row["problem_id"] for row in rows.values()] == [f"p{index}" for index in range(len(WORDS))]
    told = {word: (row["status"], row["verdict"], row["verdict_reason"]) for word, row in rows.items()}
    assert {word for word, (*_, reason) in told.items() if reason == "same"} == ENDS_WELL
    assert {word: told[word] for word in WORDS if word not in ENDS_WELL} == {
        "cut": ("truncated", "wrong", "truncated"),
        "empty": ("empty", "unknown", "empty"),
        "filter": ("error", "unknown", "error"),
        "refuse": ("error", "unknown", "error"),
        "overloaded": ("error", "unknown", "error"),
    }
    assert "refused on cue" in rows["refuse"]["error"]
    assert rows["filter"]["error"] == "it was ended: content_filter"
    assert rows["think"]["response"].startswith("<think>")
    assert rows["well"]["engine"] == "openai-compatible 127.0.0.1"
    assert [rows[word]["num_response_tokens"] for word in ("well", "uncounted", "refuse")] == [NUM_RESPONSE_TOKENS, 0, 0]

    out = pool.outcome
    counted = sum(row["num_response_tokens"] > 0 for row in rows.values())
    assert out["cost"] == pytest.approx(counted * (NUM_PROMPT_TOKENS * 1000 + NUM_RESPONSE_TOKENS * 2000) / 1e6)
    assert out["cost_per_accepted_trace"] == pytest.approx(out["cost"] / len(ENDS_WELL))
    assert (out["currency"], out["compute"]) == ("EUR", "none")

    waits = [at for at, body in zip(endpoint.asked_at, endpoint.bodies, strict=True) if body["messages"][-1]["content"].startswith("429")]
    assert len(waits) == 2
    assert waits[1] - waits[0] >= 1, "Retry-After is obeyed"
    assert endpoint.counts["overloaded 11?"] == 2, "max_tries"
    assert endpoint.counts["refuse 10?"] == endpoint.counts["well 0?"] == 1

    places = [path for path in Path(store.root).rglob("*") if path.is_file()]
    assert not [path for path in places if KEY.encode() in path.read_bytes()]
    assert KEY not in caplog.text

    # The pool is lost, its replies are not: what ended well is not asked again.
    before, n_asked = pool.read_table(), endpoint.counts.copy()
    shutil.rmtree(pool.path)
    again = asked(store, teacher, questions, quiet)
    assert again == pool
    more = {question.split()[0] for question in (endpoint.counts - n_asked)}
    assert more == {"empty", "filter", "refuse", "overloaded"}
    kept = [column for column in before.column_names if column != "seconds"]
    assert again.read_table(kept).equals(before.select(kept))


def test_a_problem_is_asked_until_enough_are_right_and_a_refused_one_no_further(
    store: Store, quiet: StageProgress, url: str, endpoint: MisbehavingEndpoint
) -> None:
    teacher = remote(url, until=Until(right=2, at_most=4), temperature=1, cache=False)
    pool = asked(store, teacher, ["well 0?", "cut 1?", "refuse 2?"], quiet)
    assert endpoint.counts == {"well 0?": 2, "cut 1?": 4, "refuse 2?": 2}
    assert [row["trace_id"] for row in pool.read_table().to_pylist()] == [
        "p0/far/0", "p0/far/1", "p1/far/0", "p1/far/1", "p1/far/2", "p1/far/3", "p2/far/0", "p2/far/1",
    ]  # fmt: skip
    seeds = [body["seed"] for body in endpoint.bodies]
    assert len(set(seeds)) == len(seeds)
    assert not Path(store.root, ".replies").exists()


def test_a_refused_key_ends_the_pool_at_once_and_names_only_the_variable(
    store: Store, quiet: StageProgress, url: str, endpoint: MisbehavingEndpoint
) -> None:
    endpoint.key = "another"
    with pytest.raises(TeacherError) as told:
        asked(store, remote(url), [f"well {index}?" for index in range(8)], quiet)
    assert "An endpoint refuses the key" in str(told.value)
    assert "TEST_TEACHER_KEY" in str(told.value)
    assert KEY not in str(told.value)


def test_without_a_key_nothing_starts(
    store: Store, quiet: StageProgress, url: str, endpoint: MisbehavingEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_TEACHER_KEY")
    with pytest.raises(TeacherError, match="The environment variable TEST_TEACHER_KEY is not set"):
        asked(store, remote(url), ["well 0?"], quiet)
    assert not endpoint.bodies
