"""The card of a pool: a data set's README.md, for the traces of one teacher.

In: a pool. Out: text. The figures are those of its manifest, which the report reads, too.
"""

from __future__ import annotations

from typing import Any

from mixray.card import NOTHING, cell, columns_table, data_set_head, license_told, page, table, teacher, teachers_table
from mixray.errors import TeacherError
from mixray.hub import check_license
from mixray.store import Artefact
from mixray.teachers.shelf import EXPORTED
from mixray.teachers.words import strata

SHARDS = "*.parquet"
"""As `mixray pool export` writes them, beside the card."""
SAID = ("prompt_template", "system_prompt", "num_samples", "until", "temperature", "top_p", "max_tokens", "thinking", "seed")
"""The settings of a teacher that a card tells; others may hold addresses and paths."""
COLUMNS = {
    "trace_id": "problem, teacher and sample",
    "problem_id": "of the problem",
    "teacher": "the pool's name",
    "sample": "which answer to this problem",
    "seed": "of sampling",
    "question": "as the problem asks it",
    "gold": "the right answer",
    "subject": "of the problem, where it is known",
    "level": "of the problem; 0 where it is not known",
    "response": "what the teacher wrote",
    "finish_reason": "stop, length or error; null where nobody told",
    "num_prompt_tokens": "null where nobody told",
    "num_response_tokens": "null where nobody told",
    "seconds": "of the answer",
    "status": "ok, truncated, looping, garbled, empty or error",
    "error": "where there was one",
    "repetition": "share of the response that says nothing new",
    "engine": "what answered, with its version",
    "template": "digest of the chat template and the prompts",
    "answer": "what the response settles on",
    "verdict": "right, wrong or unknown",
    "verdict_reason": "why",
    "rule_verdict": "the rule's, where a judge was asked",
    "rule_reason": "why",
    "judge_verdict": "the judge's, where one was asked",
    "messages": "question and response as turns",
}


def card(pool: Artefact, license_id: str | None = None) -> str:
    """Return a pool's README.md.

    Raises:
        TeacherError: the license is none.
    """
    if license_id is not None:
        check_license(license_id, TeacherError)
    out = pool.outcome
    num_bytes = sum(entry["bytes"] for entry in pool.manifest()["files"] if entry["path"].endswith(".parquet"))
    head = data_set_head(pool.name, license_id, EXPORTED, out["num_traces"], num_bytes, SHARDS)
    head |= {"mixray": {"pool": pool.name, "hash": pool.hash, **{key: out.get(key) for key in ("right", "wrong", "unknown", "accepted")}}}
    return page(
        head,
        [
            f"# {pool.name}",
            f"{out['num_traces']:,} traces of one teacher over {out['num_problems']:,} problems, each judged against the gold answer: "
            f"{out['right']:,} right, {out['wrong']:,} wrong, {out['unknown']:,} that nobody can tell. Rejection sampling keeps "
            f"{out['accepted']:,}: right, and nothing wrong with their form.",
            license_told(license_id, "the teacher's model"),
            "## Teacher",
            teachers_table([teacher(pool)]),
            *_asked(pool),
            "## Verdicts",
            _counts("status", out.get("statuses", {})),
            _counts("reason of the verdict", out.get("verdict_reasons", {})),
            *_judged(out),
            "## By subject and level",
            _strata(out),
            "## Columns",
            columns_table(EXPORTED, COLUMNS),
            "## Limits",
            "A verdict is a rule's on the final answer; the reasoning before it was not judged, and wrong traces are in it. "
            "Tokens, where they are told, are those of the teacher's tokenizer.",
            f"Made by mixray as `{pool.label}`: the hash covers every setting, and the hashes of the problems.",
        ],
    )


def _asked(pool: Artefact) -> list[str]:
    settings = pool.made_by["settings"]
    rows = [[key.replace("_", " "), cell(str(settings[key]))] for key in SAID if settings.get(key) is not None]
    return [table(["setting", "value"], rows)] if rows else []


def _counts(title: str, counts: dict[str, int]) -> str:
    return table([title, "traces"], [[cell(name), f"{count:,}"] for name, count in counts.items() if count])


def _judged(out: dict[str, Any]) -> list[str]:
    if not out.get("judged"):
        return []
    return [f"A model gave a second opinion on {out['judged']:,} answers; {out['right_by_judge']:,} of the right ones rest on it."]


def _strata(out: dict[str, Any]) -> str:
    rows = [
        [
            cell(row["subject"]) or NOTHING,
            str(row["level"] or NOTHING),
            f"{row['problems']:,}",
            f"{row['pass_rate']:.1%}",
            f"{row['solved']:,}",
        ]
        for row in strata(out)
    ]
    return table(["subject", "level", "problems", "pass rate", "solved"], rows)
