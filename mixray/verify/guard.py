"""Tell from the text alone that comparing it as an expression would not end well.

In: a normal form (`mixray.verify.normal`). Out: the reason not to try, or None. Pure and linear in the text: power towers, huge factorials,
products and sums, and deep nesting cost nobody a process. What slips through is ended by the child's clock (`mixray.verify.pool`).
"""

from __future__ import annotations

import math
import re

MAX_CHARACTERS = 300  # of one expression: algebra on babble takes minutes and changes next to no verdict
MAX_DEPTH = 12  # of brackets: the parser's time grows with the third power of the depth
MAX_DIVISIONS = 12  # written with a slash: each doubles the parser's time
MAX_EXPONENTS = 3  # within one another
MAX_DIGITS = 20_000  # of a number that arithmetic would write out
MAX_TERMS = 5_000  # of a sum or a product
_BRACKET = re.compile(r"\\[{}]|[()\[\]{}|]")
_BASE = re.compile(r"\d_")
_DEGREES = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|\\[a-zA-Z]+|[^\s\\]|\\.", re.DOTALL)
_SYMBOL = math.log10(3)  # what an unknown counts for


def danger(text: str) -> str | None:
    """Return why `text` is not compared as an expression, or None."""
    if len(text) > MAX_CHARACTERS:
        return "too_long"
    if depth(text) > MAX_DEPTH or text.count("/") > MAX_DIVISIONS:
        return "too_deep"
    if _BASE.search(text):
        return "base_in_expression"  # Math-Verify reads 52_8 as 52
    if has_degrees_in_function(text):
        return "degrees_in_function"  # Math-Verify reads them as radians
    try:
        _Reader(_TOKEN.findall(text)).read()
    except _Refused as refused:
        return str(refused)
    return None


def has_degrees_in_function(text: str) -> bool:
    """Whether the text takes the sine, or the like, of degrees."""
    return "°" in text and bool(_DEGREES.search(text))


def depth(text: str) -> int:
    """Return how deep brackets and bars stand within one another."""
    deepest = level = bars = 0
    for match in _BRACKET.finditer(text):
        sign = match[0][-1]
        bars += sign == "|"
        level += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, level)
    return deepest + bars // 2


class _Refused(Exception):
    """The text is refused; its only argument is the reason."""


class _Reader:
    """Reads tokens once and keeps, of every part, how many digits its value may have at most."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place, self.exponents = tokens, 0, 0

    def read(self, closing: str = "") -> float:
        """Read up to `closing`; return log10 of the largest value that can come of it (a sum is at most twice its larger part)."""
        largest = product = last = 0.0
        while self.place < len(self.tokens):
            token = self.tokens[self.place]
            self.place += 1
            if token == closing:
                break
            if token in "+-=,;&<>":
                largest, product, last = max(largest, product) + 0.3, 0.0, 0.0
                continue
            grown = self._grow(token, last)
            product, last = (product - last + grown, grown) if token in ("^", "!") else (product + grown, grown)
            if product > MAX_DIGITS:
                raise _Refused("too_large")
        return max(largest, product)

    def _grow(self, token: str, last: float) -> float:
        """Return what `token`, after a part of size `last`, comes to."""
        if token == "^":
            return self._power(last)
        if token == "!":
            return 0.0 if last == 0 else self._times_a_value(last, last)
        if token in ("\\sum", "\\prod"):
            return self._terms()
        if token in ("\\binom", "_"):
            argument = self._argument()
            return self._times_a_value(math.log10(2), argument) if token == "\\binom" else 0.0
        if token in ("(", "[", "{", "\\{"):
            return self.read({"(": ")", "[": "]", "{": "}", "\\{": "\\}"}[token])
        if token[0].isdigit() and token.isascii():
            return math.log10(max(1.0, float(token[:300])))
        return _SYMBOL if token[-1].isalpha() and token not in ("\\frac", "\\cdot", "\\text", "\\sqrt") else 0.0

    def _power(self, last: float) -> float:
        self.exponents += 1
        if self.exponents > MAX_EXPONENTS:
            raise _Refused("too_deep")
        exponent = self._argument()
        self.exponents -= 1
        return self._times_a_value(last, exponent)

    def _terms(self) -> float:
        """Read the limits of a sum or a product."""
        for _ in range(2):
            if self.tokens[self.place : self.place + 1] in (["_"], ["^"]):
                upper = self.tokens[self.place] == "^"
                self.place += 1
                if self._argument() > math.log10(MAX_TERMS) and upper:
                    raise _Refused("too_large")
        return 0.0

    def _argument(self) -> float:
        """Read one group, or one token with the sign before it."""
        if self.place >= len(self.tokens):
            return 0.0
        token = self.tokens[self.place]
        self.place += 1
        return self._grow(token, 0.0) if token not in ("^", "!", "+", "-") else 0.0

    def _times_a_value(self, size: float, of: float) -> float:
        """Return the digits of a number of `size` digits raised to a power, or multiplied up to a number, of `of` digits."""
        if size <= 0:
            return 0.0
        if of > 9 or size * 10**of > MAX_DIGITS:
            raise _Refused("too_large")
        return size * 10**of
