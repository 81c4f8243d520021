"""The parity proof: a student is asked, token for token, what training fed it.

In: the running endpoint and the students' folders. Each fixed conversation becomes tokens three ways: as trained (the record in the
student's folder, see `mixray.chat.PROBE_FILE`), as served (the endpoint tells them) and as asked (`mixray.chat.prompt_ids`). Out:
nothing, or an error that shows where two of them part.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from mixray import chat
from mixray.certificates import certificates
from mixray.errors import ServingError, TrainingError
from mixray.session import logs_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS = 120.0
AROUND_TOKENS = 8


def prove(url: str, key: str, sources: Mapping[str, str], prompts: Mapping[str, str] | None = None, tls_cert: str | None = None) -> None:
    """Ask every student the fixed conversations and compare their token ids.

    Args:
        url: of the endpoint, with /v1.
        key: to send.
        sources: model folder or hub id by student.
        prompts: user turns by name, with `{question}`, compared too: the recipe's student_prompt and those of its benchmarks.
        tls_cert: PEM file of the one certificate to trust; what the machine trusts where None.

    Raises:
        ServingError: a student does not answer, or its prompts differ.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(headers=headers, timeout=SECONDS, verify=certificates(tls_cert)) as client:
        for arm, source in sources.items():
            _prove_one(client, url, arm, source, prompts or {})


def _prove_one(client: httpx.Client, url: str, arm: str, source: str, prompts: Mapping[str, str]) -> None:
    tokenizer = chat.load_tokenizer(source)
    probes = chat.probes()
    told = {template: name for name, template in prompts.items()}
    probes |= {f"prompt of {name}": chat.ask(chat.PROBE, template) for template, name in told.items()}
    asked = {}
    for name, messages in probes.items():
        with contextlib.suppress(TrainingError):  # this template takes no such turn, so nobody is asked in it
            asked[name] = chat.prompt_ids(tokenizer, messages)
    recorded = _record(source)
    for name, ids in asked.items():
        trained = recorded.get(name)
        if trained is not None and trained != ids:
            raise _parted(arm, name, tokenizer, ("would be asked", ids), ("was trained on", trained))
        served = _served(client, url, arm, probes[name])
        if served != ids:
            raise _parted(arm, name, tokenizer, ("is served", served), ("was trained on" if trained else "would be asked", ids))


def _record(source: str) -> dict[str, list[int]]:
    """Return what training wrote down; nothing for a student that was not trained here."""
    path = Path(source) / chat.PROBE_FILE
    if not path.is_file():
        return {}
    record: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _served(client: httpx.Client, url: str, arm: str, messages: chat.Messages) -> list[int]:
    body = {"model": arm, "messages": messages, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
    try:
        answer = client.post(f"{url}/chat/completions", json=body)
    except httpx.HTTPError as error:
        raise ServingError("A student does not answer", seen=f"{arm}: {error!r}", do=f"see {logs_folder()}/serve") from error
    served: list[int] | None = answer.json().get("prompt_token_ids") if answer.status_code == httpx.codes.OK else None
    if served is None:
        raise ServingError(
            "A student does not answer as it should",
            seen=f"{arm}: {answer.status_code} {answer.text[:200]}",
            do=f"see {logs_folder()}/serve",
        )
    return served


def _parted(
    arm: str, probe: str, tokenizer: PreTrainedTokenizerBase, one: tuple[str, list[int]], other: tuple[str, list[int]]
) -> ServingError:
    """Return the error that shows the first token at which two prompts differ, with the text around it."""
    (how, ids), (rightly, right) = one, other
    shorter = min(len(ids), len(right))
    place = next((index for index in range(shorter) if ids[index] != right[index]), shorter)
    around = slice(max(0, place - AROUND_TOKENS), place + AROUND_TOKENS)
    return ServingError(
        "A student is not asked what it was trained on",
        seen=f"{arm} {how} {tokenizer.decode(ids[around])!r} around token {place} of {len(ids)} ({probe})",
        rule=f"it {rightly} {tokenizer.decode(right[around])!r} there, of {len(right)} tokens",
        do="use the chat template and tokenizer of the student's own folder",
    )
