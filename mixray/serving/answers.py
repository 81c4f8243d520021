"""What passes between the gate and the students."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What a student answers first: all of it, or the first piece of a stream whose other pieces are bytes."""

    status: int
    content: bytes
    streams: bool = False
    num_prompt_tokens: int | None = None
    num_response_tokens: int | None = None


class Students(Protocol):
    """Who is behind the gate."""

    names: tuple[str, ...]

    def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield an `Answer`, then the further pieces of a stream. Refusal: the student cannot answer now."""
        ...

    async def num_answering(self) -> int:
        """Return how many of them answer."""
        ...
