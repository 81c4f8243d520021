"""Responses as tokens: the prompt as asked, the text as it stands, the end only where it ended; and each token's word."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from mixray import chat, models
from mixray.shifts.tokens import NO_WORD, read, spelled, words_of


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return chat.load_tokenizer(models.resolve("tiny:student-s"))


def test_a_response_follows_its_prompt_and_ends_where_it_ended(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = chat.ask("What is 1+1?")
    cut, ended = (read(tokenizer, messages, "\n Wait, 2. ", end) for end in (False, True))
    assert cut.encoded.ids == chat.prompt_ids(tokenizer, messages) + cut.token_ids
    assert tokenizer.decode(cut.token_ids) == "\n Wait, 2. ", "a template over the whole conversation might trim it"
    assert ended.token_ids == [*cut.token_ids, tokenizer.eos_token_id]
    assert len(ended.words) == len(ended.token_ids)
    assert ended.words[-1] == NO_WORD
    nothing = read(tokenizer, messages, "", ended=True)
    assert (nothing.token_ids, nothing.words) == ([tokenizer.eos_token_id], [NO_WORD])


def test_thinking_that_the_prompt_opens_is_not_opened_again(tokenizer: PreTrainedTokenizerBase) -> None:
    opening = copy.deepcopy(tokenizer)
    opening.chat_template = str(tokenizer.chat_template) + "{% if add_generation_prompt %}<think>\n{% endif %}"
    messages = chat.ask("What is 1+1?")
    told = "<think>so it is</think> 2"
    assert tokenizer.decode(read(opening, messages, told, ended=False).token_ids) == "so it is</think> 2"
    assert tokenizer.decode(read(tokenizer, messages, told, ended=False).token_ids) == told
    words = read(opening, messages, told, ended=False).words
    assert (words[0], words[-1]) == (0, 3), "places in the text as it stands"


def test_where_the_template_adds_nothing_it_is_what_was_trained(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = chat.ask("What is 1+1?")
    whole = chat.encode(tokenizer, [*messages, {"role": "assistant", "content": "Wait, 2."}])
    assert read(tokenizer, messages, "Wait, 2.", ended=True).encoded == whole


@given(st.text(st.sampled_from("ab7. ,\n\té日\N{NO-BREAK SPACE}"), max_size=30))
def test_the_tokens_of_a_word_spell_it(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    response = read(tokenizer, chat.ask("?"), text, ended=False)
    words: dict[int, list[int]] = {}
    for token, word in zip(response.token_ids, response.words, strict=True):
        words.setdefault(word, []).append(token)
    words.pop(NO_WORD, None)
    assert [tokenizer.decode(tokens).split()[0] for _, tokens in sorted(words.items())] == text.split()


def test_a_token_that_touches_two_words_is_of_the_first() -> None:
    assert words_of("so it is", [(0, 2), (2, 5), (2, 3), (4, 8), (8, 8)]) == [0, 1, NO_WORD, 1, NO_WORD]


def test_parts_of_characters_are_shown_by_their_name(tokenizer: PreTrainedTokenizerBase) -> None:
    first_byte, _ = tokenizer("é", add_special_tokens=False)["input_ids"]
    assert spelled(tokenizer, first_byte) == "Ã"
    (wednesday,) = tokenizer(" Wednesday", add_special_tokens=False)["input_ids"]
    assert spelled(tokenizer, wednesday) == " Wednesday"
