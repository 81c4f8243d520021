"""What an answer looks like, whatever it says: finished or cut off, empty, looping, garbled; and where its thinking ends.

Pure: text in, words out, the same on every machine. Whether the answer is right is not judged here.
"""

from __future__ import annotations

import re
import zlib

from mixray.rows import THINK_TAGS

OPEN, CLOSE = THINK_TAGS
LOOPING_REPETITION = 0.9  # prose and worked mathematics compress to a third or so; a loop to a tenth or less
LOOPING_CHARACTERS = 400  # a short answer may well repeat itself
GARBLED_SHARE = 0.05  # of characters that no text holds
FINISH_REASONS = {
    "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "max_length": "length",
}  # fmt: skip
"""What other programs call the two ways an answer ends."""
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffd]")


def repetition(text: str) -> float:
    """Return the share of `text` that says nothing new: 1 minus its compressed size over its size, at least 0."""
    data = text.encode("utf-8", errors="replace")
    return max(0.0, 1 - len(zlib.compress(data, 6)) / len(data)) if data else 0.0


def status(text: str, finish_reason: str | None) -> str:
    """Return ok, truncated, looping, garbled or empty; the first that holds of empty, garbled, looping, truncated."""
    if not text.strip():
        return "truncated" if finish_reason == "length" else "empty"
    if len(_ODD.findall(text)) > GARBLED_SHARE * len(text):
        return "garbled"
    if len(text) >= LOOPING_CHARACTERS and repetition(text) >= LOOPING_REPETITION:
        return "looping"
    return "truncated" if finish_reason == "length" else "ok"


def storable(text: str) -> str:
    """Return `text` as UTF-8 can hold it: two halves of a surrogate pair become one character, a half alone becomes U+FFFD."""
    return text.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")


def with_thinking(text: str, tags: tuple[str, str], opened: bool, keep: bool) -> str:
    """Return a response with its thinking in `<think>` and `</think>`, or without it.

    Args:
        text: what the model wrote.
        tags: how this model marks thinking.
        opened: whether the prompt already held the opening tag, as some chat templates end with it; it is put back.
        keep: False drops everything up to the last closing tag; of an answer that never stops thinking nothing is left.
    """
    if opened and tags[0] and not text.lstrip().startswith(tags[0]):
        text = f"{tags[0]}{text}"
    if tags != (OPEN, CLOSE):
        for tag, ours in zip(tags, (OPEN, CLOSE), strict=True):
            text = text.replace(tag, ours) if tag else text  # a model may have one of them alone, or none
    if keep:
        return text
    after = text.rpartition(CLOSE)[2]
    return after.partition(OPEN)[0].lstrip()


def with_reasoning(text: str, reasoning: str, finish_reason: str, tags: tuple[str, str] = THINK_TAGS) -> str:
    """Return an answer as the model would have written it: what an endpoint tells apart as its reasoning, in `tags`, before the rest.

    Thinking that was cut off stays open. An answer that closes thinking it never opened is given the opening tag, which stood in the
    endpoint's prompt.
    """
    opening, closing = tags
    if reasoning:
        ended = text.strip() or finish_reason != "length"
        return f"{opening}\n{reasoning}" + (f"\n{closing}\n\n{text}" if ended else "")
    if opening and closing and closing in text and opening not in text.partition(closing)[0]:
        return f"{opening}{text}"
    return text
