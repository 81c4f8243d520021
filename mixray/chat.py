"""Chat templates: from problems and messages to token ids, the same for teacher, training, serving and evaluation.

What is trained is what is served is what is asked: `prompt_ids` is the only way a question becomes tokens, and `encode` is checked
against it row by row, so a student is never trained on a prompt it will not see.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from mixray.errors import MixrayError, TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]

# Digits, punctuation, a letter beyond ASCII, leading spaces and line breaks: where templates and tokenizers tend to part.
PROBE = " Anna has 12 pears, buys 345 more\n\nand gives ⅓ away. How many are left? {x} "
PROBE_FILE = "prompt_probe.json"
"""In a trained student's folder: the token ids of `probes`, by name, as training fed them."""

TODAY = "26 Jul 2024"
"""What templates that print today's date print, in whatever form. Rows are tokenised on one day, students asked on many others, so the day
must not be that of the clock; this is what Llama 3's templates say where they know none."""
_DAY = {
    "%F": "2024-07-26", "%D": "07/26/24", "%Y": "2024", "%y": "24", "%B": "July", "%b": "Jul", "%h": "Jul", "%m": "07", "%-m": "7",
    "%d": "26", "%-d": "26", "%e": "26", "%j": "208", "%A": "Friday", "%a": "Fri", "%T": "00:00:00", "%H": "00", "%M": "00", "%S": "00",
}  # fmt: skip
# In a template's own words, since it goes into the student's folder: whoever serves it knows nothing of mixray. The line's end is no part
# of what is printed (trim_blocks), and leaves what follows at the start of a line.
_FIXED_DAY = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in _DAY.items())
    + " }}{%- endmacro %}\n"
)

_LOADING = threading.Lock()
"""transformers imports its parts as they are asked for: a second thread that asks meanwhile finds half a module."""


@dataclass(frozen=True)
class Encoded:
    """One conversation as tokens: `ids`, of which the last `num_loss_tokens` (response and end of turn) are trained."""

    ids: list[int]
    num_loss_tokens: int


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer that has a chat template, running no code from its folder; where the template prints today's date, that is TODAY.

    Its `eos_token` is what the template ends an answer with: base models name the end of a document there.

    Raises:
        MixrayError: there is none, or it has no chat template.
    """
    with _LOADING:
        from transformers import AutoTokenizer  # brings torch: seconds of which most processes need nothing

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise MixrayError(
                "A model cannot be loaded", seen=str(source), rule=str(error).splitlines()[0], do="check the model's path or id"
            ) from error
    if not tokenizer.chat_template:
        raise MixrayError(
            "A tokenizer has no chat template", seen=str(source), do="use an instruct model, or add a chat template to its folder"
        )
    told = tokenizer.chat_template
    tokenizer.chat_template = {name: dated(text) for name, text in told.items()} if isinstance(told, dict) else dated(told)
    if end := _end_of_turn(tokenizer):
        tokenizer.eos_token = end
    return tokenizer


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the one special token that the template prints after an answer; None where it is `eos_token` already, or is not to be told."""
    question, answer = ask("1"), "119"
    try:
        prompt = prompt_ids(tokenizer, question)
        turn = _template(tokenizer, [*question, {"role": "assistant", "content": answer}], opening=False)[len(prompt) :]
    except Exception:  # templates raise what they like; whoever renders a conversation in earnest meets it, and tells it
        return None
    special = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    found = [place for place, number in enumerate(turn) if number in special]
    if tokenizer.eos_token_id in turn or len(found) != 1 or answer not in str(tokenizer.decode(turn[: found[0]])):
        return None
    return special[turn[found[0]]]


def dated(template: str) -> str:
    """Return a chat template with its day fixed: TODAY where it asks for the clock's."""
    asks = "strftime_now" in template and not template.startswith(_FIXED_DAY)
    return _FIXED_DAY + template if asks else template


def dated_template(source: str | Path) -> str | None:
    """Return the chat template that whoever serves a model must be handed, since its own prints the clock's day; None where it does not."""
    template = load_tokenizer(source).get_chat_template()
    return template if template.startswith(_FIXED_DAY) else None


def ask(question: str, prompt_template: str = "{question}", system_prompt: str | None = None) -> Messages:
    """Return the messages that put a question to a model."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": prompt_template.replace("{question}", question)}]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """Return the tokens a model sees before it answers, the opening of its turn included."""
    return _template(tokenizer, messages, opening=True)


def encode(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> Encoded:
    """Return the tokens of a conversation that ends in an assistant turn; only that turn, with its end, is trained.

    The end-of-turn token is the tokenizer's `eos_token` (see `load_tokenizer`); whatever a template prints after it (a newline) is left
    out, since a model that has stopped never sees it.

    Raises:
        TrainingError: the template renders the prompt differently in training and in asking, drops a part of the response, or never
            ends the turn.
    """
    prompt = prompt_ids(tokenizer, messages[:-1])
    whole = _template(tokenizer, messages, opening=False)
    if whole[: len(prompt)] != prompt:
        raise TrainingError(
            "The chat template renders a prompt differently in training and in asking",
            seen=tokenizer.decode(whole[: len(prompt)]),
            rule=f"training must start with {tokenizer.decode(prompt)!r}",
            do="use a template whose generation prompt is a prefix of the full conversation",
        )
    _check_whole(tokenizer, messages)
    end = tokenizer.eos_token_id
    if end not in whole[len(prompt) :]:
        raise TrainingError(
            "The chat template never ends the assistant's turn",
            seen=tokenizer.decode(whole[len(prompt) :])[-80:],
            rule=f"one special token must follow, or {tokenizer.eos_token!r}",
            do="use a copy of the student's folder whose template ends each turn in a special token",
        )
    last = len(whole) - whole[::-1].index(end)
    return Encoded(whole[:last], last - len(prompt))


def _check_whole(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> None:
    """Prove that the template prints the whole response. Texts are compared, since not every tokenizer gives back what it was given.

    Without their blanks, which templates add and take; a part that the opening of the turn says already need not be said again.
    """
    response = messages[-1]["content"]
    wanted = "".join(response.split())
    opened, printed = _rendered(tokenizer, messages[:-1], opening=True), _rendered(tokenizer, messages, opening=False)
    before, whole = ("".join(text.split()) for text in (opened, printed))
    place = whole.rfind(wanted)
    if wanted and (place < 0 or place + len(wanted) <= len(before)):
        raise TrainingError(
            "The chat template drops a part of the response, so that it would never be trained",
            seen=f"of {_ends(response)} it prints {_ends(printed[len(opened) :])}",
            rule="what the assistant says must be printed as it is, its thinking included",
            do="use a student, or a copy of its folder, whose template prints the content whole; or teach no thinking: the mixture's "
            "view: summary, or thinking: drop for the teacher",
        )


def _ends(text: str) -> str:
    return repr(text) if len(text) <= 100 else f"{text[:60]!r} ... {text[-40:]!r}"


def cut(row: Encoded, most: int) -> Encoded:
    """Return the first `most` tokens of a row: a longer one loses its answer and its end of turn, and its prompt stays whole.

    One whose prompt leaves no room for a trained token comes back as it is: it is to be left out.
    """
    lost = len(row.ids) - most
    return Encoded(row.ids[:most], row.num_loss_tokens - lost) if 0 < lost < row.num_loss_tokens else row


def probes() -> dict[str, Messages]:
    """Return the conversations whose tokens are compared between training, serving and asking."""
    question = ask(PROBE)
    return {
        "question": question,
        "system": ask(PROBE, system_prompt="Answer with one number."),
        "turns": [*question, {"role": "assistant", "content": "238"}, {"role": "user", "content": "And half of it?"}],
    }


def trained_probes(tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Return the tokens of each probe as training feeds them; those that the template refuses are left out."""
    ids = {}
    for name, messages in probes().items():
        with contextlib.suppress(TrainingError):
            row = encode(tokenizer, [*messages, {"role": "assistant", "content": "119"}])
            ids[name] = row.ids[: len(row.ids) - row.num_loss_tokens]
    return ids


def show(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> str:
    """Return a training row as the student sees it, with a mark where the trained tokens begin."""
    border = len(row.ids) - row.num_loss_tokens
    return f"{tokenizer.decode(row.ids[:border])}⟦trained⟧{tokenizer.decode(row.ids[border:])}"


def _template(tokenizer: PreTrainedTokenizerBase, messages: Messages, opening: bool) -> list[int]:
    with _refusals_told(messages):
        out: Any = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=opening, return_dict=False)
    return list(out)


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Messages, opening: bool) -> str:
    with _refusals_told(messages):
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening))


@contextlib.contextmanager
def _refusals_told(messages: Messages) -> Iterator[None]:
    try:
        yield
    except TemplateError as error:
        raise TrainingError(
            "A chat template refuses a conversation",
            seen=f"turns of {', '.join(message['role'] for message in messages)}",
            rule=str(error),
            do="where it knows no system turn, put what the system prompt says into the recipe's student_prompt",
        ) from error
