"""What travels between the gate's process and a student's: size and kind of what follows, number of the request, then JSON or the bytes of
an answer. Nothing is unpickled, no code travels.
"""

from __future__ import annotations

import asyncio
import struct
from enum import IntEnum

from mixray.serving.answers import Answer

HEAD = struct.Struct("!IBI")
# Status, whether it streams, tokens of prompt and response plus one; 0 where they are not told.
ANSWER_HEAD = struct.Struct("!HBII")


class Kind(IntEnum):
    """What a frame is."""

    ASK = 1
    CANCEL = 2
    ANSWER = 3
    PIECE = 4
    END = 5
    FAILED = 6
    """The student stumbled over this request; it is well otherwise."""
    GONE = 7
    """The student can answer nobody any more."""
    GOING = 8
    """It answers what it was asked, and wants no more."""


def frame(kind: Kind, number: int, payload: bytes = b"") -> bytes:
    """Return a frame as it travels."""
    return HEAD.pack(len(payload), kind, number) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[Kind, int, bytes]:
    """Return the next frame; asyncio.IncompleteReadError where there is no more."""
    size, kind, number = HEAD.unpack(await reader.readexactly(HEAD.size))
    return Kind(kind), number, await reader.readexactly(size) if size else b""


def packed(piece: Answer | bytes) -> tuple[Kind, bytes]:
    """Return what an answer, or a piece of one, is as a frame."""
    if isinstance(piece, bytes):
        return Kind.PIECE, piece
    tokens = [0 if number is None else number + 1 for number in (piece.num_prompt_tokens, piece.num_response_tokens)]
    return Kind.ANSWER, ANSWER_HEAD.pack(piece.status, piece.streams, *tokens) + piece.content


def unpacked(kind: Kind, payload: bytes) -> Answer | bytes:
    """Return what `packed` was given."""
    if kind is Kind.PIECE:
        return payload
    status, streams, *tokens = ANSWER_HEAD.unpack_from(payload)
    return Answer(status, payload[ANSWER_HEAD.size :], bool(streams), *(number - 1 if number else None for number in tokens))
