r"""What prompts put around a question: labels before it, and sentences that say how to answer rather than what is asked.

In: a question's tokens, the marks that end sentences among them. Out: the tokens without these. Pure, and quick on any number of tokens.

Without this a short question in a prompt's clothes ("Solve:", "Let's think step by step and output the final answer within \boxed{}.")
would be another question: it has no run of words long enough to tell. Only first and last sentences go, which begin as instructions do,
hold no formula and ask for nothing; so two questions that differ only in these ask for the same. A last sentence may follow a formula
without a mark.
"""

from __future__ import annotations

import re

MARKS = frozenset(".?:")
_END_OF_SENTENCE = MARKS | {"!"}
_MOST_SENTENCES = 3  # at either end
_MOST_WORDS = 40  # of a sentence
_LABELS = frozenset(["question", "problem", "exercise", "task", "q"])
_INSTRUCTION = re.compile(
    r"""(?:(?:and|please|kindly|now|first|lets|you\ (?:should|must)|(?:make|be)\ sure\ to|remember\ to)\ )*
    (?:think(?!\ of)|reason|solve|answer|explain|justify|show|work\ (?:through|out|carefully|step|it|this)
      |be\ (?:careful|precise|concise|brief)|take\ your\ time
      |(?:here|below)\ is\ (?:an?|the)\ (?:\w+\ ){0,2}(?:question|problem|exercise|task)
      |you\ are\ an?
      |(?:put|give|write|present|return|enter|output|provide|place|express|box|state|report|leave|round)\ 
        (?:\w+\ ){0,4}(?:answers?|solutions?|results?|reasoning|steps|work))\b""",
    re.VERBOSE,
)
_STEP_BY_STEP = re.compile(r"\b(?:please |lets )?(?:think|reason) (?:this through )?step by step\b")  # goes even without a mark before it
_ASKS = re.compile(r"\b(?:find|compute|calculate|evaluate|determine|how|what|which|who|why|when|where|whether|prove|that|for)\b")


def without_instructions(tokens: list[str]) -> list[str]:
    """Return the tokens without labels and without first and last sentences on how to answer."""
    begin, end = 0, len(tokens)
    for _ in range(_MOST_SENTENCES):
        after = _after_first_sentence(tokens, begin, end) if begin < end else end
        if after in (begin, end):
            break
        begin = after
    for _ in range(_MOST_SENTENCES):
        before = _before_last_sentence(tokens, begin, end)
        if before in (begin, end):
            break
        end = before
    return tokens[begin:end]


def _after_first_sentence(tokens: list[str], begin: int, end: int) -> int:
    """Return where the question goes on behind an instruction or a label; `begin` where there is none."""
    if tokens[begin] in _LABELS:
        mark = begin + 1 + (begin + 1 < end and tokens[begin + 1].isdigit())
        if mark < end and tokens[mark] in (":", ".", ")"):
            return mark + 1
    place = begin
    while place < min(end, begin + _MOST_WORDS) and _is_word(tokens[place]):
        place += 1
    if place < end and tokens[place] in (":", ".", "!") and _only_instructs(tokens[begin:place]):
        return place + 1
    return begin


def _before_last_sentence(tokens: list[str], begin: int, end: int) -> int:
    """Return where the question ends before an instruction; `end` where there is none."""
    last = end
    while last > begin and tokens[last - 1] in (".", "!"):
        last -= 1
    place = last
    while place > max(begin, last - _MOST_WORDS) and _is_word(tokens[place - 1]):
        place -= 1
    if _only_instructs(tokens[place:last]):
        return place
    sentence = " ".join(tokens[place:last])
    found = _STEP_BY_STEP.search(sentence)
    return place + sentence.count(" ", 0, found.start()) if found else end


def _is_word(token: str) -> bool:
    return token[0].isalpha() and (len(token) > 1 or token in "ai")


def _only_instructs(words: list[str]) -> bool:
    sentence = " ".join(words)
    return bool(_INSTRUCTION.match(sentence)) and not _ASKS.search(sentence)
