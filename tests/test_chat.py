"""What is trained is what is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mixray import models
from mixray.chat import ask, dated_template, encode, load_tokenizer, probes, prompt_ids, trained_probes
from mixray.errors import MixrayError, TrainingError
from mixray.models import tokenizer_fingerprint


@pytest.fixture
def student(random_student: str, tmp_path: Path) -> Path:
    """A student's folder that a test may spoil."""
    return Path(shutil.copytree(random_student, tmp_path / "student"))


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


STRIPS = "content.split('</think>')[-1].lstrip()"  # Llama-Nemotron's and others'
THOUGHT = "<think>2 and 2 make 4.</think>\n\nThe answer is \\boxed{4}."


def chatml(content: str, opening: str = "") -> str:
    """Return a template that prints what `content` makes of an assistant's turn, and `opening` to open it."""
    return (
        "{% for m in messages %}{% set content = m['content'] %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + (" + content + " if m['role'] == 'assistant' else content) + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n" + opening + "' }}{% endif %}"
    )


@pytest.mark.parametrize("question", ["2+2?", THOUGHT])
def test_a_template_that_drops_the_thinking_is_refused(random_student: str, question: str) -> None:
    tokenizer = load_tokenizer(random_student)
    tokenizer.chat_template = chatml(STRIPS)
    with pytest.raises(TrainingError, match=r"drops a part of the response.*seen: of .*</think>.* it prints .*<\|im_end\|>.*summary"):
        encode(tokenizer, [*ask(question), {"role": "assistant", "content": THOUGHT}])
    assert encode(tokenizer, [*ask(question), {"role": "assistant", "content": "It is 4."}]).num_loss_tokens > 1


@pytest.mark.parametrize(
    "template",
    [
        chatml("content"),
        chatml("content | trim"),
        chatml("content", opening="<think>"),
        chatml("'<think>\n' + content.split('</think>')[0].split('<think>')[-1] + '\n</think>\n\n' + " + STRIPS),  # Qwen3's
    ],
)
def test_a_template_that_prints_all_but_blanks_is_taken(random_student: str, template: str) -> None:
    tokenizer = load_tokenizer(random_student)
    tokenizer.chat_template = template
    row = encode(tokenizer, [*ask("2+2?"), {"role": "assistant", "content": THOUGHT + " \n"}])
    assert "2 and 2 make 4." in str(tokenizer.decode(row.ids[-row.num_loss_tokens :]))


def test_a_tokenizer_that_gives_back_other_characters_is_no_reason_to_refuse(random_student: str) -> None:
    from tokenizers import normalizers

    tokenizer = load_tokenizer(random_student)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    row = encode(tokenizer, [*ask("2+2?"), {"role": "assistant", "content": "½ OF Å\u00a0ﬁne"}])
    assert "of" in str(tokenizer.decode(row.ids[-row.num_loss_tokens :]))


# Llama 3.2's, in short; another's, in another form, from inside a macro; and one that knows a date of its own.
DATES = [
    (
        """{{- '' }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}""",
        "Today Date: 26 Jul 2024\n\n<|im_start|>",
    ),
    (
        "  {% macro day() %}{{ strftime_now('%A, %B %-d, %Y (%Y-%m-%d)') }}{% endmacro %}\n\n{{ day() }}",
        "\nFriday, July 26, 2024 (2024-07-26)<|im",
    ),
    ("{% set today = '1 Apr 2025' %}{{ today }}", "1 Apr 2025<|im_start|>"),
]


@pytest.mark.parametrize(("head", "printed"), DATES)
def test_the_day_is_the_same_on_every_day_and_in_the_exported_folder(student: Path, head: str, printed: str) -> None:
    template = student / "chat_template.jinja"
    template.write_text(head + template.read_text())
    tokenizer = load_tokenizer(student)
    ids = prompt_ids(tokenizer, ask("1+1?"))
    assert str(tokenizer.decode(ids)).startswith(printed)
    tokenizer.save_pretrained(student / "exported")
    served = AutoTokenizer.from_pretrained(student / "exported")  # as whoever serves it loads it
    assert list(served.apply_chat_template(ask("1+1?"), add_generation_prompt=True, return_dict=False)) == ids
    assert load_tokenizer(student / "exported").chat_template == tokenizer.chat_template
    assert (dated_template(student) is None) == ("strftime_now" not in head)
    assert (dated_template(student) or tokenizer.chat_template) == tokenizer.chat_template


def test_tokens_of_another_day_are_not_found_again(student: Path) -> None:
    before = tokenizer_fingerprint(str(student))
    template = student / "chat_template.jinja"
    template.write_text("{{ strftime_now('%Y') }}" + template.read_text())
    files = models._fingerprint(str(student), lambda path: path.name in models.TOKENIZER_FILES)
    assert len({before, files, tokenizer_fingerprint(str(student))}) == 3


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
