"""Find the answer a response settles on: pure string work, the same on every machine.

In: a response as the model wrote it. Out: the text of its final answer or answers. Nothing is judged here and nothing raises, whatever
the text holds; there is no state, so nothing to lose.

The rules, in order:
  * What lies before the last `</think>` is thinking and does not count; a `<think>` that is never closed leaves nothing that counts.
  * The last `\\boxed{...}` (or `\\fbox{...}`) whose braces balance is the answer; `\\boxed 7` without braces counts to the end of its
    formula or line. Earlier boxes are steps on the way.
  * Boxes that stand together, with nothing but commas, `and`, `or` or a name such as `x =` between them, answer together.
  * Where no box is found and `unboxed` is set, the last number is the answer (GSM8K).
"""

from __future__ import annotations

import re

from mixray.rows import THINK_TAGS

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BARE_END = re.compile(r"[$\n}]|\\[)\]]")
_NUMBER = re.compile(
    r"[-−]?(?:\\?\$?\d+\s?)?\\[dt]?frac\{\d+\}\{\d+\}|(?<![\w.])[-−]?\d+ \d+/\d+(?![\d/])|"
    r"(?<![\w.])[-−]?\\?\$?(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?(?:\s?\\?%)?|(?<![\w.])[-−]?\.\d+(?:\s?\\?%)?",
    re.ASCII,
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace opens and closes nothing
_LOOKED_AT = 200_000  # characters at the end: an answer that is followed by more is none
_MOST_BOXES = 200
_MOST_BETWEEN = 60  # characters between two boxes that answer together
_MOST_TOGETHER = 20
_SPACING = re.compile(r"\\(?:q?quad|[,;:! ()\[\]]|text(?:bf|rm)?\s*\{\s*(and|or|,)\s*\})|[$~\s*]", re.ASCII)
_TOGETHER = re.compile(r"(?:[,;]|and|or)(?:[,;]|and|or)*(?:\\?[a-zA-Z](?:_?\d)?(?:\([a-z]\))?=)?", re.ASCII)


def final_answer(response: str, unboxed: bool = False) -> str | None:
    """Return the answer `response` settles on, several of them with commas between, or None where it gives none."""
    answers = final_answers(response, unboxed)
    return ", ".join(answers) if answers else None


def final_answers(response: str, unboxed: bool = False) -> list[str]:
    """Return the answers that `response` gives together at its end: mostly one, none where it gives none."""
    text = answer_part(response)
    boxed = _last_boxes(text)
    if boxed or not unboxed:
        return boxed
    numbers = _NUMBER.findall(text)
    return [numbers[-1].strip()] if numbers else []


def gold_answer(gold: str) -> str:
    """Return the answer within a gold: its last boxes, what follows `####` (GSM8K), or the gold itself."""
    boxed = _last_boxes(gold)
    if boxed:
        return ", ".join(boxed)
    return gold.rpartition("####")[2].strip() if "####" in gold else gold.strip()


def answer_part(response: str) -> str:
    """Return what a response says once it has stopped thinking."""
    opening, closing = THINK_TAGS
    return response.rpartition(closing)[2].partition(opening)[0]


def _last_boxes(text: str) -> list[str]:
    """Return what the last box holds, after what the boxes hold that stand together with it; each text once."""
    text = text[-_LOOKED_AT:]
    boxes = list(_BOX.finditer(text))[-_MOST_BOXES:]
    ends = _partners(text, boxes[0].end()) if boxes else {}
    found: list[str] = []
    after = 0  # where the box that follows starts
    for box in reversed(boxes):
        braced = text[box.end() : box.end() + 1] == "{"
        end = ends.get(box.end()) if braced else _bare_end(text, box.end())
        if end is None or (found and end > after):
            continue  # never closed, or around a box that is already taken
        if found and (len(found) == _MOST_TOGETHER or not _stand_together(text[end:after])):
            break
        found.append(_trim(text[box.end() + 1 : end - 1] if braced else text[box.end() : end].rstrip(" .,;")))
        after = box.start()
    return list(dict.fromkeys(reversed(found)))


def _stand_together(between: str) -> bool:
    return len(between) <= _MOST_BETWEEN and bool(_TOGETHER.fullmatch(_SPACING.sub(r"\1", between)))


def _partners(text: str, start: int) -> dict[int, int]:
    """Return where each brace from `start` on ends, with all within it; those without a partner are left out."""
    ends: dict[int, int] = {}
    still_open: list[int] = []
    for match in _BRACE.finditer(text, start):
        if match[0] == "{":
            still_open.append(match.start())
        elif match[0] == "}" and still_open:
            ends[still_open.pop()] = match.end()
    return ends


def _bare_end(text: str, start: int) -> int | None:
    match = _BARE_END.search(text, start)
    end = match.start() if match else len(text)
    content = text[start:end].rstrip(" .,;")
    return end if content.strip() and "{" not in content else None


def _trim(content: str) -> str:
    """Strip space, and the backslash that a stripped control space leaves at the end."""
    content = content.strip()
    while (len(content) - len(content.rstrip("\\"))) % 2:
        content = content[:-1].rstrip()
    return content
