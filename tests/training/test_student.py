"""Packing changes speed and nothing else, whatever the student's architecture."""

from __future__ import annotations

import architectures
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from mixray.recipe import Lora, Train
from mixray.training import documents
from mixray.training.batch import collate
from mixray.training.student import Student, load_student
from mixray.training.tokens import TokenRow

FAMILIES = sorted(architectures.configs())
DRAWS = np.random.default_rng(0)
ROWS = [
    TokenRow(DRAWS.integers(3, 500, size=length).astype(np.int32), num_loss_tokens)
    for length, num_loss_tokens in ((20, 7), (33, 12), (5, 2))
]


def model_of(name: str, attention: str) -> Student:
    documents.register()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(architectures.configs()[name])
    model.set_attn_implementation(documents.DOCUMENTS if attention == "documents" else "eager")
    return Student(model).train(False)


def loss_by_transformers(name: str) -> float:
    """The loss of each row by itself, from the whole logits that transformers gives."""
    model = model_of(name, "masked").model
    total = 0.0
    with torch.no_grad():
        for row in ROWS:
            ids = torch.from_numpy(row.ids.astype(np.int64))
            logits = model(input_ids=ids[None]).logits[0, -row.num_loss_tokens - 1 : -1]
            total += float(F.cross_entropy(logits.float(), ids[-row.num_loss_tokens :], reduction="sum"))
    return total


@pytest.mark.parametrize("attention", ["documents", "masked"])
@pytest.mark.parametrize("name", FAMILIES)
def test_packed_rows_have_the_loss_of_rows_on_their_own(name: str, attention: str) -> None:
    student = model_of(name, attention)
    with torch.no_grad():
        packed = float(student(collate(ROWS, 0)))
    assert packed == pytest.approx(loss_by_transformers(name), rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_packed_rows_have_the_gradient_of_rows_on_their_own(name: str) -> None:
    apart, together = model_of(name, "documents"), model_of(name, "documents")
    for row in ROWS:
        apart(collate([row], 0)).backward()
    together(collate(ROWS, 0)).backward()
    for (parameter_name, one), other in zip(apart.named_parameters(), together.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-5), parameter_name


@pytest.mark.parametrize("name", ["qwen2.5-tied", "gemma-2"])
def test_no_gradient_crosses_from_one_packed_row_into_another(name: str) -> None:
    student = model_of(name, "documents")
    batch = collate(ROWS[:2], 0)
    border = len(ROWS[0].ids)
    embedded = student.model.get_input_embeddings()(batch.ids_1T).detach().requires_grad_()
    where = documents.bounds(list(batch.ends), embedded.device)
    hidden = student.model.base_model(inputs_embeds=embedded, position_ids=batch.positions_1T, use_cache=False, **where).last_hidden_state
    hidden[0, border:].square().sum().backward()
    assert embedded.grad is not None
    assert float(embedded.grad[0, :border].abs().sum()) == 0.0
    assert float(embedded.grad[0, border:].abs().sum()) > 0.0


def test_the_loss_is_the_same_in_chunks() -> None:
    whole = model_of("qwen2.5-tied", "documents")
    chunked = Student(whole.model, loss_chunk_bytes=1).train(False)
    long = collate([TokenRow(np.arange(3, 303, dtype=np.int32), 250)], 0)
    assert chunked.chunk < 250 < whole.chunk
    first, second = whole(long), chunked(long)
    assert float(second.detach()) == pytest.approx(float(first.detach()), rel=1e-6)
    gradients = [torch.autograd.grad(loss, whole.model.get_input_embeddings().weight)[0] for loss in (first, second)]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_a_pass_without_rows_trains_nothing_but_has_a_gradient() -> None:
    student = model_of("qwen2.5-tied", "documents")
    loss = student(collate([], 0))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(float(parameter.grad.abs().sum()) == 0.0 for parameter in student.parameters() if parameter.grad is not None)


def test_a_kind_of_attention_that_is_not_built_is_refused(random_student: str) -> None:
    query = torch.zeros(1, 2, 4, 8)
    with pytest.raises(Exception, match="attention=masked"):
        documents.attend(torch.nn.Identity(), query, query, query, None, s_aux=torch.zeros(2))
    with pytest.raises(Exception, match="one line"):
        documents.attend(torch.nn.Identity(), query.repeat(2, 1, 1, 1), query, query, None)


def test_adapters_alone_are_trained_and_start_as_the_base_model(random_student: str) -> None:
    plain = load_student(random_student, Train(dtype="float32")).train(False)
    adapted = load_student(random_student, Train(dtype="float32", lora=Lora(rank=2))).train(False)
    batch = collate(ROWS, 0)
    assert float(adapted(batch).detach()) == float(plain(batch).detach())
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    with pytest.raises(Exception, match=r"train\.lora\.targets"):
        load_student(random_student, Train(lora=Lora(targets=("no_such_layer",))))
