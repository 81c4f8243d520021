"""Useful operations are what torch counts, less what is no use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, Qwen2Config

from mixray.recipe import Lora
from mixray.training import documents
from mixray.training.batch import collate
from mixray.training.flops import Flops
from mixray.training.student import Student, add_adapters
from mixray.training.tokens import TokenRow

LENGTHS, TARGETS = (96, 160, 256), 200
TIED = [True, False]


def student_of(tied: bool, attention: str, frozen: bool = False) -> Student:
    documents.register()
    config = Qwen2Config(
        vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=tied,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    model.set_attn_implementation(attention)
    return Student(add_adapters(model, Lora(rank=1)) if frozen else model)


def rows_of(lengths: tuple[int, ...]) -> list[TokenRow]:
    draws = np.random.default_rng(0)
    return [TokenRow(draws.integers(3, 500, length).astype(np.int32), TARGETS // len(lengths)) for length in lengths]


def counted(student: Student, lengths: tuple[int, ...]) -> float:
    """What torch sees in a forward and a backward pass."""
    with FlopCounterMode(display=False) as counter:
        student(collate(rows_of(lengths), 0)).backward()
    return float(counter.get_total_flops())


def useful(student: Student, lengths: tuple[int, ...], frozen: bool = False) -> float:
    targets = sum(row.num_loss_tokens for row in rows_of(lengths))
    return Flops.of(student.model, frozen).useful(lengths, targets)


def attention_half(student: Student, squares: int) -> float:
    """The half of the scores that causal attention hides and that dense products compute: as much as the half it sees."""
    return 6.0 * Flops.of(student.model, frozen=False).attention * squares


@pytest.mark.parametrize("tied", TIED)
def test_one_row_is_what_torch_counts_less_the_hidden_half_of_its_scores(tied: bool) -> None:
    student = student_of(tied, "eager")
    expected = useful(student, (512,)) + attention_half(student, 512 * 512)
    # Norms and biases are among the weights, and no matrix products.
    assert counted(student, (512,)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("tied", TIED)
def test_rows_of_one_pass_are_charged_each_for_itself(tied: bool) -> None:
    """A dense mask over the whole pass computes all its scores; useful are those within rows."""
    student = student_of(tied, "eager")
    whole, own = sum(LENGTHS) ** 2, sum(length * length for length in LENGTHS)
    expected = useful(student, LENGTHS) + attention_half(student, 2 * whole - own)
    assert counted(student, LENGTHS) == pytest.approx(expected, rel=0.01)


def test_frozen_weights_have_no_gradient_of_their_own() -> None:
    whole, adapted = student_of(True, "eager"), student_of(True, "eager", frozen=True)
    squares = 512 * 512
    expected = useful(adapted, (512,), frozen=True) + attention_half(adapted, squares)
    # Adapters themselves are multiplied by thrice; the embedded tokens want no gradient.
    assert counted(adapted, (512,)) == pytest.approx(expected, rel=0.03)
    saved = useful(whole, (512,)) - useful(adapted, (512,), frozen=True)
    assert counted(whole, (512,)) - counted(adapted, (512,)) == pytest.approx(saved, rel=0.1)


def test_a_checkpointed_pass_is_no_more_useful() -> None:
    student = student_of(True, "eager")
    before, plain = useful(student, (512,)), counted(student, (512,))
    student.model.gradient_checkpointing_enable({"use_reentrant": False})
    student.train()
    assert counted(student, (512,)) > 1.25 * plain
    assert useful(student, (512,)) == before


def test_a_model_without_memory_counts_as_one_with() -> None:
    config = student_of(True, "eager").model.config
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    assert Flops.of(empty, frozen=False) == Flops.of(AutoModelForCausalLM.from_config(config), frozen=False)
