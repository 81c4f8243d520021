"""vLLM's collector of one request's tokens, which speaks at the pace of its process.

vLLM joins the tokens that come while nobody takes them, and writes them as one piece. Taking them only when the stream may speak
therefore spares the work of writing each token, and not only that of passing it on.
"""

from __future__ import annotations

from typing import Any

from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import async_llm
from vllm.v1.engine.output_processor import RequestOutputCollector

from mixray.serving.pace import Pace, Turn


def keep_pace() -> None:
    """Have every stream of this process keep one pace; called before its engine answers."""
    pace = Pace()

    def collector(output_kind: RequestOutputKind, request_id: str) -> RequestOutputCollector:
        if output_kind != RequestOutputKind.DELTA:  # a whole answer is one piece
            return RequestOutputCollector(output_kind, request_id)
        return PacedCollector(output_kind, request_id, Turn(pace))

    async_llm.RequestOutputCollector = collector


class PacedCollector(RequestOutputCollector):
    """Gives out what was collected when it is its turn."""

    def __init__(self, output_kind: RequestOutputKind, request_id: str, turn: Turn) -> None:
        super().__init__(output_kind, request_id)
        self._turn = turn

    def put(self, output: Any) -> None:
        """Take an output in; the last one, and an error, need no turn."""
        super().put(output)
        if isinstance(output, Exception) or output.finished:
            self._turn.hurry()

    def get_nowait(self) -> Any:
        """Return what was collected since, or None where there is nothing, or it is not the stream's turn."""
        if not self._turn.has_come():
            return None
        output = super().get_nowait()
        if output is not None:
            self._turn.spoken()
        return output

    async def get(self) -> Any:
        """Return what was collected when it is the stream's turn."""
        while (output := self.get_nowait()) is None:
            await self.ready.wait()
            await self._turn.come()
        return output

    def close(self) -> None:
        """Count the stream no more."""
        super().close()
        self._turn.over()
