"""lm-eval's own metrics on responses that are judged already: what its functions say, what they read, and that nothing hangs on them."""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow as pa
import pytest
from command_line import called

from mixray.errors import VerifyError
from mixray.rows import SCORE
from mixray.store import Artefact, Store
from mixray.verify import lm_eval_tasks, verify
from mixray.verify.audit import Totals, disagreements
from mixray.verify.numbers import Opinion
from mixray.verify.pool import shared_pool
from mixray.verify.why import ANOTHER_PART, CUT_OFF, NEITHER, SEVERAL_BOXES

pytest.importorskip("lm_eval")
Capture = pytest.CaptureFixture[str]
MINERVA = r"Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct."


def said(metric: str, gold: str, response: str) -> Opinion:
    return shared_pool("lm-eval").compare([(gold, response)], lm_eval_tasks.PREFIX + metric)[0]


@pytest.mark.parametrize(
    ("metric", "gold", "response", "verdict", "read"),
    [
        ("minerva-math-verify", "0.5", MINERVA, "right", r"\frac{1}{2}"),
        ("minerva-math-verify", "3", r"\boxed{5}, no: \boxed{3}", "wrong", "5,3"),  # boxes that are near are joined
        ("minerva-math-verify", "4", "it is 4", "right", "4"),
        ("minerva-math-verify", "52_8", r"\boxed{52}", "right", "52"),  # the base is lost
        ("minerva-math-verify", "4", "nothing", "wrong", "no_answer"),
        ("hendrycks-exact-match", "18", "$18$", "right", "18"),
        ("hendrycks-exact-match", "18", r"So it is $\boxed{18}$", "wrong", r"\boxed{18}"),
        ("hendrycks-exact-match", "18", "$9 + 9$ is $18$", "wrong", "9 + 9$ is $18"),
        ("aime-exact-match", "025", r"It is $\boxed{025}$.", "right", "025"),
        ("aime-exact-match", "025", r"It is $\boxed{25}$.", "wrong", "25"),  # as text
        ("gsm8k-strict-match", "18", "so\n#### 18", "right", "18"),
        ("gsm8k-strict-match", "18", r"\boxed{18}", "wrong", "no_answer"),
        ("gsm8k-flexible-extract", "1800", "so $1,800", "right", "$1,800"),
        ("gsm8k-flexible-extract", "18", r"$\boxed{18}$", "right", "18"),
        ("gsm8k-flexible-extract", "18", r"$\boxed{18}$.", "wrong", "$."),  # which it takes for a number
        ("gsm8k-cot-strict-match", "18", "The answer is 18.", "right", "18"),
    ],
)
def test_its_own_functions_judge(metric: str, gold: str, response: str, verdict: str, read: str) -> None:
    assert said(metric, gold, response) == (verdict, read)


def test_where_its_code_raises_nothing_is_told() -> None:
    assert said("hendrycks-exact-match", "{18", "$18$") == ("unknown", "raises TypeError")


@pytest.mark.parametrize("metric", ["minerva-math-verify", "aime-exact-match", "gsm8k-flexible-extract"])
def test_no_response_hangs_it(metric: str) -> None:
    began = time.monotonic()
    hostile = [r"\boxed{3^{10^{10^{8}}}}", r"\boxed{" * 5000, "(" * 5000, r"$\sum_{k=1}^{10^{9}} k!$", "9" * 60_000, "$" * 50_000]
    opinions = [said(metric, "5", text) for text in hostile]
    assert {opinion.verdict for opinion in opinions} <= {"wrong", "unknown"}
    assert said(metric, "5", r"\boxed{5}") == ("right", "5")
    assert time.monotonic() - began < 240


def test_a_long_response_is_read_whole() -> None:
    assert said("minerva-math-verify", "5", "thinking " * 60_000 + r"\boxed{5}") == ("right", "5")


@pytest.mark.parametrize(
    ("policy", "told"), [("lm-eval:nonsense", "lm-eval has no such metric here"), ("lm-eval:", "lm-eval:minerva-math-verify")]
)
def test_an_unknown_metric_is_refused(policy: str, told: str) -> None:
    with pytest.raises(VerifyError, match=told):
        list(disagreements([], "stored", policy))


def test_without_lm_eval_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval_tasks, "PACKAGE", "lm_eval_that_is_not_there")
    with pytest.raises(VerifyError, match="lm-eval is not installed"):
        list(disagreements([], "stored", "lm-eval:minerva-math-verify"))


def score(benchmark: str, number: int, gold: str, response: str, finish_reason: str = "stop") -> dict[str, Any]:
    verdict = verify([response], [gold], [finish_reason], benchmark == "gsm8k")[0]
    return dict.fromkeys(SCORE.names) | {
        "benchmark": benchmark, "problem_id": f"p{number}", "sample": 0, "gold": gold, "response": response,
        "finish_reason": finish_reason, "answer": verdict.answer, "verdict": verdict.verdict, "verdict_reason": verdict.verdict_reason,
    }  # fmt: skip


ROWS = [
    score("gsm8k", 0, "18", "It is 18"),
    score("gsm8k", 1, "18", r"It is $\boxed{18}$."),
    score("math", 0, "3", r"First \boxed{2}, then \boxed{3}"),
    score("math", 1, "5", r"so \boxed{5} and", "length"),
    score("math", 2, "7", "I do not know"),
]


@pytest.fixture
def scores(store: Store) -> Artefact:
    made = store.artefact("scores", "arm-s0", {"asked": {"gsm8k": {"unboxed": True}, "math": {"unboxed": False}}})
    with made.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(ROWS, schema=SCORE))
    return made


def test_differences_tell_both_answers_and_why_and_totals_stand_by_benchmark(scores: Artefact) -> None:
    totals: Totals = {}
    unboxed = {"gsm8k": True, "math": False}
    found = {row.trace_id: row for row in disagreements(scores.tables(), "stored", "lm-eval:minerva-math-verify", unboxed, totals)}
    assert sorted(found) == ["math/p0/0", "math/p1/0", "math/p2/0"]
    joined = found["math/p0/0"]
    assert (joined.answer, joined.second_answer, joined.first, joined.second) == ("3", "2,3", "right (same)", "wrong")
    assert [found[f"math/p{number}/0"].why for number in range(3)] == [SEVERAL_BOXES, CUT_OFF, NEITHER]
    math = totals["math"]
    assert (math.num, math.first_right, math.second_right, math.agreed, math.agreed_on_right) == (3, 1, 1, 0, 1)
    assert (totals["gsm8k"].num, totals["gsm8k"].first_right, totals["gsm8k"].agreed) == (2, 2, 2)


def test_the_last_dollar_is_taken_for_a_number(scores: Artefact) -> None:
    (row, *_) = disagreements(scores.tables(), "stored", "lm-eval:gsm8k-flexible-extract", {"gsm8k": True})
    assert (row.trace_id, row.second_answer, row.why) == ("gsm8k/p1/0", "$.", ANOTHER_PART)


def test_the_command_lists_differences_and_totals_of_an_arm(scores: Artefact, capsys: Capture) -> None:
    options = ("--second", "lm-eval:minerva-math-verify", "--storage", scores.store.url)
    assert called("audit", "arm-s0", *options) == 0
    printed = capsys.readouterr().out
    assert ["math/p0/0", "3", "3", "2,3", "right", "(same)", "wrong"] in [line.split() for line in printed.splitlines()]
    assert ["math", "3", "33.3%", "33.3%", "+0.0", "33.33%"] in [line.split() for line in printed.splitlines()]
    assert "judged by lm-eval 0." in printed
    assert printed.endswith("stored and lm-eval:minerva-math-verify disagree on 3 of 5 answers (60.00%)\n")
    assert called("audit", "scores/" + scores.folder, *options, "--json") == 0
    *rows, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["trace_id"] for row in rows] == ["math/p0/0", "math/p1/0", "math/p2/0"]
    assert last["totals"]["math"]["agreed_on_right"] == 1


def test_our_own_policies_judge_an_arm_too(scores: Artefact) -> None:
    assert list(disagreements(scores.tables(), "stored", "mixray", {"gsm8k": True, "math": False})) == []


def test_an_arm_is_judged_again_as_its_benchmarks_are(scores: Artefact, capsys: Capture) -> None:
    judged = scores.store.artefact("scores", "arm-s1", {"asked": "unknown"}, {"scores": scores})
    with judged.staging() as staging:
        staging.write_table("scores.parquet", pa.Table.from_pylist(ROWS, schema=SCORE))
    for arm in ("arm-s0", "arm-s1"):
        assert called("audit", arm, "--second", "mixray", "--storage", scores.store.url) == 0
        assert capsys.readouterr().out.endswith("stored and mixray disagree on 0 of 5 answers (0.00%)\n"), (
            "a number without a box counts in gsm8k"
        )
