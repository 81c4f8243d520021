"""What is kept of each request: one line of an access log and Prometheus metrics; never a prompt, an answer or a key.

In: a `Record`, filled by the gate. Out: a JSON line per request in a file that is rotated by size, and the text of `/metrics`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

log = logging.getLogger("mixray.serving")
MOST_LOG_BYTES = 256 * 2**20
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


@dataclass(slots=True)
class Record:
    """One request, as far as it has come."""

    request_id: str
    method: str
    route: str
    started: float = field(default_factory=time.perf_counter)
    key: str | None = None
    model: str | None = None
    stream: bool = False
    status: int = 0
    refused: str | None = None
    num_prompt_tokens: int | None = None
    num_response_tokens: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    first_byte_seconds: float | None = None
    seconds: float = 0.0


class AccessLog:
    """A file that gets one JSON line per request; at `most_bytes` it is set aside as `<name>.1`."""

    def __init__(self, path: str | Path, most_bytes: int = MOST_LOG_BYTES) -> None:
        """Open it for appending, for its owner alone to read."""
        self.path, self.most_bytes = Path(path), most_bytes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._has_told = _opened(self.path), False
        self._num_bytes = os.fstat(self._file).st_size

    def write(self, record: Record) -> None:
        """Append a line; lines of several processes do not mix, since each is one write."""
        line = {
            "time": round(time.time(), 6), "id": record.request_id, "key": record.key, "method": record.method, "route": record.route,
            "model": record.model, "status": record.status, "refused": record.refused, "stream": record.stream,
            "prompt_tokens": record.num_prompt_tokens, "response_tokens": record.num_response_tokens,
            "seconds": round(record.seconds, 6),
            "first_byte_seconds": None if record.first_byte_seconds is None else round(record.first_byte_seconds, 6),
            "request_bytes": record.request_bytes, "response_bytes": record.response_bytes,
        }  # fmt: skip
        data = json.dumps(line).encode() + b"\n"
        if self._num_bytes + len(data) > self.most_bytes:
            self._set_aside()
        self._num_bytes += os.write(self._file, data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _set_aside(self) -> None:
        """Begin a new file; where that fails the old one goes on growing, and the next line tries again."""
        fresh, former = (self.path.with_name(self.path.name + ending) for ending in (".new", ".1"))
        try:
            opened = _opened(fresh)
        except OSError as error:
            self._tell_once(error)
            return
        try:
            with contextlib.suppress(FileNotFoundError):  # somebody else has moved it
                os.replace(self.path, former)
            os.replace(fresh, self.path)
        except OSError as error:
            os.close(opened)
            self._tell_once(error)
            return
        os.close(self._file)
        self._file, self._num_bytes, self._has_told = opened, 0, False

    def _tell_once(self, error: OSError) -> None:
        if not self._has_told:
            log.warning("the access log %s cannot be set aside and goes on growing: %s", self.path, error)
        self._has_told = True


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


class Metrics:
    """Counts of one gate, in a registry of its own."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self.registry}
        timed: dict[str, Any] = {**kept, "buckets": SECONDS}
        self._requests = Counter("mixray_requests", "Requests answered", ["route", "model", "status"], **kept)
        self._refused = Counter("mixray_refused", "Requests refused", ["reason"], **kept)
        self._tokens = Counter("mixray_tokens", "Tokens of answers that tell them", ["model", "kind"], **kept)
        self._seconds = Histogram("mixray_seconds", "From request to end of answer", ["route", "model"], **timed)
        self._first = Histogram("mixray_first_byte_seconds", "From request to first byte", ["route", "model"], **timed)
        self.lost_lines = Counter("mixray_access_log_lines_lost", "Lines the access log could not take", **kept)
        self.ongoing = Gauge("mixray_ongoing", "Requests in flight", **kept)
        self.waiting = Gauge("mixray_waiting", "Requests that wait for a place", **kept)

    def count(self, record: Record) -> None:
        """Count a request that has ended."""
        model = record.model or ""
        self._requests.labels(record.route, model, record.status).inc()
        if record.refused:
            self._refused.labels(record.refused).inc()
        if model and record.first_byte_seconds is not None:
            self._seconds.labels(record.route, model).observe(record.seconds)
            self._first.labels(record.route, model).observe(record.first_byte_seconds)
        if record.num_prompt_tokens is not None:
            self._tokens.labels(model, "prompt").inc(record.num_prompt_tokens)
        if record.num_response_tokens is not None:
            self._tokens.labels(model, "response").inc(record.num_response_tokens)

    def text(self) -> bytes:
        """Return them as Prometheus reads them."""
        return generate_latest(self.registry)
