"""The parity proof: what the endpoint feeds a student is, token for token, what training fed it.

In: the running endpoint and the students' folders. Out: nothing, or an error that shows both texts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import httpx

from mixray import chat
from mixray.errors import ServingError

# Digits, punctuation, a letter beyond ASCII, leading spaces and line breaks: where templates and tokenizers tend to part.
PROBE = " Anna has 12 pears, buys 345 more\n\nand gives ⅓ away. How many are left? {x} "
SECONDS = 120.0


def prove(url: str, key: str, sources: Mapping[str, str]) -> None:
    """Ask every student one fixed question and compare the prompt's token ids with those of `mixray.chat`.

    Raises:
        ServingError: a student does not answer, or its prompt differs.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=SECONDS) as client:
        for arm, source in sources.items():
            _prove_one(client, url, arm, source)


def _prove_one(client: httpx.Client, url: str, arm: str, source: str) -> None:
    tokenizer = chat.load_tokenizer(source)
    messages = chat.ask(PROBE)
    body = {"model": arm, "messages": messages, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
    try:
        answer = client.post(f"{url}/chat/completions", json=body)
    except httpx.HTTPError as error:
        raise ServingError("A student does not answer", seen=f"{arm}: {error!r}", do="see the logs of Ray Serve") from error
    served = answer.json().get("prompt_token_ids") if answer.status_code == httpx.codes.OK else None
    if served is None:
        raise ServingError("A student does not answer as it should", seen=f"{arm}: {answer.status_code} {answer.text[:200]}")
    trained = chat.prompt_ids(tokenizer, messages)
    if served != trained:
        raise ServingError(
            "A student is not asked what it was trained on",
            seen=f"{arm} is served {tokenizer.decode(served)!r}",
            rule=f"training gave it {tokenizer.decode(trained)!r}",
            do="use the chat template of the student's own folder",
        )
