"""What is trained is what is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixray.chat import ask, encode, load_tokenizer, probes, prompt_ids, trained_probes
from mixray.errors import MixrayError, TrainingError


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=st.text(max_size=40), response=st.text(min_size=1, max_size=40))
def test_a_trained_row_is_the_asked_prompt_and_the_response_with_its_end(random_student: str, question: str, response: str) -> None:
    tokenizer = load_tokenizer(random_student)
    messages = ask(question, "Solve: {question}", "Be brief.")
    row = encode(tokenizer, [*messages, {"role": "assistant", "content": response}])
    prompt = prompt_ids(tokenizer, messages)
    assert row.ids[: len(prompt)] == prompt
    assert row.num_loss_tokens == len(row.ids) - len(prompt) >= 1
    assert row.ids[-1] == tokenizer.eos_token_id


def test_a_template_that_asks_otherwise_than_it_trains_is_refused(random_student: str) -> None:
    tokenizer = load_tokenizer(random_student)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    with pytest.raises(TrainingError, match="differently in training and in asking"):
        encode(tokenizer, [*ask("1+1?"), {"role": "assistant", "content": "2"}])


def test_a_template_without_an_end_of_turn_is_refused(random_student: str) -> None:
    tokenizer = load_tokenizer(random_student)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    with pytest.raises(TrainingError, match="never ends the assistant's turn"):
        encode(tokenizer, [*ask("1+1?"), {"role": "assistant", "content": "2"}])


def test_a_tokenizer_without_a_template_is_refused(random_student: str, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(random_student, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(MixrayError, match="no chat template"):
        load_tokenizer(folder)


def test_the_probes_are_recorded_as_trained_and_those_a_template_refuses_are_left_out(random_student: str) -> None:
    tokenizer = load_tokenizer(random_student)
    assert trained_probes(tokenizer) == {name: prompt_ids(tokenizer, messages) for name, messages in probes().items()}
    tokenizer.chat_template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + str(
        tokenizer.chat_template
    )
    assert set(trained_probes(tokenizer)) == {"question", "turns"}
