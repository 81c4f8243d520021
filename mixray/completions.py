"""Asking an OpenAI-compatible endpoint one question, with as many tries as can help: the same for teachers and for students.

In: the body of a completion. Out: what the endpoint replied, read as the caller wants (`mixray.reply`), or a `Refused` that says why not. A
key goes into one header and nowhere else: what an endpoint says of its troubles is told without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from mixray.certificates import certificates

# An endpoint that is full, starting or gone for a moment: asking again can help. Anything else is an answer. 520 to 529 are those of
# the caches and gates that stand before many endpoints.
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
TOO_MANY = 429
WHOLE_ENDPOINT_STATUS = frozenset({TOO_MANY, 503})  # a time stated with these holds for every question
KEY_STATUS = frozenset({401, 403})
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0  # between two tries, where the endpoint names no time
LONGEST_PAUSE_SECONDS = 600.0  # where it does: a day's quota is not waited for, its question ends with the reason
LIMIT_PATIENCE = 10  # times max_tries: how often a limit may turn one question away while others are answered
LONGEST_CONNECT_SECONDS = 30.0
# What httpx spends on a request grows with the connections of its pool (3 ms at 16, 11 ms at 256): so there are several small ones.
POOL_CONNECTIONS = 16
MOST_REPLY_BYTES = 64 * 2**20
REASON_CHARACTERS = 300
CHAT, COMPLETIONS = "chat/completions", "completions"

T = TypeVar("T")


class Refused(Exception):
    """A question that got no answer: refused, or tried as often as is allowed. Says why in a line, without the key."""


class KeyRefused(Refused):
    """The endpoint knows no such key, or does not let it in: no other question would fare better."""


class _Passing(Exception):
    """A try that failed for what may pass; `wait_seconds` is what the endpoint asked for, if it did."""

    def __init__(self, reason: str, status: int = 0, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.wait_seconds = status, wait_seconds


class Client:
    """One endpoint, asked from one event loop. Where it asks to be left alone, every question waits."""

    def __init__(
        self, url: str, key: str | None, timeout_seconds: float, max_tries: int, concurrency: int, tls_cert: str | None = None
    ) -> None:
        """Args are the base URL up to /v1, a key if any, limits (of one try, of tries, of connections), and whom alone to trust, if so."""
        self.url, self.timeout_seconds, self.max_tries = url, timeout_seconds, max_tries
        self.num_answered = 0
        self._key, self._paused_until = key, 0.0
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
        trusted = certificates(tls_cert)  # slow to make
        self._pools = [
            httpx.AsyncClient(
                headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
                timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, LONGEST_CONNECT_SECONDS), pool=None),
                limits=httpx.Limits(max_connections=POOL_CONNECTIONS, max_keepalive_connections=POOL_CONNECTIONS),
                verify=trusted,
            )
            for _ in range(math.ceil(concurrency / POOL_CONNECTIONS))
        ]
        self._in_flight = [0] * len(self._pools)

    async def close(self) -> None:
        """Close the connections."""
        for pool in self._pools:
            await pool.aclose()

    async def ask(self, body: Mapping[str, Any], seed: int, read: Callable[[Any], T], route: str = CHAT) -> T:
        """Return what `read` makes of the endpoint's reply.

        Tries turned away by a limit (HTTP 429) count only since another question was last answered: until then the endpoint was well,
        and merely asked too much. Beyond `LIMIT_PATIENCE` times `max_tries` it is the question that is too much.

        Args:
            body: of the request.
            seed: spreads the waits, so that a crowd does not come back as one.
            read: takes the parsed JSON; where it raises ValueError, KeyError or the like, the reply is unreadable and asked for again.
            route: what is asked of the endpoint.

        Raises:
            KeyRefused: HTTP 401, and 403 where nothing was answered yet; later, a 403 is said of the question.
            Refused: an answer that no further try would change, or `max_tries` tries.
        """
        content, chance = json.dumps(body, allow_nan=False).encode(), random.Random(seed)
        num_tries = num_failed = num_turned_away = 0
        num_answered = self.num_answered
        while True:
            await self._wait_out_pause(chance)
            try:
                reply = read(await self._post(content, completions_url(self.url, route)))
                self.num_answered += 1
                return reply
            except _Passing as error:
                trouble = error
            except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
                trouble = _Passing(self._told(f"{type(error).__name__}: {error}"))
            if trouble.status != TOO_MANY:
                num_failed += 1
            else:
                num_turned_away = num_turned_away + 1 if self.num_answered == num_answered else 0
            num_tries, num_answered = num_tries + 1, self.num_answered
            if num_failed + num_turned_away >= self.max_tries or num_tries >= LIMIT_PATIENCE * self.max_tries:
                raise Refused(str(trouble))
            await self._back_off(trouble, num_tries, chance)

    async def _post(self, content: bytes, url: str) -> Any:
        try:
            async with asyncio.timeout(self.timeout_seconds), self._response(content, url) as response:
                data = bytearray()
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > MOST_REPLY_BYTES:
                        raise ValueError(f"a reply of more than {MOST_REPLY_BYTES} bytes")
        except TimeoutError:
            raise _Passing(f"no answer within {self.timeout_seconds:g} seconds") from None
        except httpx.InvalidURL as error:
            raise Refused(f"InvalidURL: {error}") from None
        except httpx.RequestError as error:
            raise _Passing(self._told(f"{type(error).__name__}: {error}")) from None
        status = response.status_code
        if status == httpx.codes.OK:
            return json.loads(data)
        reason = self._told(f"HTTP {status}: {data.decode('utf-8', errors='replace')}")
        if status in PASSING_STATUS:
            raise _Passing(reason, status, retry_after(response.headers, time.time()))
        if status == httpx.codes.UNAUTHORIZED:
            raise KeyRefused("HTTP 401")  # the body may hold a piece of the key
        raise KeyRefused(reason) if status in KEY_STATUS and not self.num_answered else Refused(reason)

    @contextlib.asynccontextmanager
    async def _response(self, content: bytes, url: str) -> AsyncIterator[httpx.Response]:
        least = min(range(len(self._pools)), key=self._in_flight.__getitem__)
        self._in_flight[least] += 1
        try:
            async with self._pools[least].stream("POST", url, content=content) as response:
                yield response
        finally:
            self._in_flight[least] -= 1

    async def _wait_out_pause(self, chance: random.Random) -> None:
        while (seconds := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(seconds + chance.uniform(0, FIRST_WAIT_SECONDS))

    async def _back_off(self, trouble: _Passing, num_tries: int, chance: random.Random) -> None:
        """Wait as long as the endpoint asked for, all questions where its limit is reached; else twice as long as the last time."""
        if trouble.wait_seconds is None:
            longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(num_tries - 1, 30))
            await asyncio.sleep(longest * chance.uniform(0.5, 1))
        elif trouble.status in WHOLE_ENDPOINT_STATUS:
            self._paused_until = max(self._paused_until, time.monotonic() + trouble.wait_seconds)
        else:
            await asyncio.sleep(trouble.wait_seconds)

    def _told(self, reason: str) -> str:
        return (reason.replace(self._key, "***") if self._key else reason)[:REASON_CHARACTERS]


def completions_url(url: str, route: str = CHAT) -> str:
    """Return where questions are posted to, from a base URL up to and including /v1."""
    return f"{url.rstrip('/')}/{route}"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return for how many seconds an endpoint wants to be left alone, at most `LONGEST_PAUSE_SECONDS`; None where it does not say.

    Args:
        headers: with names in lower case; `retry-after-ms` goes before `retry-after`, which holds seconds or a date.
        now: seconds since the epoch; dates are measured from the endpoint's own `date` where it sends one, since clocks differ.
    """
    stated = headers.get("retry-after", "")
    seconds = _number(headers.get("retry-after-ms", ""))
    seconds = _number(stated) if seconds is None else seconds / 1000
    if seconds is None and (date := _date(stated)) is not None:
        sent = _date(headers.get("date", ""))
        seconds = max(0.0, date - (now if sent is None else sent))
    return None if seconds is None else min(seconds, LONGEST_PAUSE_SECONDS)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*[0-9]+(\.[0-9]*)?\s*", text) else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):  # no date, or one that no clock can show
        return None
