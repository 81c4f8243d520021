"""Write an answer in one way: what never changes a meaning is dropped, and what is written in many ways is written in one.

In: an answer or a gold, as somebody wrote it. Out: its normal form. Pure, and quick on any text; nothing is judged here.

A normal form is LaTeX but for a few signs that stand for what LaTeX writes in many ways: `;` for a comma that is followed by a blank (so
that a list differs from thousands), `°` for degrees, `¤` for dollars, a line break for `\\\\`.
"""

from __future__ import annotations

import re

_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
        "√": r"\sqrt ", "±": r"\pm ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ",
        "∈": r"\in ", "∅": r"\emptyset ", "²": "^2", "³": "^3", "（": "(", "）": ")", "，": ",", "：": ":", "；": ";", "％": "%", "’": "'",
        "\u00a0": " ", "θ": r"\theta ", "\n": " ",
    }
)  # fmt: skip
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\!,|\\,|\\!)(?=\d{3}(?!\d))")
_SAME = {
    "times": r"\cdot ", "leq": r"\le ", "leqslant": r"\le ", "geq": r"\ge ", "geqslant": r"\ge ", "neq": r"\ne ", "lt": "<", "gt": ">",
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "left": "", "right": "", "big": "", "Big": "", "bigg": "", "Bigg": "",
    "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "mleft": "", "mright": "", "displaystyle": "", "textstyle": "", "limits": "",
    "quad": " ", "qquad": " ", "varnothing": r"\emptyset ", "lbrace": r"\{", "rbrace": r"\}", "langle": "(", "rangle": ")",
    "colon": ":", "degree": "°", "degrees": "°", "textdegree": "°", "lbrack": "[", "rbrack": "]", "lvert": "|", "rvert": "|",
    "vert": "|", "dots": r"\ldots ", "cdots": r"\ldots ", "mathrm": r"\text", "mathbf": r"\text", "mathit": r"\text",
    "mathsf": r"\text", "mbox": r"\text", "textbf": r"\text", "textit": r"\text", "textrm": r"\text", "textnormal": r"\text",
    "textup": r"\text", "hbox": r"\text", "rm": "", "bf": "", "it": "", "textdollar": "¤",
}  # fmt: skip
_SIGN_COMMANDS = {
    "!": "", ",": " ", ";": " ", ":": " ", " ": " ", "/": "", "(": "", ")": "", "[": "", "]": "", "%": "%", "$": "¤", "\\": "\n", "&": "&",
}  # fmt: skip
_COMMAND = re.compile(r"\\(?:([a-zA-Z]+)\*?|(.))", re.DOTALL)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))")
_ESCAPED_TWICE = re.compile(r"\\\\(?=[a-zA-Z])")
_ROW_HEIGHT = re.compile(r"\n\s*\[[^\]\n]*\]")
_MATRIX = re.compile(r"\\(begin|end)\{(?:b|small)?matrix\}")
_TEXT = re.compile(r"(?<![\d})])\\text\s*\{\s*([^{}])\s*\}|\\text\s*\{([^{}]*)\}")
_DRESSED_CHOICE = re.compile(r"\\text\s*\{\s*(\([A-J]\))\s*\}")
_ARRAY = re.compile(r"([(\[|])\s*\\begin\{array\}\s*\{[clr\s]+\}((?:(?!\\begin|\\end).)*)\\end\{array\}\s*([)\]|])", re.DOTALL)
_MATRICES = {"()": "pmatrix", "[]": "pmatrix", "||": "vmatrix"}
_ANY_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_LINK = re.compile(r"(?:,\s*)?(?:\\text\{\s*,?\s*(?:and|or)?\s*,?\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])(?![^{}]*\}))")
_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge)(?![a-zA-Z])")
_PERCENT = re.compile(r"\\text\{(?:%|percent|pct)\}|\b(?:percent|per cent|pct)\b(?![^{}]*\})", re.IGNORECASE)
_PI = re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])")
_SQUARE_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt(?=[({\d])")
_ARGUMENT = re.compile(r"\s*(?:(\\[a-zA-Z]+|[^\s{}\\])|(?=\{))")
_MOST_NESTED = 100  # what is nested deeper is never compared as an expression
_NEEDS_BRACES = re.compile(r"\\(frac|sqrt)(?![a-zA-Z])(\s*\[[^\[\]]*\])?")
_ONE_SIGN = re.compile(r"([\^_])\s*\{\s*([0-9a-zA-Z])\s*\}")
_SPACE = re.compile(r"[ \t\r\f\v]+")
_LISTED = re.compile(r"\s*[,;]\s+|\s*;\s*")
_LOOSE = re.compile(r"(?<![a-zA-Z0-9]) | (?![a-zA-Z0-9])")
_WITHIN_TEXT = re.compile(r"(\\text\{)([^{}]*)\}")
_BLANKS = re.compile(r"(?<!\d) | (?!\d)")
_AFTER_COMMAND = re.compile(r"(\\[a-zA-Z]+) (?=[a-zA-Z])")
_CHOICE = re.compile(r"\(([A-Z])\)")


def normal_form(text: str) -> str:
    """Return `text` without what never changes a meaning: dressing, spacing commands, the many ways to write one sign."""
    text = _THOUSANDS.sub("", text.translate(_SIGNS).strip())
    text = _MATRIX.sub(r"\\\1{pmatrix}", text)
    if "\\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = _COMMAND.sub(_one_way, _DEGREES.sub("°", text)).replace("$", "").replace("~", " ").replace("{,}", ",")
    text = _ARRAY.sub(_as_matrix, _ROW_HEIGHT.sub("\n", text)).replace("*", r"\cdot ")
    text = _DRESSED_CHOICE.sub(r"\1", text)
    text = _TEXT.sub(lambda match: match[1] or f"\\text{{{match[2].strip()}}}", text)
    text = _PERCENT.sub("%", _LINK.sub(_link if _INEQUALITY.search(text) else ", ", text))
    text = _SQUARE_ROOT.sub(r"\\sqrt", _PI.sub(r"\\pi ", text))
    text = _ONE_SIGN.sub(r"\1\2", _with_braces(text))
    return _undress(_blanks(text))


def flat(normal: str) -> str:
    """Return what two normal forms of the same answer share: no blank but between digits and after a command."""
    text = _ANY_TEXT.sub(r"\1", normal).replace(";", ",")
    return _BLANKS.sub("", _AFTER_COMMAND.sub("\\1\t", text))


def as_latex(normal: str) -> str:
    """Return a normal form as LaTeX that others read; degrees and dollars are left out."""
    return normal.replace(";", ", ").replace("\n", r" \\ ").replace("°", "").replace("¤", "")


def _one_way(match: re.Match[str]) -> str:
    word, sign = match[1], match[2]
    if word is None:
        return _SIGN_COMMANDS.get(sign, match[0])
    return _SAME.get(word, match[0])


def _as_matrix(match: re.Match[str]) -> str:
    """Return an array in brackets as the matrix it is."""
    kind = _MATRICES.get(match[1] + match[3])
    return f"\\begin{{{kind}}}{match[2]}\\end{{{kind}}}" if kind else match[0]


def _link(match: re.Match[str]) -> str:
    """Keep the word that joins inequalities: `or` and `and` are not the same."""
    word = next((word for word in ("or", "and") if word in match[0]), "")
    return f"\\text{{{word}}}" if word else ", "


def _with_braces(text: str) -> str:
    """Put the braces that LaTeX lets one leave out: \\frac12 is \\frac{1}{2}."""
    if text.count("\\frac") + text.count("\\sqrt") > _MOST_NESTED:
        return text
    done: list[str] = []
    place = 0
    for match in _NEEDS_BRACES.finditer(text):
        if match.start() < place:
            continue  # it was itself an argument
        done.append(text[place : match.end()].rstrip())
        place = match.end()
        if match[1] == "sqrt" and text[place : place + 1] == "(":
            end = _group_end(text, place, "()")
            done.append("{" + _with_braces(text[place + 1 : end - 1]) + "}")
            place = end
            continue
        for _ in range(2 if match[1] == "frac" else 1):
            argument = _ARGUMENT.match(text, place)
            if argument is None:
                break
            if argument[1]:
                done.append(f"{{{argument[1]}}}")
                place = argument.end()
                continue
            end = _group_end(text, argument.end())
            done.append("{" + _with_braces(text[argument.end() + 1 : end - 1]) + "}")
            place = end
    done.append(text[place:])
    return "".join(done)


def _group_end(text: str, start: int, brackets: str = "{}") -> int:
    """Return where the group that opens at `start` has closed; one past the end of the text where it never does."""
    depth = 0
    for place in range(start, len(text)):
        if text[place] in brackets and text[place - 1 : place] != "\\":
            depth += 1 if text[place] == brackets[0] else -1
            if depth == 0:
                return place + 1
    return len(text) + 1


def _blanks(text: str) -> str:
    text = _LISTED.sub(";", _SPACE.sub(" ", text))
    return _WITHIN_TEXT.sub(lambda match: f"{match[1]}{match[2].strip()}}}", _LOOSE.sub("", text)).strip()


def _undress(text: str) -> str:
    """Take off a pair of braces or a text around the whole, a final full stop, and the brackets of a choice."""
    whole = re.fullmatch(r"(?:\\text)?\{([^{}]*)\}", text)
    text = (whole[1] if whole else text).strip().removeprefix("=").rstrip(".,;: \n")
    choice = _CHOICE.fullmatch(text)
    return choice[1] if choice else text
