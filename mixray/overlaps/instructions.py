r"""What prompts put around a question: labels before it, sentences that say how to answer rather than what is asked, choices behind it.

In: a question's tokens, the marks that end sentences among them; of choices, its text. Out: the same without these. Pure, and quick on any
length.

Without this a short question in a prompt's clothes ("Solve:", "Let's think step by step and output the final answer within \boxed{}.")
would be another question: it has no run of words long enough to tell. Only first and last sentences go, which begin as instructions do,
hold no formula and ask for nothing; so two questions that differ only in these ask for the same. A last sentence may follow a formula
without a mark. Choices go where the question can be asked without them, as a benchmark may ask it.
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

_LABEL_OF_CHOICE = re.compile(r"(?<![\w)}])\(\s*([a-h])\s*\)")
_BEFORE_CHOICES = re.compile(r"(?:[\s$:;,{]|\\[a-z]+)*\Z")
_NEEDS_CHOICES = re.compile(r"\b(?:which|following|these|choices?|options?)\b")
_FEWEST_CHOICES, _MOST_CHARACTERS_OF_CHOICES, _LEAST_WORDS_BEFORE = 3, 600, 4


def without_choices(text: str) -> str:
    r"""Return lower-cased `text` without `(a) 8 (b) 9 (c) 10` at its end, in whatever dress.

    What asks among its choices keeps them, and so do the parts of a question that has several: "(a) Find ... (b) Show ...".
    """
    labels = list(_LABEL_OF_CHOICE.finditer(text))
    first = next((at for at in range(len(labels) - 1, -1, -1) if labels[at][1] == "a"), None)
    if first is None or [label[1] for label in labels[first:]] != list("abcdefgh"[: len(labels) - first]):
        return text
    begin, ends = labels[first].start(), [label.start() for label in labels[first + 1 :]] + [len(text)]
    choices = [text[label.end() : end] for label, end in zip(labels[first:], ends, strict=True)]
    head = text[: _BEFORE_CHOICES.search(text, max(0, begin - 40), begin).start()]  # type: ignore[union-attr]
    if len(choices) < _FEWEST_CHOICES or len(text) - begin > _MOST_CHARACTERS_OF_CHOICES or not all(map(str.strip, choices)):
        return text
    if len(head.split()) < _LEAST_WORDS_BEFORE or _NEEDS_CHOICES.search(head) or _ASKS.search(text, begin):
        return text
    return head


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
