"""A model's second opinion: asked only where the rule leaves doubt, kept beside the rule's verdict, never taken for more than it says."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from asking import make_problems
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from loopback import serving
from misbehaving_endpoint import reply
from pydantic import ValidationError

from mixray.errors import TeacherError
from mixray.judging import asking
from mixray.progress import StageProgress
from mixray.recipe import ImportedTeacher, LlmJudge, RemoteTeacher
from mixray.store import Artefact, Store
from mixray.teachers import Rule, run, second_opinion, shelf
from mixray.verify import Verdict
from mixray.verify.audit import disagreements

# The first word is what the rule says, the second what the judge does.
TEXTS = ["right True", "right False", "wrong True", "wrong False", "unknown True", "unknown False", "unknown mumble", "unknown cut"]
CUT_OFF, EMPTY = "wrong True truncated", ""


def by_first_word(responses: Any, golds: Any, reasons: Any, unboxed: bool) -> list[Verdict]:
    said = [(text.split() or ["unknown"])[0] for text in responses]
    return [Verdict(word, f"rule says {word}", text) for word, text in zip(said, responses, strict=True)]  # type: ignore[arg-type]


@dataclass
class JudgeEndpoint:
    """Says the second word of the answer it is shown."""

    asked: Counter[str] = field(default_factory=Counter)
    down: bool = False

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            prompt = (await request.json())["messages"][-1]["content"]
            shown = re.search(r"<given_answer>\n(.*)\n</given_answer>", prompt, re.DOTALL)
            assert shown is not None
            self.asked[shown[1]] += 1
            word = shown[1].split()[1]
            if self.down and word == "False":
                return PlainTextResponse("full", 503)
            return reply("Tr", "length") if word == "cut" else reply(f"It is {word}.", "stop")

        return app


@pytest.fixture
def endpoint() -> JudgeEndpoint:
    return JudgeEndpoint()


@pytest.fixture
def url(endpoint: JudgeEndpoint) -> Iterator[str]:
    with serving(endpoint.app()) as url:
        yield f"{url}/v1"


def a_judge(url: str, asked: str = "unknown", **settings: Any) -> LlmJudge:
    teacher = {"endpoint": url, "model": "judge", "max_tries": 1, "max_failed_share": 1, "price": {"response_per_million_tokens": 1000}}
    return LlmJudge(teacher=RemoteTeacher(**teacher | settings), asked=asked)  # type: ignore[arg-type]


@pytest.fixture
def pool(store: Store, quiet: StageProgress, tmp_path: Path) -> Artefact:
    return made(store, quiet, tmp_path, [*TEXTS, CUT_OFF, EMPTY])


def made(store: Store, quiet: StageProgress, folder: Path, texts: list[str]) -> Artefact:
    problems = make_problems(store, [f"{n}?" for n in range(len(texts))])
    rows = [{"id": f"p{n}", "response": text, "end": "length" if text == CUT_OFF else "stop"} for n, text in enumerate(texts)]
    (folder / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = ImportedTeacher(traces=str(folder / "old.jsonl"), columns={"problem_id": "id", "finish_reason": "end"})
    return run(store, "old", teacher, problems, 0, Rule(by_first_word, "by word", unboxed=False), quiet)


def second(pool: Artefact, judge: LlmJudge, quiet: StageProgress) -> Artefact:
    return second_opinion.run(pool.store, "old", pool, judge, 0, asking(), quiet)


def verdicts(pool: Artefact) -> dict[str, tuple[str, str | None, str | None]]:
    """Return {response: (verdict, the rule's verdict where a judge was asked, the judge's)}."""
    return {row["response"]: (row["verdict"], row["rule_verdict"], row["judge_verdict"]) for row in pool.read_table().to_pylist()}


UNASKED = {text: (text.split()[0], None, None) for text in (*TEXTS, CUT_OFF)} | {EMPTY: ("unknown", None, None)}
UNKNOWN_ASKED = {
    "unknown True": ("right", "unknown", "right"),
    "unknown False": ("wrong", "unknown", "wrong"),
    "unknown mumble": ("unknown", "unknown", "unknown"),
    "unknown cut": ("unknown", "unknown", "unknown"),
}
WRONG_ASKED = {"wrong True": ("right", "wrong", "right"), "wrong False": ("wrong", "wrong", "wrong")}


@pytest.mark.usefixtures("ray_cluster")
def test_what_the_rule_cannot_tell_the_judge_is_asked_and_both_are_kept(
    pool: Artefact, url: str, endpoint: JudgeEndpoint, quiet: StageProgress
) -> None:
    judge = a_judge(url)
    judged = second(pool, judge, quiet)
    assert verdicts(judged) == UNASKED | UNKNOWN_ASKED
    assert endpoint.asked == dict.fromkeys(UNKNOWN_ASKED, 1)
    assert verdicts(pool) == UNASKED, "the first pool stays as it is"
    by_text = {row["response"]: row for row in judged.read_table().to_pylist()}
    assert [by_text[text]["verdict_reason"] for text in ("unknown True", "unknown mumble", "right True")] == [
        "judge", "rule says unknown", "rule says right",
    ]  # fmt: skip
    assert {by_text[text]["rule_reason"] for text in UNKNOWN_ASKED} == {"rule says unknown"}

    out = judged.outcome
    assert {name: out[name] for name in ("right", "wrong", "unknown", "judged", "right_by_judge", "accepted")} == {
        "right": 3, "wrong": 4, "unknown": 3, "judged": 4, "right_by_judge": 1, "accepted": 3,
    }  # fmt: skip
    assert out["judge_cost"] == pytest.approx(out["judge_response_tokens"] * 1000 / 1e6)
    assert out["judge_response_tokens"] > 0
    assert pool.outcome["judged"] == 0

    listed = {(row.first, row.second) for row in disagreements(judged.tables(), "rule", "judge")}
    assert listed == {("unknown (rule says unknown)", "right (judge)"), ("unknown (rule says unknown)", "wrong (judge)")}
    assert not list(disagreements(pool.tables(), "rule", "judge"))

    assert {item.hash for item in shelf.pools(pool.store)} == {pool.hash, judged.hash}, "the asking is no pool of its own"
    assert not shelf.counts_unboxed(judged)
    assert second(pool, judge, quiet) == judged
    assert endpoint.asked.total() == 4, "found, not asked again"


@pytest.mark.usefixtures("ray_cluster")
def test_as_in_the_paper_every_row_the_rule_does_not_accept_may_be_asked_and_an_asking_that_broke_off_goes_on(
    pool: Artefact, url: str, endpoint: JudgeEndpoint, quiet: StageProgress
) -> None:
    judge = a_judge(url, "not_right", max_failed_share=0.4, block_rows=1)
    endpoint.down = True
    with pytest.raises(TeacherError, match="Too many of a teacher's answers failed"):
        second(pool, judge, quiet)
    assert not second_opinion.handle(pool.store, "old", pool, judge, 0, asking()).is_done()
    endpoint.down = False
    first = endpoint.asked.copy()
    judged = second(pool, judge, quiet)
    assert verdicts(judged) == UNASKED | UNKNOWN_ASKED | WRONG_ASKED
    assert set(first) == {*UNKNOWN_ASKED, *WRONG_ASKED}, "what was cut off or is empty is never asked about, nor what is right"
    assert endpoint.asked - first == {"wrong False": 1, "unknown False": 1}
    assert (judged.outcome["judged"], judged.outcome["right_by_judge"]) == (6, 2)


def test_where_nothing_is_in_doubt_no_judge_is_started(
    store: Store, quiet: StageProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    pool = made(store, quiet, tmp_path, ["right True", "wrong True", CUT_OFF, EMPTY])
    judge = a_judge("http://127.0.0.1:9/v1", key_env="NO_SUCH_KEY")  # neither a cluster, nor a key, nor an endpoint is there
    judged = second(pool, judge, quiet)
    assert judged.read_table().equals(pool.read_table())
    assert (judged.outcome["judged"], judged.outcome["judge_cost"]) == (0, 0)
    assert shelf.find(store, pool.name) == judged, "of the two, the one with the opinions is meant"


def test_whom_the_judge_is_asked_about_and_how_it_is_understood_make_another_pool(pool: Artefact, url: str) -> None:
    def hash_of(judge: LlmJudge, policy: str = asking().rule.policy) -> str:
        asked = second_opinion.Asking(asking().question, Rule(asking().rule.verify, policy, unboxed=False))
        return second_opinion.handle(pool.store, "old", pool, judge, 0, asked).hash

    assert hash_of(a_judge(url)) == hash_of(a_judge(url, concurrency=3, max_tries=5))
    judges = [a_judge(url), a_judge(url, "not_right"), a_judge(url, model="another"), a_judge(url, system_prompt="Be strict.")]
    assert len({pool.hash, *map(hash_of, judges), hash_of(a_judge(url), "another")}) == 6


@pytest.mark.parametrize("settings", [{"num_samples": 2}, {"until": {"right": 1, "at_most": 3}}])
def test_a_judge_gives_one_opinion(settings: dict[str, Any], url: str) -> None:
    with pytest.raises(ValidationError, match="one opinion on each answer"):
        a_judge(url, temperature=1, **settings)
