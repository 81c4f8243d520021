"""Ranks and surprisals of tokens, held against the plain computation: one row at a time, every logit at hand, all of them sorted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from mixray import chat, forward, models
from mixray.tiny import problems, styles

# Of `row("long", 0)` under the shipped `student-s`, by plain transformers on CPU: how many tokens, the ranks of those that are not its own
# choice, and the surprisals of the first.
NUM_TOKENS = 190
GOLDEN_RANKS = {
    4: 2, 7: 6, 42: 11, 47: 2, 49: 2, 56: 2, 63: 450, 64: 28, 65: 4, 68: 22, 79: 2, 87: 474, 88: 41, 89: 2, 93: 3, 98: 3, 104: 3, 112:
    67, 113: 103, 114: 3, 117: 4, 119: 2, 124: 2, 133: 3, 141: 4, 142: 3, 148: 2, 150: 6, 152: 2, 153: 2, 156: 6, 160: 2, 161: 2, 164:
    6, 167: 2, 168: 7, 170: 2, 171: 4, 174: 2,
}  # fmt: skip
GOLDEN_SURPRISALS = [
    0.892484074566652, 0.0012137844875070335, 0.00138912779800524, 0.0005466196265228441, 1.7225034996056634, 0.0014974901845276943,
    0.0012397342876198443, 9.17830354541162,
]  # fmt: skip
# A token's rank is sure where no other logit is as near to its own as this; what stands beside a row moves logits by some 1e-6.
SURE = 1e-4


@pytest.fixture(scope="module")
def source() -> str:
    return models.resolve("tiny:student-s")


def row(source: str, style: str, number: int) -> chat.Encoded:
    problem = problems.take("train", number + 1, (1, 5), seed=3)[number]
    answer = {"role": "assistant", "content": styles.write(style, problem)}
    return chat.encode(chat.load_tokenizer(source), [*chat.ask(problem.question), answer])


def plain(model: Any, row: chat.Encoded) -> list[tuple[float, int, bool]]:
    """Return (surprisal, rank, whether the rank is sure) of each trained token, the obvious way."""
    with torch.no_grad():
        logits = model(torch.tensor([row.ids])).logits[0]
    told = []
    for at in range(len(row.ids) - row.num_loss_tokens, len(row.ids)):
        here, token = logits[at - 1], row.ids[at]
        order = torch.argsort(here, descending=True, stable=True).tolist()
        others = torch.cat([here[:token], here[token + 1 :]])
        surprisal = -float(torch.log_softmax(here.double(), dim=-1)[token])
        told.append((surprisal, 1 + order.index(token), bool((others - here[token]).abs().min() > SURE)))
    return told


def test_the_shipped_student_gives_the_golden_ranks(source: str) -> None:
    model = forward.load_student(source, "cpu", torch.float32)
    ((surprisals, ranks),) = forward.surprises(model, [row(source, "long", 0)])
    assert len(ranks) == NUM_TOKENS
    assert {at: rank for at, rank in enumerate(ranks.tolist()) if rank > 1} == GOLDEN_RANKS
    assert surprisals[: len(GOLDEN_SURPRISALS)].tolist() == pytest.approx(GOLDEN_SURPRISALS, rel=1e-5)


@pytest.mark.parametrize("most_tokens", [1, 700, None])
def test_ranks_are_those_of_the_plain_computation_whatever_stands_beside_a_row(source: str, most_tokens: int | None) -> None:
    rows = [row(source, style, number) for number in range(8) for style in ("short", "long")]
    told = forward.surprises(forward.load_student(source, "cpu", torch.float32), rows, most_tokens)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    num_sure = num_tokens = 0
    for (surprisals, ranks), each in zip(told, rows, strict=True):
        for surprisal, rank, (plain_surprisal, plain_rank, sure) in zip(
            surprisals.tolist(), ranks.tolist(), plain(model, each), strict=True
        ):
            assert surprisal == pytest.approx(plain_surprisal, rel=1e-4, abs=1e-5)
            assert rank == plain_rank if sure else abs(rank - plain_rank) <= 2
            num_sure, num_tokens = num_sure + sure, num_tokens + 1
    assert num_sure > 0.99 * num_tokens


def test_bfloat16_and_float32_mostly_agree_on_ranks(source: str) -> None:
    rows = [row(source, "long", number) for number in range(4)]
    full, half = (forward.surprises(forward.load_student(source, "cpu", dtype), rows) for dtype in (torch.float32, torch.bfloat16))
    same = torch.cat([(ours[1] <= 3) == (theirs[1] <= 3) for ours, theirs in zip(full, half, strict=True)])
    assert float(same.double().mean()) > 0.97
