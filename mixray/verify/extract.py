"""Find the answer a response settles on: pure string work, the same on every machine.

In: a response as the model wrote it. Out: the text of its final answer, or None. Nothing is judged here and nothing raises, whatever
the text holds; there is no state, so nothing to lose.

The rules, in order:
  * What lies before the last `</think>` is thinking and does not count; a `<think>` that is never closed leaves nothing that counts.
  * The last `\\boxed{...}` (or `\\fbox{...}`) whose braces balance is the answer; `\\boxed 7` without braces counts to the end of its
    formula or line. Earlier boxes are steps on the way.
  * Where no box is found and `unboxed` is set, the last number is the answer (GSM8K).
"""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BARE_END = re.compile(r"[$\n}]|\\[)\]]")
_NUMBER = re.compile(
    r"(?<![\w.])-?\\?\$?(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?(?:\s?\\?%)?|(?<![\w.])-?\.\d+(?:\s?\\?%)?",
    re.ASCII,
)


def final_answer(response: str, unboxed: bool = False) -> str | None:
    """Return the answer `response` settles on, or None where it gives none."""
    text = answer_part(response)
    boxed = _last_box(text)
    if boxed is not None:
        return boxed
    if not unboxed:
        return None
    numbers = _NUMBER.findall(text)
    return numbers[-1].strip() if numbers else None


def gold_answer(gold: str) -> str:
    """Return the answer within a gold: its last box, what follows `####` (GSM8K), or the gold itself."""
    boxed = _last_box(gold)
    if boxed is not None:
        return boxed
    return gold.rpartition("####")[2].strip() if "####" in gold else gold.strip()


def answer_part(response: str) -> str:
    """Return what a response says once it has stopped thinking."""
    answer = response.rpartition("</think>")[2]
    return answer.partition("<think>")[0]


def _last_box(text: str) -> str | None:
    for match in reversed(list(_BOX.finditer(text))):
        start = match.end()
        content = _braced(text, start) if text[start : start + 1] == "{" else _bare(text, start)
        if content is not None:
            return _trim(content)
    return None


def _braced(text: str, start: int) -> str | None:
    """Return what stands between the brace at `start` and its partner, or None where it has none."""
    depth, position = 0, start
    while position < len(text):
        letter = text[position]
        if letter == "\\":
            position += 1  # an escaped brace opens and closes nothing
        elif letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : position]
        position += 1
    return None


def _bare(text: str, start: int) -> str | None:
    end = _BARE_END.search(text, start)
    content = text[start : end.start() if end else len(text)].rstrip(" .,;")
    return content if content.strip() and "{" not in content else None


def _trim(content: str) -> str:
    """Strip space, and the backslash that a stripped control space leaves at the end."""
    content = content.strip()
    while (len(content) - len(content.rstrip("\\"))) % 2:
        content = content[:-1].rstrip()
    return content
