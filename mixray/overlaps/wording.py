r"""The normal form of a question: what is left of its wording when dress and layout are gone.

In: a question, as somebody wrote it. Out: a `Wording`, its tokens in order, each a word or a part of a formula. Pure, and linear in the
length of any text.

Gone are: drawing code, what prompts and tests put around a question (instructions.py), case, punctuation, dollars, spacing, sizes and
fonts. Written in one way are: Unicode's signs, fractions, products, comparisons, thousands. Kept are numbers, numerals, operators, commands
and variables, each a token of its own, and brackets around formulas: `2(x+1)` is not `2x+1`, nor `2^{n+1}` `2^n+1`.

Where maths begins cannot be told from dollars, which are money as often, and a question may be copied without them. So a token is judged
by itself and its neighbours: a single letter is a variable, but `a` and `i`, which are words, and so are longer names such as `xy` or
`AB`; these are variables where an operator stands beside them, `a+1`, `AB = 5`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import compress

from mixray.overlaps.instructions import MARKS, without_choices, without_instructions

_DRAWINGS = (("[asy]", "[/asy]"), (r"\begin{asy}", r"\end{asy}"), (r"\begin{tikzpicture}", r"\end{tikzpicture}"))
_PICTURE = re.compile(r"\\includegraphics\s*(?:\[[^][]*\])?\s*\{[^{}]*\}")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴-⁹]+")
_VULGAR_FRACTION = re.compile("[¼-¾⅐-⅞]")
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\u2032`", "'"),
        **dict.fromkeys("×⋅·∙", "*"),
        **dict.fromkeys("÷⁄∕", "/"),
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "°": r"^\circ ", "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ", "θ": r"\theta ",
        "→": r"\to ", "∠": r"\angle ", "△": r"\triangle ", "…": " ",
    }
)  # fmt: skip
_BARE_FRACTION = re.compile(r"(\\[dtc]?frac\s*\d)(?=\d)")
_TOKEN = re.compile(
    r"""
      \\\\
    | \\(?:begin|end)\s*\{[a-z]*\*?\}(?:\s*\{[^{}]*\})?    # with the columns of an array
    | \\[hv]space\*?\s*\{[^{}]*\}
    | \\(?:[a-z]+|.)
    | \d{1,3}(?:(?:,\\!|,|\{,\}|\\,)\d{3})+(?!\d)(?:\.\d+)?  # with thousands
    | \d+(?:\.\d+)?
    | \.\d+
    | [\u3040-\u30ff\u3400-\u9fff]                          # scripts without blanks between words
    | [^\W\d_\u3040-\u30ff\u3400-\u9fff]+(?:['-][^\W\d_\u3040-\u30ff\u3400-\u9fff]+)*
    | --+                                                   # a dash
    | [-+*/^_=<>|!%'(){}[\].?:]
    """,
    re.VERBOSE | re.DOTALL,
)
_THOUSANDS = re.compile(r"[^\d.]+")
_DRESS = (
    "left right big bigl bigr bigg biggl biggr middle quad qquad enspace thinspace displaystyle textstyle scriptstyle limits nolimits "
    "text textrm textbf textit textsf texttt textnormal mathrm mathbf mathit mathsf mathbb mathcal mathscr boldsymbol bold mbox hbox fbox "
    "operatorname emph rm bf it tiny small footnotesize large huge hline smallskip medskip bigskip noindent indent allowbreak dots ldots "
    "cdots dotsb dotsc dotsm dotso vdots ddots underline mathop mathbin mathrel ensuremath par newline centering item boxed"
)
_GONE = frozenset([*(rf"\{name}" for name in _DRESS.split()), *(rf"\{sign}" for sign in "!,;: \n\t()[]$#&_-/'\"`\\<>=@")])
_ONE_WAY = {
    **dict.fromkeys([r"\dfrac", r"\tfrac", r"\cfrac"], r"\frac"),
    **dict.fromkeys([r"\dbinom", r"\tbinom"], r"\binom"),
    **dict.fromkeys([r"\cdot", r"\times", r"\ast"], "*"),
    **dict.fromkeys([r"\leq", r"\leqslant"], r"\le"),
    **dict.fromkeys([r"\geq", r"\geqslant"], r"\ge"),
    **dict.fromkeys([r"\lvert", r"\rvert", r"\vert", r"\mid", r"\|"], "|"),
    **dict.fromkeys([r"\rightarrow", r"\longrightarrow"], r"\to"),
    r"\neq": r"\ne", r"\lt": "<", r"\gt": ">", r"\div": "/", r"\%": "%", r"\degree": r"\circ", r"\varepsilon": r"\epsilon",
    r"\varphi": r"\phi", r"\lbrace": r"\{", r"\rbrace": r"\}",
}  # fmt: skip
_INFIX = frozenset(["+", "*", "/", "^", "_", "=", "<", ">", r"\le", r"\ge", r"\ne"])
_OPENING, _CLOSING = frozenset(["(", "[", r"\{"]), frozenset([")", "]", r"\}"])
_BRACKETS = _OPENING | _CLOSING
_SOMETIMES_PUNCTUATION = frozenset("!'-_")
_LONGEST_VARIABLE = 3
_WORDS_OF_ONE_LETTER = frozenset("ai")
_NAMED_NUMBERS = (  # without one, which is a pronoun as often
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
    "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million half twice thrice dozen"
)
_NUMERALS = frozenset(_NAMED_NUMBERS.split())
_FIRST_OF_SCRIPTS_WITHOUT_BLANKS = "\u3040"


@dataclass(frozen=True)
class Wording:
    """A question's tokens, and for each whether it is part of a formula."""

    tokens: list[str]
    in_formula: list[bool]

    @property
    def formula(self) -> list[str]:
        """The numbers, operators and variables, in order."""
        return [token for token, formula in zip(self.tokens, self.in_formula, strict=True) if formula]

    @property
    def words(self) -> list[str]:
        """Everything else, in order."""
        return [token for token, formula in zip(self.tokens, self.in_formula, strict=True) if not formula]


def wording(question: str) -> Wording:
    """Return a question's normal form; it has no tokens where the question says nothing."""
    text = without_choices(without_drawings(_in_plain_signs(question)))
    if "frac" in text:
        text = _BARE_FRACTION.sub(r"\1 ", text)
    tokens = without_instructions(_grouped(_TOKEN.findall(text)))
    return _judged([token for token in tokens if token not in MARKS])


def without_drawings(text: str) -> str:
    """Return lower-cased `text` without Asymptote, TikZ and pictures; a drawing that never ends stays."""
    for opening, closing in _DRAWINGS:
        if opening not in text:
            continue
        pieces, begin = [], 0
        while (at := text.find(opening, begin)) >= 0 and (end := text.find(closing, at)) >= 0:
            pieces.append(text[begin:at])
            begin = end + len(closing)
        text = " ".join([*pieces, text[begin:]])
    return _PICTURE.sub(" ", text) if r"\includegraphics" in text else text


def _in_plain_signs(question: str) -> str:
    if question.isascii():
        return question.lower()
    text = _SUPERSCRIPTS.sub(r"^\g<0>", question)
    text = _VULGAR_FRACTION.sub(r" \g<0>", text)
    # Signs before and after: NFKC makes two letters of some, and makes some of others.
    return unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS).lower()


def _grouped(items: list[str]) -> list[str]:
    """Return the tokens, each in one way, with the braces of a LaTeX argument where it holds more than one token."""
    tokens: list[str | None] = []
    groups: list[tuple[int, int, bool]] = []  # of each open brace: its place, the tokens before it, whether it opens an argument
    count, before = 0, ""
    for item in items:
        if item == "{":
            groups.append((len(tokens), count, before in ("^", "_", "}") or (before[:1] == "\\" and before not in _GONE)))
            tokens.append(None)
        elif item == "}":
            if groups:
                place, count_before, argument = groups.pop()
                if argument and count - count_before > 1:
                    tokens[place] = "{"
                    tokens.append("}")
        else:
            for token in _spelled(item):
                tokens.append(token)
                count += 1
        before = item
    return [token for token in tokens if token is not None]


def _spelled(item: str) -> list[str]:
    first = item[0]
    if first == "\\":
        if item in _GONE or (len(item) > 2 and item[-1] == "}"):
            return []
        return [_ONE_WAY.get(item, item)]
    if first.isdigit():
        return [item if item.isdigit() else _THOUSANDS.sub("", item)]
    if len(item) == 1:
        return [_ONE_WAY.get(item, item)]
    if first == ".":
        return ["0" + item]
    if first == "-":
        return []
    if "'" in item:
        item = item.replace("'", "")
    if "-" not in item:
        return [item]
    pieces = item.split("-")
    if max(map(len, pieces)) >= _LONGEST_VARIABLE:
        return pieces  # a hyphen, as in one-to-one
    return [token for piece in pieces for token in ("-", piece)][1:]


def _judged(tokens: list[str]) -> Wording:
    """Return the tokens without those signs that are punctuation where they stand, and which of them are part of a formula."""
    flags = [
        not token[0].isalpha() or token in _NUMERALS or (len(token) <= _LONGEST_VARIABLE and _is_variable(tokens, place))
        for place, token in enumerate(tokens)
    ]
    dropped = set() if _BRACKETS.isdisjoint(tokens) else _brackets_in_prose(tokens, flags)
    if not _SOMETIMES_PUNCTUATION.isdisjoint(tokens):
        dropped |= {place for place, token in enumerate(tokens) if token in _SOMETIMES_PUNCTUATION and not _is_maths(tokens, flags, place)}
    if dropped:
        stays = [place not in dropped for place in range(len(tokens))]
        tokens, flags = list(compress(tokens, stays)), list(compress(flags, stays))
    return Wording(tokens, flags)


def _is_variable(tokens: list[str], place: int) -> bool:
    token = tokens[place]
    if len(token) == 1 and token not in _WORDS_OF_ONE_LETTER:
        return token < _FIRST_OF_SCRIPTS_WITHOUT_BLANKS
    beside = tokens[max(place - 1, 0) : place + 2]
    return not _INFIX.isdisjoint(beside) or (len(token) == 1 and "-" in beside)


def _brackets_in_prose(tokens: list[str], flags: list[bool]) -> set[int]:
    """Return the places of brackets with no formula next to them on the inside; of a pair both go or none."""
    dropped: set[int] = set()
    open_places: list[int] = []
    for place, token in enumerate(tokens):
        if token in _OPENING:
            open_places.append(place)
            if not any(flags[place + 1 : place + 2]):
                dropped.add(place)
        elif token in _CLOSING:
            opening = open_places.pop() if open_places else -1
            if place and flags[place - 1]:
                dropped.discard(opening)
            elif opening < 0 or opening in dropped:
                dropped.add(place)
    return dropped


def _is_maths(tokens: list[str], flags: list[bool], place: int) -> bool:
    """Whether a sign is more than punctuation, by what stands on the side that matters."""
    token, before = tokens[place], tokens[place - 1] if place else ""
    after = tokens[place + 1] if place + 1 < len(tokens) else ""
    if token == "-":  # otherwise a hyphen or a dash, as in 3-digit
        return after != "" and (flags[place + 1] or len(after) <= _LONGEST_VARIABLE)
    if token == "_":  # otherwise a blank to fill in
        return after != "" and after != "_" != before
    if token == "'":
        return before in _CLOSING or (len(before) == 1 and flags[place - 1] and before.isalpha())
    return before != "" and flags[place - 1]
