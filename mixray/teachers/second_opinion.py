"""A second opinion: a model is asked about answers the rule cannot tell, or about every one it does not accept.

In: a judged pool and who is to be asked. Out: the same pool with the model's verdicts beside the rule's: where a model was asked, its
verdict counts if it has one, `rule_verdict` and `rule_reason` keep what the rule had said, and `verdict_reason` is `judge`. The asking is
a pool like any other (kind `judgements`): exactly once, resumed after a kill, found again. A truncated answer is never asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mixray.progress import StageProgress
from mixray.quarantine import Quarantine
from mixray.recipe import LlmJudge
from mixray.rows import PROBLEM, TRACE
from mixray.store import Artefact, Store
from mixray.teachers import pools
from mixray.teachers.engine import Engine, VllmEngine
from mixray.teachers.figures import Figures, judged_anew
from mixray.teachers.work import Rule

JUDGEMENTS = "judgements"
ROWS_PER_TABLE = 2000


@dataclass(frozen=True)
class Asking:
    """How a judge is asked and understood; `version` names both in hashes."""

    question: Callable[[str, str, str], str]
    """(problem, gold, response) to what the judge reads."""
    rule: Rule
    """Reads the judge's word as a verdict."""


def handle(store: Store, name: str, pool: Artefact, judge: LlmJudge, seed: int, asking: Asking) -> Artefact:
    """Return the handle of a pool with second opinions, made or not."""
    return store.artefact(
        pools.KIND, name, {"asked": judge.asked}, {"pool": pool, "judgements": _asked(store, name, pool, judge, seed, asking)}
    )


def _doubts(store: Store, name: str, pool: Artefact, judge: LlmJudge, asking: Asking) -> Artefact:
    return store.artefact("problems", f"{name}-doubts", {"asked": judge.asked, "policy": asking.rule.policy}, {"pool": pool})


def _asked(store: Store, name: str, pool: Artefact, judge: LlmJudge, seed: int, asking: Asking) -> Artefact:
    doubts = _doubts(store, name, pool, judge, asking)
    return pools.handle(store, name, judge.teacher, doubts, seed, asking.rule, JUDGEMENTS)


def run(
    store: Store,
    name: str,
    pool: Artefact,
    judge: LlmJudge,
    seed: int,
    asking: Asking,
    progress: StageProgress,
    engine: type[Engine] = VllmEngine,
) -> Artefact:
    """Return `pool` with second opinions, made if it is not there.

    Raises:
        TeacherError: the judge does not load or run, or too many of its answers failed.
    """
    judged = handle(store, name, pool, judge, seed, asking)
    with judged.lock():
        if judged.is_done():
            return judged
        doubts = _doubts(store, name, pool, judge, asking)
        if not doubts.is_done():
            _write_doubts(doubts, pool, judge, asking)
        opinions: dict[str, str] = {}
        spent = {"judge_response_tokens": 0, "judge_cost": 0.0, "judge_currency": judge.teacher.price.currency}
        if doubts.outcome["num_problems"]:
            answered = pools.run(store, name, judge.teacher, doubts, seed, asking.rule, progress, engine, JUDGEMENTS)
            for table in answered.tables(["problem_id", "verdict"]):
                opinions |= zip(*(table[column].to_pylist() for column in ("problem_id", "verdict")), strict=True)
            spent |= {"judge_response_tokens": answered.outcome["response_tokens"], "judge_cost": answered.outcome["cost"]}
        _write(judged, pool, opinions, spent)
    return judged


def _in_doubt(trace: dict[str, Any], judge: LlmJudge) -> bool:
    asked = ("unknown",) if judge.asked == "unknown" else ("unknown", "wrong")
    return trace["verdict"] in asked and trace["status"] == "ok" and bool(trace["gold"])


def _write_doubts(doubts: Artefact, pool: Artefact, judge: LlmJudge, asking: Asking) -> None:
    num_problems = 0
    with doubts.staging() as staging:
        for index, table in enumerate(pool.tables()):
            rows = [
                {
                    "problem_id": trace["trace_id"],
                    "question": asking.question(trace["question"], trace["gold"], trace["response"]),
                    "answer": "right",
                    "subject": trace["subject"],
                    "level": trace["level"],
                }
                for trace in table.to_pylist()
                if _in_doubt(trace, judge)
            ]
            num_problems += len(rows)
            staging.write_table(f"part-{index:05d}.parquet", pa.Table.from_pylist(rows, schema=PROBLEM))
        staging.outcome = {"num_problems": num_problems, "num_set_aside": 0}


def _write(judged: Artefact, pool: Artefact, opinions: dict[str, str], spent: dict[str, Any]) -> None:
    figures = Figures()
    with judged.staging() as staging:
        for index, table in enumerate(_with_opinions(pool, opinions)):
            figures.add(table)
            staging.write_table(f"part-{index:05d}.parquet", table)
        Quarantine.of(pool).write_into(staging.folder)
        staging.outcome = judged_anew(pool.outcome, figures) | spent


def _with_opinions(pool: Artefact, opinions: dict[str, str]) -> Iterator[pa.Table]:
    for table in pool.tables():
        rows = table.to_pylist()
        for row in rows:
            opinion = opinions.get(row["trace_id"])
            if opinion is not None:
                row |= {"rule_verdict": row["verdict"], "rule_reason": row["verdict_reason"], "judge_verdict": opinion}
                if opinion != "unknown":
                    row |= {"verdict": opinion, "verdict_reason": "judge"}
        yield pa.Table.from_pylist(rows, schema=TRACE)
