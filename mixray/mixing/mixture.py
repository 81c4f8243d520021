"""The stage that mixes: two pools of verified traces in, the training rows of one mixture out.

In: artefacts of kind `pools` (rows.TRACE), one blend, one alpha, the student's tokenizer. Out: an artefact of kind `mixtures`
(rows.EXAMPLE) whose outcome tells the shares. What survives a kill: nothing unfinished; the rule is cheap and exact, so it starts again.

Over-length policy: a problem is left out of EVERY alpha of a blend when its chosen trace in EITHER pool is longer than `max_tokens`.
Dropping single rows instead would give each alpha other problems and break both the exact share and the like-for-like comparison.
Nothing is ever cut. What the limit changed is told: shares `before` it (the same rule over all shared problems) and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from mixray import chat, models, rows
from mixray.errors import MixtureError
from mixray.mixing import selection
from mixray.mixing.shares import shares
from mixray.progress import StageProgress
from mixray.recipe import Blend
from mixray.store import Artefact, Store

COLUMNS = ["trace_id", "problem_id", "sample", "question", "response", "verdict", "status"]
REPORT_EVERY = 200


@dataclass(frozen=True)
class Candidates:
    """Both pools' examples of the shared problems: `examples[pool][problem_id]` has the columns of rows.EXAMPLE."""

    examples: dict[str, dict[str, dict[str, Any]]]
    num_right: dict[str, int]
    problem_ids: list[str]


def handle(
    store: Store, name: str, alpha: float, blend: Blend, hard: Artefact, easy: Artefact, seed: int, tokenizer_source: str,
    max_tokens: int, student_prompt: str,
) -> Artefact:  # fmt: skip
    """Return the handle of one mixture, done or not."""
    settings = {
        "alpha": alpha,
        "hard": blend.hard,
        "easy": blend.easy,
        "sharing": blend.sharing,
        "num_rows": blend.num_rows,
        "seed": seed,
        "tokenizer": models.tokenizer_fingerprint(tokenizer_source),
        "max_tokens": max_tokens,
        "student_prompt": student_prompt,
    }
    return store.artefact("mixtures", name, settings, {"hard": hard, "easy": easy})


def run(
    store: Store, name: str, alpha: float, blend: Blend, hard: Artefact, easy: Artefact, seed: int, tokenizer_source: str,
    max_tokens: int, student_prompt: str, progress: StageProgress,
) -> Artefact:  # fmt: skip
    """Make one mixture, or find it made.

    Args:
        store: where artefacts lie.
        name: the mixture's name.
        alpha: the share of rows that take the hard pool's trace.
        blend: which pools, and how many rows.
        hard: the pool of `blend.hard`.
        easy: the pool of `blend.easy`.
        seed: of the keyed draws.
        tokenizer_source: the student (folder, `tiny:` name or hub id); its tokenizer counts the tokens.
        max_tokens: longer examples are left out.
        student_prompt: the user turn, with `{question}`.
        progress: the stage's line on the terminal.

    Raises:
        MixtureError: the pools were asked different questions, or too few problems are left.
    """
    artefact = handle(store, name, alpha, blend, hard, easy, seed, tokenizer_source, max_tokens, student_prompt)
    with artefact.lock():
        if artefact.is_done():
            return artefact
        tokenizer = chat.load_tokenizer(models.resolve(tokenizer_source))
        pools = {blend.hard: hard.read_table(COLUMNS), blend.easy: easy.read_table(COLUMNS)}
        candidates = gather(pools, tokenizer, student_prompt, progress)
        examples, outcome = mix(candidates, alpha, blend, seed, max_tokens)
        with artefact.staging() as staging:
            staging.write_table("examples.parquet", pa.Table.from_pylist(examples, schema=rows.EXAMPLE))
            staging.outcome = outcome
    return artefact


def gather(
    pools: Mapping[str, pa.Table], tokenizer: PreTrainedTokenizerBase, student_prompt: str, progress: StageProgress | None = None
) -> Candidates:
    """Return both pools' examples, with their lengths, of every problem that both solved.

    Args:
        pools: the hard pool's traces first, then the easy one's, by pool name.
        tokenizer: the student's.
        student_prompt: the user turn, with `{question}`.
        progress: told how many examples are counted.

    Raises:
        MixtureError: no problem was solved by both, or one id stands for two questions.
    """
    right = {pool: selection.first_right(table.to_pylist()) for pool, table in pools.items()}
    hard, easy = right.values()
    num_right = {pool: len(traces) for pool, traces in right.items()}
    problem_ids = selection.both_right(hard, easy)
    if not problem_ids:
        raise MixtureError(
            "No problem was solved by both pools",
            seen=", ".join(f"{pool} solved {num}" for pool, num in num_right.items()),
            do="ask more problems or samples, or take a better teacher",
        )
    for problem_id in problem_ids:
        if hard[problem_id]["question"] != easy[problem_id]["question"]:
            raise MixtureError(
                "Two pools were asked different questions under one problem id",
                seen=f"{problem_id}: {hard[problem_id]['question'][:60]!r} and {easy[problem_id]['question'][:60]!r}",
                do="generate both pools from the same problem set",
            )
    examples: dict[str, dict[str, dict[str, Any]]] = {pool: {} for pool in pools}
    for done, problem_id in enumerate(problem_ids):
        if progress is not None and done % REPORT_EVERY == 0:
            progress.update(done, len(problem_ids))
        for pool, traces in right.items():
            examples[pool][problem_id] = _example(traces[problem_id], pool, tokenizer, student_prompt)
    return Candidates(examples, num_right, problem_ids)


def mix(candidates: Candidates, alpha: float, blend: Blend, seed: int, max_tokens: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of one mixture, in their order, and what there is to tell about them.

    Raises:
        MixtureError: too few problems are left.
    """
    too_long = {
        pool: {problem_id for problem_id, example in examples.items() if example["num_tokens"] > max_tokens}
        for pool, examples in candidates.examples.items()
    }
    dropped = set().union(*too_long.values())
    fitting = [problem_id for problem_id in candidates.problem_ids if problem_id not in dropped]
    if not fitting:
        raise MixtureError(
            "Every problem has a trace that is too long", seen=f"{len(dropped)} problems", rule=f"max_tokens = {max_tokens}",
            do="raise train.max_tokens",
        )  # fmt: skip
    examples = _pick(candidates, selection.take_rows(fitting, blend.num_rows, seed), alpha, blend, seed)
    unlimited = _pick(candidates, selection.take_rows(candidates.problem_ids, blend.num_rows, seed), alpha, blend, seed)
    outcome = {
        "alpha": alpha,
        "hard": blend.hard,
        "easy": blend.easy,
        "num_problems_right": candidates.num_right,
        "num_problems_shared": len(candidates.problem_ids),
        "num_problems_dropped": len(dropped),
        "dropped": {pool: len(ids) for pool, ids in too_long.items()},
        "max_tokens": max_tokens,
        "num_rows": len(examples),
        "before": shares(unlimited, blend.hard, blend.easy),
        **shares(examples, blend.hard, blend.easy),
    }
    return examples, outcome


def _pick(candidates: Candidates, problem_ids: list[str], alpha: float, blend: Blend, seed: int) -> list[dict[str, Any]]:
    hard = selection.take_hard(problem_ids, alpha, seed)
    order = selection.shuffled(problem_ids, seed)
    return [candidates.examples[blend.hard if problem_id in hard else blend.easy][problem_id] for problem_id in order]


def _example(trace: Mapping[str, Any], pool: str, tokenizer: PreTrainedTokenizerBase, student_prompt: str) -> dict[str, Any]:
    messages = [*chat.ask(trace["question"], student_prompt), {"role": "assistant", "content": trace["response"]}]
    encoded = chat.encode(tokenizer, messages)
    return {
        "messages": messages,
        "problem_id": trace["problem_id"],
        "trace_id": trace["trace_id"],
        "pool": pool,
        "num_tokens": len(encoded.ids),
        "num_loss_tokens": encoded.num_loss_tokens,
    }


def _dropped(outcome: Mapping[str, Any]) -> str:
    return f"{outcome['num_problems_dropped']} of {outcome['num_problems_shared']} problems"
