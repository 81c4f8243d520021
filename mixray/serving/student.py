"""A student's replica: what the gate lets through goes to vLLM's own OpenAI front end, and comes back as bytes.

In: a checked request. Out: the answer, serialised once, here; pieces of a stream at a pace that the machine can carry. What vLLM refuses
comes back as its status, so that a request's fault is never a server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.v1.engine.exceptions import EngineDeadError

from mixray.copies import bring
from mixray.serving.answers import Answer
from mixray.serving.collector import keep_pace
from mixray.serving.inside import keep_inside
from mixray.serving.pace import at_once
from mixray.serving.refusals import BAD_REQUEST, FAILED, error_body
from mixray.serving.requests import CHAT
from mixray.serving.scaling import ONGOING
from mixray.serving.wire import Address, StudentEnd, WireCutError

STREAM_ERROR = 'data: {"error"'
STREAM_END = "data: [DONE]\n\n"


class AnsweringServer(LLMServer):
    """A replica of `ray.serve.llm` that answers in bytes, and may hold adapters on its model."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, llm_config: LLMConfig, adapters: Mapping[str, str] | None = None, fetched: Sequence[str] = ()
    ) -> None:
        """Start the engine, load adapters, given by the name they are asked by, and begin to hear requests.

        `fetched` are the addresses of students that the driver has copies of: this node needs them in the same places.
        """
        keep_inside()
        keep_pace()
        for address in fetched:
            await asyncio.to_thread(bring, address)
        await super().__init__(llm_config)
        for number, (name, folder) in enumerate((adapters or {}).items(), 1):
            adapter = DiskMultiplexConfig(model_id=name, max_total_tokens=None, local_path=folder, lora_assigned_int_id=number)
            await self.engine.resolve_lora(adapter)
        self._wire = StudentEnd(self.answer)
        await self._wire.listen(ray.util.get_node_ip_address())

    async def listening(self) -> Address:
        """Return where this replica hears requests."""
        return self._wire.address

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve how many requests are being answered."""
        return {ONGOING: self._wire.num_ongoing}

    async def __del__(self) -> None:
        """End what was begun, then the engine; Serve awaits it."""
        wire = getattr(self, "_wire", None)  # none where the engine did not start
        if wire is not None:
            await wire.drain()
            wire.hang_up()
        await super().__del__()

    async def answer(self, kind: str, body: dict[str, Any]) -> AsyncGenerator[Answer | bytes]:
        """Yield an `Answer`, then the further pieces of a stream. WireCutError: the engine is gone."""
        try:
            made = await self._made(kind, body)
        except EngineDeadError as error:
            self._wire.say_going()  # what fails at once would be asked more than those that work
            raise WireCutError("the engine is gone") from error
        except Exception as error:  # vLLM knows best whose fault it is
            made = create_error_response(error)
        if isinstance(made, ErrorResponse):
            yield refused(made.error.code, made.error.message)
        elif isinstance(made, AsyncGenerator):
            stream = _stream(made, wants_usage=(body.get("stream_options") or {}).get("include_usage", False))
            async with contextlib.aclosing(stream), contextlib.aclosing(at_once(stream)) as gathered:
                async for pieces in gathered:
                    yield joined(pieces)
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


def joined(pieces: list[Answer | bytes]) -> Answer | bytes:
    """Return pieces of one stream as one piece, with the tokens that the last of them tells."""
    content = b"".join(piece if isinstance(piece, bytes) else piece.content for piece in pieces)
    answers = [piece for piece in pieces if isinstance(piece, Answer)]
    return replace(answers[-1], content=content) if answers else content


def refused(status: Any, message: str) -> Answer:
    """Return the answer to a request that vLLM refused; what failed inside is for the log alone."""
    status = status if isinstance(status, int) and BAD_REQUEST <= status < 600 else FAILED
    if status >= FAILED:
        return Answer(status, error_body(status, "internal_error", "The student failed on this request"))
    return Answer(status, error_body(status, "invalid_value", message[:1000]))
