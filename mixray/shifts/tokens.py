"""Responses as the tokens they were sampled as, and which word each token is of.

In: a question, its response as text, and whether the student ended it. Out: the prompt as asked and the response, as ids. The response is
encoded by itself, after the prompt's ids, as the student saw it while it answered; a template rendered over the whole conversation may trim
it. An opening tag of thinking that stands in the prompt is not said again. The ids may yet differ from those sampled, since several
sequences of tokens spell the same text: endpoints give text alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from mixray import chat
from mixray.rows import THINK_TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_WORD = -1


@dataclass(frozen=True)
class Response:
    """One response after its prompt; `words` has for each token of the response its word's place in `text.split()`, or NO_WORD."""

    encoded: chat.Encoded
    words: list[int]

    @property
    def token_ids(self) -> list[int]:
        """The tokens of the response alone."""
        return self.encoded.ids[len(self.encoded.ids) - self.encoded.num_loss_tokens :]


def read(tokenizer: PreTrainedTokenizerBase, messages: chat.Messages, text: str, ended: bool) -> Response:
    """Return a response as tokens, its end-of-turn token among them where it `ended`.

    Raises:
        TrainingError: the chat template refuses the messages.
    """
    prompt = chat.prompt_ids(tokenizer, messages)
    opening = THINK_TAGS[0]
    start = len(opening) if text.startswith(opening) and str(tokenizer.decode(prompt)).rstrip().endswith(opening) else 0
    spoken = tokenizer(text[start:], add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    last = [tokenizer.eos_token_id] if ended else []
    # Without offsets (tokenizers in Python) nothing is known of words.
    spans = [(begin + start, end + start) for begin, end in spoken["offset_mapping"]] if tokenizer.is_fast else []
    words = words_of(text, spans) if tokenizer.is_fast else [NO_WORD] * len(spoken["input_ids"])
    ids = [*spoken["input_ids"], *last]
    return Response(chat.Encoded([*prompt, *ids], len(ids)), [*words, *[NO_WORD] * len(last)])


def words_of(text: str, spans: list[tuple[int, int]]) -> list[int]:
    """Return for each span of characters the place in `text.split()` of the first word it touches, or NO_WORD.

    Whether a token's span begins with the blank before its word differs from tokenizer to tokenizer, and does not matter here.
    """
    blank = [character.isspace() for character in text]
    starts = [not blank[at] and (at == 0 or blank[at - 1]) for at in range(len(text))]
    word_at = list(accumulate(starts))
    places = ((at for at in range(start, end) if not blank[at]) for start, end in spans)
    return [NO_WORD if (at := next(place, None)) is None else word_at[at] - 1 for place in places]


def spelled(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """Return how a token is shown: its text, or the vocabulary's name of it where it is a part of a character."""
    text = str(tokenizer.decode([token_id]))
    return str(tokenizer.convert_ids_to_tokens(token_id)) if not text or "\N{REPLACEMENT CHARACTER}" in text else text
