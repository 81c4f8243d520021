"""The request cache: replies of endpoints, kept as they come, so that a killed run does not pay twice for its blocks in flight.

In: what is asked, and what came back. Out: the same reply, in any later run over the same store. One small file for each request under
`<storage>/.replies/`, named by a digest of the URL, the body and the seed, never of the key. The folder may be removed at any time.

What survives a kill: every reply that `put` kept. A torn or foreign file counts as missing and is written over. No answer rests on the
cache: where the storage fails it, the log says so and the question is asked, or its reply used, without it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mixray.errors import StoreError
from mixray.reply import Reply
from mixray.rows import digest
from mixray.store import Store

FOLDER = ".replies"
log = logging.getLogger("mixray.teachers")


class Replies:
    """The replies kept in a store. Small and picklable; calls block, and may overlap from any number of threads and machines."""

    def __init__(self, store: Store, folder: str = FOLDER) -> None:
        self.store, self.folder = store, folder

    def name(self, url: str, body: Mapping[str, Any], seed: int) -> str:
        """Return the name of a request; the seed counts also where the body does not hold it, for it tells samples apart."""
        return digest({"url": url, "body": dict(body), "seed": seed})

    def get(self, name: str) -> tuple[Reply, float] | None:
        """Return a reply and the seconds it took, or None where there is none that can be read; the log tells of a storage that fails."""
        try:
            kept = json.loads(self.store.fs.cat_file(self._path(name)))
            seconds = kept.pop("seconds")
            reply = Reply(**kept)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # none, or torn by a kill: it is asked again
            return None
        except (OSError, StoreError) as error:
            log.warning("a kept reply cannot be read, and its question is asked again: %s", error)
            return None
        counts = (reply.num_prompt_tokens, reply.num_response_tokens)
        whole = isinstance(reply.text, str) and isinstance(reply.reasoning, str) and isinstance(seconds, float)
        return (reply, seconds) if whole and worth_keeping(reply) and all(isinstance(count, int | None) for count in counts) else None

    def put(self, name: str, reply: Reply, seconds: float) -> None:
        """Keep a reply that is worth it; where that fails the log says so, for the reply at hand is paid for and still good."""
        if not worth_keeping(reply):
            return
        try:
            self.store.put(self._path(name), json.dumps(asdict(reply) | {"seconds": seconds}).encode())
        except (OSError, StoreError) as error:
            log.warning("a reply cannot be kept, and a killed run would ask for it again: %s", error)

    def _path(self, name: str) -> str:
        return f"{self.store.root}/{self.folder}/{name[:2]}/{name}.json"


def worth_keeping(reply: Reply) -> bool:
    """Whether a reply is a whole answer. A blank one is not: an endpoint in trouble sends it, and asking again may help."""
    return reply.finish_reason in ("stop", "length") and bool(reply.text.strip() or reply.reasoning.strip())
