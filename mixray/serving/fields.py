"""What a request may hold: one rule for each field that students offer, checked before anything reaches an engine.

In: a field's value and the limits. Out: nothing, or a `Refusal` that names the field, the value's fault and the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mixray.recipe import Limits
from mixray.serving.refusals import bad

Rule = Callable[[str, Any, Limits], None]
ROLES = ("system", "user", "assistant")
INT64 = 2**63
# Token ids are held as 32-bit numbers further on; which of them exist is for the model's own vocabulary to say.
MOST_TOKEN_ID = 2**31 - 1


def integer(low: int, high: int) -> Rule:
    """Return the rule of a whole number."""

    def check(name: str, value: Any, limits: Limits) -> None:
        if type(value) is not int or not low <= value <= high:
            raise bad(f"`{name}` must be a whole number from {low} to {high}", name)

    return check


def number(low: float, high: float, above: bool = False) -> Rule:
    """Return the rule of a number; `above` leaves `low` itself out."""

    def check(name: str, value: Any, limits: Limits) -> None:
        if type(value) not in (int, float) or not low <= value <= high or (above and value == low):
            raise bad(f"`{name}` must be a number {'above' if above else 'from'} {low:g} {'and up ' if above else ''}to {high:g}", name)

    return check


def boolean(name: str, value: Any, limits: Limits) -> None:
    """Require true or false."""
    if type(value) is not bool:
        raise bad(f"`{name}` must be true or false", name)


def short_text(name: str, value: Any, limits: Limits) -> None:
    """Require a text that names something."""
    if type(value) is not str or len(value) > 256:
        raise bad(f"`{name}` must be a text of at most 256 characters", name)


def max_tokens(name: str, value: Any, limits: Limits) -> None:
    """Require a number of tokens within the limit."""
    integer(0, limits.max_tokens)(name, value, limits)


def logprobs(name: str, value: Any, limits: Limits) -> None:
    """Require a number of alternatives within the limit."""
    integer(0, limits.logprobs)(name, value, limits)


def answers(name: str, value: Any, limits: Limits) -> None:
    """Require a number of answers within the limit."""
    integer(1, limits.answers)(name, value, limits)


def stop(name: str, value: Any, limits: Limits) -> None:
    """Require one stop string or a few, each of them short and none empty."""
    values = [value] if type(value) is str else value
    most, longest = limits.stop_strings, limits.stop_characters
    if type(values) is not list or len(values) > most or not all(type(text) is str and 0 < len(text) <= longest for text in values):
        raise bad(f"`{name}` must be at most {most} texts of 1 to {longest} characters", name)


def stop_token_ids(name: str, value: Any, limits: Limits) -> None:
    """Require a few token ids."""
    if type(value) is not list or len(value) > limits.stop_strings or not all(map(_token_id, value)):
        raise bad(f"`{name}` must be at most {limits.stop_strings} token ids", name)


def logit_bias(name: str, value: Any, limits: Limits) -> None:
    """Require biases from -100 to 100 by token id."""
    good = type(value) is dict and len(value) <= limits.logit_bias
    if not good or not all(map(_biased, value.items())):
        raise bad(f"`{name}` must map at most {limits.logit_bias} token ids to numbers from -100 to 100", name)


def stream_options(name: str, value: Any, limits: Limits) -> None:
    """Require the two switches there are."""
    known = {"include_usage", "continuous_usage_stats"}
    if type(value) is not dict or not value.keys() <= known or not all(type(switch) is bool for switch in value.values()):
        raise bad(f"`{name}` may hold {sorted(known)}, true or false", name)


def plain_text_format(name: str, value: Any, limits: Limits) -> None:
    """Require what students answer in anyway."""
    if value != {"type": "text"}:
        raise bad(f'`{name}` may only be {{"type": "text"}}: students answer in plain text', name, "not_offered")


def only(*offered: Any) -> Rule:
    """Return the rule of a field that changes nothing: one of these values."""

    def check(name: str, value: Any, limits: Limits) -> None:
        if not any(type(value) is type(one) and value == one for one in offered):
            raise bad(f"`{name}` is not offered by students", name, "not_offered")

    return check


def messages(name: str, value: Any, limits: Limits) -> None:
    """Require a conversation in text: no media, no tools, nothing a chat template would not know."""
    if type(value) is not list or not 0 < len(value) <= limits.messages:
        raise bad(f"`{name}` must be a list of 1 to {limits.messages} messages", name)
    num_characters = 0
    for place, message in enumerate(value):
        if type(message) is not dict or message.get("role") not in ROLES:
            raise bad(f"`{name}[{place}]` must be an object with a role, one of {list(ROLES)}", name)
        if len(message) > 2 and (unknown := set(message) - {"role", "content", "name"}):
            raise bad(f"`{name}[{place}]` holds {min(unknown)[:64]!r}, which students do not offer", name, "not_offered")
        if "name" in message:
            short_text(f"{name}[{place}].name", message["name"], limits)
        content = message.get("content")
        num_characters += len(content) if type(content) is str else _parts(f"{name}[{place}].content", content)
    _few_characters(name, num_characters, limits)


def prompt(name: str, value: Any, limits: Limits) -> None:
    """Require a text, token ids, or a list of either."""
    if type(value) is str:
        _few_characters(name, len(value), limits)
        return
    if type(value) is not list or not value:
        raise bad(f"`{name}` must be a text, token ids, or a list of either, and not empty", name)
    if type(value[0]) is int:
        _tokens(name, [value], limits)
        return
    if len(value) > limits.prompts:
        raise bad(f"`{name}` holds {len(value)} prompts; the limit is {limits.prompts}", name)
    if all(type(text) is str for text in value):
        _few_characters(name, sum(map(len, value)), limits)
    elif all(type(ids) is list and ids for ids in value):
        _tokens(name, value, limits)
    else:
        raise bad(f"`{name}` must hold texts alone, or lists of token ids alone", name)


def num_prompts(value: Any) -> int:
    """Return how many prompts a checked `prompt` holds."""
    return 1 if type(value) is str or type(value[0]) is int else len(value)


def _parts(name: str, content: Any) -> int:
    """Check content given in parts; return its characters."""
    if type(content) is not list or not content:
        raise bad(f"`{name}` must be a text, or a list of parts of text", name)
    num_characters = 0
    for part in content:
        if type(part) is not dict or part.keys() != {"type", "text"} or part["type"] != "text" or type(part["text"]) is not str:
            raise bad(f"`{name}` may hold parts of type text alone; students take no media", name, "not_offered")
        num_characters += len(part["text"])
    return num_characters


def _few_characters(name: str, num_characters: int, limits: Limits) -> None:
    if num_characters > limits.prompt_characters:
        raise bad(f"`{name}` holds {num_characters} characters; the limit is {limits.prompt_characters}", name, "too_long")


def _tokens(name: str, prompts: list[list[Any]], limits: Limits) -> None:
    num_tokens = sum(map(len, prompts))
    if num_tokens > limits.prompt_tokens:
        raise bad(f"`{name}` holds {num_tokens} tokens; the limit is {limits.prompt_tokens}", name, "too_long")
    if not all(map(_token_id, (token for ids in prompts for token in ids))):
        raise bad(f"`{name}` must hold token ids, whole numbers from 0", name)


def _token_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_TOKEN_ID


def _biased(item: tuple[str, Any]) -> bool:
    token, bias = item
    known = token.isascii() and token.isdigit() and len(token) <= 10 and int(token) <= MOST_TOKEN_ID
    return known and type(bias) in (int, float) and math.fabs(bias) <= 100
