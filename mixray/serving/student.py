"""A student's replica: what the gate lets through goes to vLLM's own OpenAI front end, and comes back as bytes.

In: a checked request. Out: the answer, serialised once, here; pieces of a stream as vLLM makes them, none held back. What vLLM refuses
comes back as its status, so that a request's fault is never a server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.v1.engine.exceptions import EngineDeadError

from mixray.copies import bring
from mixray.recipe import Serve
from mixray.serving.answers import Answer
from mixray.serving.door import Door, own_log
from mixray.serving.gate import Gate
from mixray.serving.inside import keep_inside
from mixray.serving.keys import Keys
from mixray.serving.pace import Pace
from mixray.serving.refusals import BAD_REQUEST, FAILED, UNAVAILABLE, error_body
from mixray.serving.requests import CHAT

STREAM_ERROR = 'data: {"error"'
STREAM_END = "data: [DONE]\n\n"


@dataclass(frozen=True)
class OwnGate:
    """What a replica needs to hold the gate itself."""

    names: tuple[str, ...]
    serve: Serve
    keys: Keys
    door: Door


class AnsweringServer(LLMServer):
    """A replica of `ray.serve.llm` that answers in bytes, and may hold adapters on its model."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        llm_config: LLMConfig,
        adapters: Mapping[str, str] | None = None,
        own_gate: OwnGate | None = None,
        fetched: Sequence[str] = (),
    ) -> None:
        """Start the engine, load adapters, given by the name they are asked by, and open the gate where this replica holds it.

        `fetched` are the addresses of students that the driver has copies of: this node needs them in the same places.
        """
        keep_inside()
        for address in fetched:
            await asyncio.to_thread(bring, address)
        await super().__init__(llm_config)
        for number, (name, folder) in enumerate((adapters or {}).items(), 1):
            adapter = DiskMultiplexConfig(model_id=name, max_total_tokens=None, local_path=folder, lora_assigned_int_id=number)
            await self.engine.resolve_lora(adapter)
        self._listening, self._pace = None, None if own_gate else Pace()
        if own_gate is not None:
            gate = Gate(Own(self, own_gate.names), own_gate.keys, own_gate.serve, own_log(own_gate.serve))
            self._listening = own_gate.door.open(gate)

    async def check_health(self) -> None:
        """Have Serve replace this replica when its engine is gone, or its door has shut."""
        await super().check_health()
        if self._listening is not None and self._listening.done():
            raise RuntimeError("the gate listens no more")

    async def answer(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield an `Answer`, then the further pieces of a stream."""
        try:
            made = await self._made(kind, body)
        except EngineDeadError:
            yield Answer(UNAVAILABLE, error_body(UNAVAILABLE, "student_unavailable", "The engine is gone; ask again later"))
            return
        except Exception as error:  # vLLM knows best whose fault it is
            made = create_error_response(error)
        if isinstance(made, ErrorResponse):
            yield refused(made.error.code, made.error.message)
        elif isinstance(made, AsyncGenerator):
            stream = _stream(made, wants_usage=(body.get("stream_options") or {}).get("include_usage", False))
            async for piece in stream if self._pace is None else joined(self._pace.pieces(stream)):
                yield piece
        else:
            usage = made.usage
            yield Answer(200, made.model_dump_json().encode(), False, usage.prompt_tokens, usage.completion_tokens)

    async def _made(self, kind: str, body: dict[str, Any]) -> Any:
        engine = self.engine
        # Two clients may send the same id at once, which an engine would take for one request.
        identity = {"request_id": uuid.uuid4().hex}
        if kind == CHAT:
            chat = ChatCompletionRequest.model_validate(body | identity)
            return await engine._oai_serving_chat.create_chat_completion(chat)
        return await engine._oai_serving_completion.create_completion(CompletionRequest.model_validate(body | identity))


class Own:
    """The students of this very process, for a gate inside it: no request leaves it."""

    def __init__(self, server: AnsweringServer, names: tuple[str, ...]) -> None:
        """Args are who answers, and by which names."""
        self.names, self._server = names, server

    def ask(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield what the student answers."""
        return self._server.answer(kind, body)

    async def num_answering(self) -> int:
        """Return how many students answer: all, while the engine lives."""
        try:
            await self._server.check_health()
        except Exception:  # whatever is wrong with it, it does not answer
            return 0
        return len(self.names)


async def _stream(pieces: AsyncGenerator[str], wants_usage: bool) -> AsyncGenerator[Answer | bytes]:
    """Yield a stream's pieces; an error that comes first is an answer, not a stream."""
    last, first = "", True
    try:
        async for piece in pieces:
            if first and piece.startswith(STREAM_ERROR):
                told = json.loads(piece.removeprefix("data: "))["error"]
                yield refused(told.get("code", FAILED), told.get("message", ""))
                return
            if first:
                yield Answer(200, piece.encode(), streams=True)
            elif wants_usage and piece == STREAM_END:
                usage = json.loads(last.removeprefix("data: ")).get("usage") or {}
                yield Answer(200, piece.encode(), True, usage.get("prompt_tokens"), usage.get("completion_tokens"))
            else:
                yield piece.encode()
            last, first = piece, False
    finally:
        await pieces.aclose()


async def joined(gathered: AsyncGenerator[list[Answer | bytes]]) -> AsyncGenerator[Answer | bytes]:
    """Yield what was gathered, pieces that follow one another as one."""
    async with contextlib.aclosing(gathered):
        async for pieces in gathered:
            for are_bytes, together in itertools.groupby(pieces, lambda piece: isinstance(piece, bytes)):
                if are_bytes:
                    yield b"".join(piece for piece in together if isinstance(piece, bytes))
                else:
                    for piece in together:
                        yield piece


def refused(status: Any, message: str) -> Answer:
    """Return the answer to a request that vLLM refused; what failed inside is for the log alone."""
    status = status if isinstance(status, int) and BAD_REQUEST <= status < 600 else FAILED
    if status >= FAILED:
        return Answer(status, error_body(status, "internal_error", "The student failed on this request"))
    return Answer(status, error_body(status, "invalid_value", message[:1000]))
