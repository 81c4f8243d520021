"""The rows that travel between stages, as Arrow schemas, and the ids and seeds that make them repeatable.

Nothing here reads or writes; every stage agrees on these columns and on nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

PROBLEM = pa.schema(
    [
        ("problem_id", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("subject", pa.string()),
        ("level", pa.int32()),
    ]
)

# One row per problem that a teacher is still to be asked: its `position` among the problems orders the pool.
REQUEST = pa.schema(
    [
        ("position", pa.int64()),
        ("problem_id", pa.string()),
        ("question", pa.string()),
        ("gold", pa.string()),
        ("subject", pa.string()),
        ("level", pa.int32()),
    ]
)

TRACE = pa.schema(
    [
        ("trace_id", pa.string()),
        ("problem_id", pa.string()),
        ("teacher", pa.string()),
        ("sample", pa.int32()),
        ("seed", pa.int64()),
        ("question", pa.string()),
        ("gold", pa.string()),
        ("subject", pa.string()),
        ("level", pa.int32()),
        ("response", pa.string()),
        ("finish_reason", pa.string()),  # stop | length | error; null where an imported trace does not say
        ("num_prompt_tokens", pa.int32()),
        ("num_response_tokens", pa.int32()),
        ("seconds", pa.float64()),
        ("status", pa.string()),  # ok | truncated | looping | garbled | empty | error
        ("error", pa.string()),
        ("repetition", pa.float64()),  # 0 to 1: the share of the response that says nothing new
        ("engine", pa.string()),  # what answered, with its version
        ("template", pa.string()),  # digest of the chat template and the prompts around the question
        ("answer", pa.string()),
        ("verdict", pa.string()),  # right | wrong | unknown
        ("verdict_reason", pa.string()),
        ("rule_verdict", pa.string()),  # where a judge was asked: what the rule had said, and why; null elsewhere
        ("rule_reason", pa.string()),
        ("judge_verdict", pa.string()),
    ]
)

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])

EXAMPLE = pa.schema(
    [
        ("messages", pa.list_(MESSAGE)),
        ("problem_id", pa.string()),
        ("trace_id", pa.string()),
        ("pool", pa.string()),
        ("num_tokens", pa.int32()),
        ("num_loss_tokens", pa.int32()),
        ("subject", pa.string()),
        ("level", pa.int32()),
    ]
)

SCORE = pa.schema(
    [
        ("problem_id", pa.string()),
        ("benchmark", pa.string()),
        ("sample", pa.int32()),
        ("seed", pa.int64()),
        ("question", pa.string()),
        ("gold", pa.string()),
        ("subject", pa.string()),
        ("level", pa.int32()),
        ("response", pa.string()),
        ("finish_reason", pa.string()),  # stop | length | error
        ("num_prompt_tokens", pa.int32()),  # null where the endpoint does not tell
        ("num_response_tokens", pa.int32()),
        ("seconds", pa.float64()),
        ("status", pa.string()),  # as of a trace
        ("repetition", pa.float64()),
        ("answer", pa.string()),
        ("verdict", pa.string()),
        ("verdict_reason", pa.string()),
        ("rule_verdict", pa.string()),  # where a judge was asked, as of a trace; null elsewhere
        ("rule_reason", pa.string()),
        ("judge_verdict", pa.string()),
    ]
)


# One row per sample of a scores artefact and thinking budget.
BUDGET = pa.schema(
    [
        ("benchmark", pa.string()),
        ("problem_id", pa.string()),
        ("sample", pa.int32()),
        ("budget_tokens", pa.int32()),
        ("forced", pa.bool_()),  # the answer was longer: cut there, and the student made to state its result
        ("response", pa.string()),  # the cut answer, the closing and what the student said then; null where not forced
        ("finish_reason", pa.string()),  # stop | length | error, of what the student said last
        ("num_response_tokens", pa.int32()),
        ("answer", pa.string()),
        ("verdict", pa.string()),
        ("verdict_reason", pa.string()),
    ]
)


SAMPLE_KINDS = ("right", "error", "truncated", "looping", "no_answer", "unknown", "wrong")
"""What became of a sample of SCORE: each counts once, under the first that holds."""


def sample_kind(row: Mapping[str, Any]) -> str:
    """Return which of `SAMPLE_KINDS` a SCORE row is."""
    if row["verdict"] == "right":
        return "right"
    if "error" in (row["finish_reason"], row["status"]):
        return "error"
    if row["finish_reason"] == "length":
        return "truncated"
    if row["status"] == "looping":
        return "looping"
    if not (row["answer"] or "").strip():
        return "no_answer"
    return "unknown" if row["verdict"] == "unknown" else "wrong"


def digest(value: Any, length: int = 64) -> str:
    """Return the first `length` hex digits of the sha256 of `value` as canonical JSON (sorted keys, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:length]


def keyed_draw(*key: str | int) -> int:
    """Return a 63-bit integer that depends on `key` alone: the same on every machine, in every order."""
    data = "\x1f".join(str(part) for part in key).encode("utf-8", errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


MOST_TOKENS = 2**31 - 1  # what a row's count of tokens can hold
THINK_TAGS = ("<think>", "</think>")
"""How a trace marks thinking, whatever the teacher's own marks are."""


def accepted(trace: Mapping[str, Any]) -> bool:
    """Whether rejection sampling keeps a trace: it is right, and nothing is wrong with its form (no loop, no garbage)."""
    return bool(trace["verdict"] == "right" and trace["status"] == "ok")


def trace_id(problem_id: str, teacher: str, sample: int) -> str:
    """Return the id of one teacher's `sample`-th answer to one problem."""
    return f"{problem_id}/{teacher}/{sample}"


def trace_seed(seed: int, teacher: str, problem_id: str, sample: int) -> int:
    """Return the sampling seed of one answer: below 2**31, the same whoever asks and whenever."""
    return keyed_draw(seed, teacher, problem_id, sample) % 2**31
