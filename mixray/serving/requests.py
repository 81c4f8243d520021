"""From the bytes of a request to what the students are asked, or to a refusal: parsed once, here.

In: a body. Out: a dictionary that holds known fields alone, each within its limits, so that the engine refuses next to nothing.
"""

from __future__ import annotations

from typing import Any

import pydantic_core

from mixray.recipe import Limits, nearest
from mixray.serving import fields
from mixray.serving.fields import boolean, integer, number, only
from mixray.serving.refusals import NOT_FOUND, Refusal, bad

CHAT, COMPLETIONS = "chat", "completions"

_EITHER: dict[str, fields.Rule] = {
    "model": fields.short_text,
    "max_tokens": fields.max_tokens,
    "min_tokens": fields.max_tokens,
    "n": fields.answers,
    "temperature": number(0, 2),
    "top_p": number(0, 1, above=True),
    "top_k": integer(-1, fields.MOST_TOKEN_ID),
    "min_p": number(0, 1),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "repetition_penalty": number(0, 10, above=True),
    "seed": integer(-fields.INT64, fields.INT64 - 1),
    "stop": fields.stop,
    "stop_token_ids": fields.stop_token_ids,
    "logit_bias": fields.logit_bias,
    "stream": boolean,
    "stream_options": fields.stream_options,
    "ignore_eos": boolean,
    "skip_special_tokens": boolean,
    "spaces_between_special_tokens": boolean,
    "include_stop_str_in_output": boolean,
    "return_token_ids": boolean,
    "return_tokens_as_token_ids": boolean,
    "user": fields.short_text,
    "response_format": fields.plain_text_format,
    "best_of": only(1),
}
OFFERED: dict[str, dict[str, fields.Rule]] = {
    CHAT: {
        **_EITHER,
        "messages": fields.messages,
        "max_completion_tokens": fields.max_tokens,
        "logprobs": boolean,
        "top_logprobs": fields.logprobs,
        "tools": only([]),
        "tool_choice": only("none"),
        "store": only(False),
    },
    COMPLETIONS: {
        **_EITHER,
        "prompt": fields.prompt,
        "logprobs": fields.logprobs,
        "echo": boolean,
        "suffix": only(""),
        "add_special_tokens": boolean,
    },
}
ASKED = {CHAT: "messages", COMPLETIONS: "prompt"}
# They change nothing, or an engine does not know them.
LEFT_OUT = ("best_of", "user", "tools", "tool_choice", "store", "suffix", "response_format")


def parse(body: bytes, limits: Limits) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        Refusal: it is no JSON object in UTF-8, holds NaN or infinity, or is nested too deeply.
    """
    try:
        value = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise bad(f"The body is no JSON: {str(error)[:200]}", code="invalid_json") from None
    if type(value) is not dict:
        raise bad("The body must be a JSON object", code="invalid_json")
    # As many brackets as that is the deepest a body can be; most have fewer and need no look inside.
    if body.count(b"{") + body.count(b"[") > limits.json_depth and _depth(value, limits.json_depth) > limits.json_depth:
        raise bad(f"The body is nested too deeply; the limit is {limits.json_depth} levels", code="invalid_json")
    return value


def checked(kind: str, given: dict[str, Any], models: tuple[str, ...], limits: Limits) -> dict[str, Any]:
    """Return the fields of a request that a student is to see.

    Args:
        kind: CHAT or COMPLETIONS.
        given: the parsed body.
        models: the students there are.
        limits: of the recipe.

    Raises:
        Refusal: 400 where a field is unknown or breaks its rule, 404 where there is no such student.
    """
    offered = OFFERED[kind]
    asked: dict[str, Any] = {}
    for name, value in given.items():
        rule = offered.get(name)
        if rule is None:
            raise bad(f"`{name[:64]}` is not a field that students offer{nearest(name[:64], offered)}", name[:64], "unknown_field")
        if value is not None:  # null stands for the default, as in OpenAI's API
            rule(name, value, limits)
            asked[name] = value
    for name in ("model", ASKED[kind]):
        if name not in asked:
            raise bad(f"`{name}` is missing", name, "missing")
    if asked["model"] not in models:
        raise Refusal(NOT_FOUND, "model_not_found", f"There is no model {asked['model']!r}; the models are {list(models)}", "model")
    _agree(kind, asked, limits)
    for name in LEFT_OUT:
        asked.pop(name, None)
    return asked


def _agree(kind: str, asked: dict[str, Any], limits: Limits) -> None:
    """Check what holds between fields."""
    if "stream_options" in asked and not asked.get("stream"):
        raise bad("`stream_options` needs `stream`", "stream_options")
    if "top_logprobs" in asked and not asked.get("logprobs"):
        raise bad("`top_logprobs` needs `logprobs`", "top_logprobs")
    most = asked.get("max_completion_tokens", asked.get("max_tokens"))
    if most == 0 and (kind == CHAT or not asked.get("echo")):
        raise bad("`max_tokens` may be 0 only in completions with `echo`", "max_tokens")
    if most is not None and asked.get("min_tokens", 0) > most:
        raise bad("`min_tokens` may not be above `max_tokens`", "min_tokens")
    n = asked.get("n", 1)
    if n > 1 and asked.get("temperature") == 0:
        raise bad("`n` may be above 1 only where `temperature` is above 0", "n")
    num_answers = n * (fields.num_prompts(asked["prompt"]) if kind == COMPLETIONS else 1)
    if num_answers > limits.answers:
        raise bad(f"`n` times the prompts is {num_answers} answers; the limit is {limits.answers}", "n")


def _depth(value: Any, most: int) -> int:
    """Return how deeply lists and objects lie in one another; no more than `most + 1`."""
    level, depth = [value], 0
    while level and depth <= most:
        depth += 1
        inside = (item.values() if type(item) is dict else item for item in level)
        level = [each for item in inside for each in item if type(each) in (dict, list)]
    return depth
