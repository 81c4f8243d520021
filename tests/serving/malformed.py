"""Requests that no client should send, made from a seed: each is wrong in its bytes, its fields, its place or its headers.

`malformed(seed, number)` yields requests; what they have in common is that no answer to them may be a 5xx, and that most must be a 4xx.
Some are merely odd and may be answered: they are marked so.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 1e308, -1e308, 1e-320, 0.5, "", "x", "\x00", "\U0010ffff", "NaN",
    "x" * 5000, [], [None], [[]], [[[]]], {}, {"": None}, {"a": {"b": {}}}, [1, "2", None], ["a"] * 300, [{}], [True], [-1], [[2**40]],
)  # fmt: skip
FIELDS = (
    "messages", "prompt", "model", "max_tokens", "max_completion_tokens", "min_tokens", "n", "best_of", "temperature", "top_p", "top_k",
    "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "length_penalty", "seed", "stop", "stop_token_ids",
    "logit_bias", "logprobs", "top_logprobs", "prompt_logprobs", "echo", "suffix", "stream", "stream_options", "user", "response_format",
    "tools",
    "tool_choice", "functions", "function_call", "guided_json", "guided_regex", "guided_choice", "structured_outputs", "chat_template",
    "chat_template_kwargs", "mm_processor_kwargs", "media_io_kwargs", "vllm_xargs", "kv_transfer_params", "documents", "priority",
    "request_id", "session_id", "cache_salt", "bad_words", "allowed_token_ids", "use_beam_search", "truncate_prompt_tokens",
    "add_generation_prompt", "continue_final_message", "add_special_tokens", "ignore_eos", "skip_special_tokens", "return_token_ids",
    "prompt_embeds", "modalities", "audio", "store", "metadata", "reasoning_effort", "service_tier", "parallel_tool_calls",
    "include_stop_str_in_output", "spaces_between_special_tokens", "return_tokens_as_token_ids", "logprob_token_ids", "stream_interval",
)  # fmt: skip
KNOWN_BAD: tuple[dict[str, Any], ...] = (
    {"logit_bias": {"-1": 1}}, {"logit_bias": {"999999999": 1}}, {"logit_bias": {"1": 1e9}}, {"logit_bias": {"x": 1}},
    {"response_format": {"type": "json_schema"}}, {"response_format": {"type": "json_object"}}, {"response_format": {"type": 7}},
    {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tool_choice": "required"}, {"tool_choice": {"type": "function"}},
    {"stream_options": {"include_usage": True}}, {"stream": True, "stream_options": {"include_usage": "yes"}}, {"stream": "yes"},
    {"stream": True, "stream_options": []}, {"n": 0}, {"n": -1}, {"n": 10**9}, {"temperature": -1}, {"temperature": 1e9}, {"top_p": 0},
    {"top_p": 1.5}, {"top_k": -5}, {"min_p": 2}, {"seed": 2**64}, {"seed": "1"}, {"seed": 1.5}, {"max_tokens": 0}, {"max_tokens": -1},
    {"max_tokens": 10**12}, {"max_tokens": 100_000}, {"max_tokens": "10"}, {"max_tokens": 1.5}, {"min_tokens": 50, "max_tokens": 5},
    {"stop": [""]}, {"stop": ["a"] * 100}, {"stop": {"a": 1}}, {"stop_token_ids": [10**9 * 5]}, {"repetition_penalty": 0},
    {"presence_penalty": 3}, {"top_logprobs": 3}, {"top_logprobs": 500, "logprobs": True}, {"logprobs": 500}, {"model": "nobody"},
    {"model": "../../etc/passwd"}, {"model": ""}, {"model": None}, {"guided_json": {"type": "object"}}, {"chat_template": "{{ 7 * 7 }}"},
    {"chat_template": "{% for x in range(999999999) %}{% endfor %}"}, {"mm_processor_kwargs": {"a": 1}}, {"vllm_xargs": {"a": 1}},
    {"n": 3, "temperature": 0}, {"temperature": 0.0, "n": 2, "stream": True}, {"ignore_eos": 1}, {"structured_outputs": {"regex": "("}},
)  # fmt: skip
MESSAGES: tuple[Any, ...] = (
    [], [{}], [{"role": "user"}], [{"content": "x"}], [{"role": "nobody", "content": "x"}], [{"role": "user", "content": None}],
    [{"role": "user", "content": 7}], [{"role": "user", "content": []}], [{"role": "user", "content": [{"type": "text"}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
    [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}],
    [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:,x"}}]}], [{"role": "tool", "content": "x"}],
    [{"role": "assistant", "content": "x", "tool_calls": [{}]}], [{"role": ["user"], "content": "x"}], [None], ["x"], "x", {"role": "user"},
    [{"role": "user", "content": "x"}] * 500, [{"role": "user", "content": "word " * 5000}], [{"role": "user", "content": "x", "name": {}}],
)  # fmt: skip
PROMPTS: tuple[Any, ...] = (
    [], "", [""], [[]], [-1], [10**9], [[10**9]], [1.5], [None], ["a", 1], [[1], "a"], [[["a"]]], {}, 7, True, ["a"] * 1000, "word " * 5000,
    [0] * 5000, [299, 300, 301], [[1, 2], [100_000]], {"prompt": "x"}, [True],
)  # fmt: skip


@dataclass
class Request:
    """One request; `may_pass` marks what is odd rather than wrong."""

    content: bytes
    path: str = CHAT
    method: str = "POST"
    headers: dict[str, str | bytes] = field(default_factory=dict)
    may_pass: bool = False


def malformed(model: str, number: int, seed: int = 0) -> Iterator[Request]:
    """Yield `number` requests, the same for the same seed."""
    chance = random.Random(seed)
    kinds = (
        _no_json,
        _cut,
        _strange_field,
        _strange_field,
        _known_bad,
        _messages,
        _prompts,
        _missing,
        _nested,
        _duplicated,
        _headers,
        _places,
    )
    for _ in range(number):
        yield chance.choice(kinds)(chance, model)


def good(model: str, path: str) -> dict[str, Any]:
    """Return a request with nothing wrong."""
    asked = {"prompt": "How much?"} if path == COMPLETIONS else {"messages": [{"role": "user", "content": "How much?"}]}
    return {"model": model, "max_tokens": 2, **asked}


def _json(body: Any, path: str = CHAT, **more: Any) -> Request:
    return Request(json.dumps(body).encode(), path, **more)


def _no_json(chance: random.Random, model: str) -> Request:
    noise: tuple[Callable[[], bytes], ...] = (
        lambda: b"", lambda: chance.randbytes(chance.randrange(1, 200)), lambda: b"\xff\xfe{}", lambda: b'{"model": NaN}', lambda: b"null",
        lambda: b'{"model": Infinity}', lambda: b"'single'", lambda: b"[1,2", lambda: b"\x00" * 50, lambda: b'"' + b"\\u0000" * 9 + b'"',
        lambda: b'{"messages": [{"role": "user", "content": "\\ud800"}]}', lambda: b"9" * 5000, lambda: b'{"a": 1e99999}',
        lambda: "".join(chance.choices(string.printable, k=80)).encode(), lambda: b'{"model": "a"} trailing', lambda: b"-",
    )  # fmt: skip
    return Request(chance.choice(noise)(), chance.choice((CHAT, COMPLETIONS)))


def _cut(chance: random.Random, model: str) -> Request:
    path = chance.choice((CHAT, COMPLETIONS))
    whole = json.dumps(good(model, path)).encode()
    return Request(whole[: chance.randrange(len(whole))], path)


def _strange_field(chance: random.Random, model: str) -> Request:
    path = chance.choice((CHAT, COMPLETIONS))
    body = {**good(model, path), chance.choice(FIELDS): chance.choice(STRANGE)}
    if chance.random() < 0.3:
        body[chance.choice(FIELDS)] = chance.choice(STRANGE)
    return _json(body, path, may_pass=True)


def _known_bad(chance: random.Random, model: str) -> Request:
    path = chance.choice((CHAT, COMPLETIONS))
    return _json(good(model, path) | chance.choice(KNOWN_BAD), path, may_pass=path == COMPLETIONS)


def _messages(chance: random.Random, model: str) -> Request:
    return _json(good(model, CHAT) | {"messages": chance.choice(MESSAGES)})


def _prompts(chance: random.Random, model: str) -> Request:
    return _json(good(model, COMPLETIONS) | {"prompt": chance.choice(PROMPTS)}, COMPLETIONS, may_pass=True)


def _missing(chance: random.Random, model: str) -> Request:
    path = chance.choice((CHAT, COMPLETIONS))
    body = good(model, path)
    del body[chance.choice(("model", "prompt" if path == COMPLETIONS else "messages"))]
    return _json(body, path)


def _nested(chance: random.Random, model: str) -> Request:
    depth = chance.choice((20, 150, 250, 20_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inside = opening * depth + b"1" + closing * depth
    return Request(b'{"model": "' + model.encode() + b'", "logit_bias": ' + inside + b"}")


def _duplicated(chance: random.Random, model: str) -> Request:
    body = json.dumps(good(model, CHAT)).encode()
    return Request(body[:-1] + b', "model": "nobody", "n": 1, "n": -4}')


def _headers(chance: random.Random, model: str) -> Request:
    strange: dict[str, str | bytes] = {
        "content-type": chance.choice(("text/plain", "application/xml", "multipart/form-data", "", "application/json; charset=utf-16")),
        "content-encoding": chance.choice(("gzip", "br", "identity")),
        "x-request-id": chance.choice((b"\xff\xfe", b"a" * 5000, b"'; drop", b"")),
        "authorization": chance.choice(("Bearer", "Basic x", "Bearer \t", "Bearer " + "x" * 9000)),
        "x-request-timeout-seconds": chance.choice(("-1", "x", "1e9", "0")),
        "serve_multiplexed_model_id": "x",
        "x-long": "x" * 30_000,
        "cookie": "a=b; " * 50,
        "accept-encoding": "gzip, br, nonsense",
    }
    chosen = {name: strange[name] for name in chance.sample(sorted(strange), k=2)}
    return _json(good(model, CHAT), headers=chosen, may_pass=True)


def _places(chance: random.Random, model: str) -> Request:
    path = chance.choice(
        ("/", "//", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions/", "/v1/completions/../models", "/tokenize", "/docs", "/openapi.json",
         "/v1/embeddings", "/v1/models/", "/v1/models/%00", "/v1/models/..%2f..%2fetc", "/-/routes/x", "/" + "a" * 3000, "/%ff%fe", CHAT,
         COMPLETIONS, "/v1/models", "/metrics", "/health", "/ready", "/v1/load_lora_adapter", "/pause", "/sleep?level=1", CHAT + "?a=%ff")
    )  # fmt: skip
    method = chance.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"))
    return Request(json.dumps(good(model, CHAT)).encode() if method not in ("GET", "HEAD") else b"", path, method, may_pass=True)
