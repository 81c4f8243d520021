"""Errors in the words of OpenAI's API: what was wrong, which field, and when to come back."""

from __future__ import annotations

import json
from typing import Any

BAD_REQUEST, UNKNOWN_KEY, NOT_FOUND, NO_SUCH_METHOD, TOO_SLOW, TOO_LARGE = 400, 401, 404, 405, 408, 413
NO_JSON, HEADERS_TOO_LARGE, TOO_MANY, FAILED, UNAVAILABLE, TIMED_OUT = 415, 431, 429, 500, 503, 504
GONE = 499  # the client left before its answer; nobody is told, the log is


class Refusal(Exception):
    """A request that gets an error in place of an answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after_seconds: int | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.retry_after_seconds, self.allow = retry_after_seconds, allow

    def body(self) -> bytes:
        """Return the JSON that tells it."""
        return error_body(self.status, self.code, self.message, self.param)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what goes beside it."""
        headers: list[tuple[bytes, bytes]] = []
        if self.status == UNKNOWN_KEY:
            headers.append((b"www-authenticate", b"Bearer"))
        if self.retry_after_seconds is not None:
            headers.append((b"retry-after", str(self.retry_after_seconds).encode()))
        if self.allow:
            headers.append((b"allow", ", ".join(self.allow).encode()))
        return headers


def error_body(status: int, code: str, message: str, param: str | None = None) -> bytes:
    """Return an error as OpenAI's API tells it."""
    kind = "server_error" if status >= FAILED else "rate_limit_error" if status == TOO_MANY else "invalid_request_error"
    error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}).encode()


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> Refusal:
    """Return the refusal of a request that is wrong in itself."""
    return Refusal(BAD_REQUEST, code, message, param)
