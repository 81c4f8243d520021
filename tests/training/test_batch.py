"""Packing changes speed and nothing else."""

from __future__ import annotations

import pytest
import torch

from mixray.chat import Encoded, ask, encode, load_tokenizer, show
from mixray.training.batch import IGNORED, TokenRow, collate, loss_sum
from mixray.training.engine import learning_rate, load_student
from mixray.training.loop import check_rows


@pytest.fixture(scope="module")
def rows(random_student: str) -> list[TokenRow]:
    tokenizer = load_tokenizer(random_student)
    answers = ["7+5=12\n\\boxed{12}", "\\boxed{3}", "Let me think. 9-4=5\n\\boxed{5}"]
    encoded = [encode(tokenizer, [*ask("How many pens?"), {"role": "assistant", "content": answer}]) for answer in answers]
    return [TokenRow(row.ids, row.num_loss_tokens) for row in encoded]


def test_packed_rows_have_the_loss_of_rows_on_their_own(random_student: str, rows: list[TokenRow]) -> None:
    model = load_student(random_student, "float32").eval()
    with torch.no_grad():
        apart = sum(float(loss_sum(model, collate([[row]], 0))) for row in rows)
        together = float(loss_sum(model, collate([rows], 0)))
        padded = float(loss_sum(model, collate([rows[:2], rows[2:]], 0)))
    assert together == pytest.approx(apart, rel=1e-6)
    assert padded == pytest.approx(apart, rel=1e-6)


def test_no_gradient_crosses_from_one_packed_row_into_another(random_student: str, rows: list[TokenRow]) -> None:
    model = load_student(random_student, "float32").eval()
    batch = collate([rows], 0)
    embedded = model.get_input_embeddings()(batch.ids_BT).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, position_ids=batch.positions_BT, use_cache=False).logits
    logits[0, len(rows[0].ids) :].square().sum().backward()
    assert embedded.grad is not None
    assert float(embedded.grad[0, : len(rows[0].ids)].abs().sum()) == 0.0
    assert float(embedded.grad[0, len(rows[0].ids) :].abs().sum()) > 0.0


def test_only_the_response_and_its_end_of_turn_are_trained(random_student: str, rows: list[TokenRow]) -> None:
    tokenizer = load_tokenizer(random_student)
    targets = collate([[rows[1]]], 0).targets_BT[0]
    assert tokenizer.decode(targets[targets != IGNORED]) == "\\boxed{3}<|im_end|>"
    assert show(tokenizer, Encoded(list(rows[1].ids), rows[1].num_loss_tokens)).endswith("assistant\n⟦trained⟧\\boxed{3}<|im_end|>")


def test_a_pass_without_rows_trains_nothing_but_has_a_gradient(random_student: str) -> None:
    model = load_student(random_student, "float32")
    loss = loss_sum(model, collate([], 0))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(float(parameter.grad.abs().sum()) == 0.0 for parameter in model.parameters() if parameter.grad is not None)


def test_a_row_without_end_of_turn_is_refused_before_the_first_step(random_student: str, rows: list[TokenRow]) -> None:
    tokenizer = load_tokenizer(random_student)
    check_rows(rows, tokenizer)
    with pytest.raises(Exception, match="never stop"):
        check_rows([TokenRow(rows[0].ids[:-1], 2)], tokenizer)
    with pytest.raises(Exception, match="trains no token"):
        check_rows([TokenRow(rows[0].ids, 0)], tokenizer)


def test_the_schedule_warms_up_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, 100, 2.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[99] < 0.002
