"""Compare two expressions with algebra: latex2sympy reads them, Math-Verify and sympy compare them.

In: two answers, each one element in normal form (`mixray.verify.normal`). Out: an `Opinion`. What a model wrote is parsed by a grammar and
never evaluated as code: of Math-Verify only the comparison is used, because its own search for an answer hands text to Python's `eval`, as
latex2sympy does with every number. This runs in fenced child processes alone (`mixray.verify.child`): it may hang, crash or eat all memory.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from typing import Any

from mixray.verify.normal import as_latex
from mixray.verify.numbers import ROUNDED_DIGITS, Number, Opinion, number, rounds_to

_DECIMALS = 40  # of a number that a long decimal is compared with
_MOST_GENERATORS = 20  # of a polynomial: unknowns, roots, functions

_WARMING = (
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"), ("x^2+2x+1", "(x+1)^2"), (r"2\pi+\frac{1}{3}", "6.61651"), ("x<3", "3>x"),
    ("2x+y=3", "y=3-2x"), (r"(-\infty;1)\cup(2;\infty)", r"(-\infty;1)\cup(3;\infty)"), ("3+4i", "4i+3"), (r"\sin^2(x)+\cos^2(x)", "1"),
    (r"\log_2(8)", "3"), (r"\binom{5}{2}+3!", "16"), (r"e^{-x}", r"\frac{1}{e^x}"), ("x^{2^{n}}", "y"),
    (r"\sqrt[3]{2}", r"2^{\frac{1}{3}}"), ("|x|", "|-x|"), (r"\frac{a}{b+c}", "a/(b+c)"), ("x>2", r"(2;\infty)"),
    (r"\sum_{k=1}^{10}k", "55"), (r"\int_0^1xdx", "0.5"), ("a_1+a_2", "a_2+a_1"), ("((((1+2))))", "3"),
)  # fmt: skip
_LATE = [
    "sympy.integrals.manualintegrate", "sympy.integrals.meijerint", "sympy.integrals.risch", "sympy.integrals.heurisch",
    "sympy.sets.setexpr", "sympy.assumptions.wrapper", "sympy.calculus.util", "sympy.series.limits", "sympy.simplify.hyperexpand",
    "sympy.simplify.fu", "sympy.concrete.gosper", "sympy.solvers.inequalities", "sympy.solvers.solveset", "sympy.polys.numberfields",
]  # fmt: skip


_COMMANDS = re.compile(r"\\[a-zA-Z]+")
_LETTERS = re.compile("[a-zA-Z]")


def warm() -> None:
    """Load what sympy loads late, which a fenced process could not, and teach the parser the common turns."""
    for name in _LATE:
        importlib.import_module(name)
    _generate_polynomial_code()
    for gold, answer in _WARMING:
        algebra(gold, answer)


def _generate_polynomial_code() -> None:
    """Have sympy write, while it may, the code it makes for polynomials of so many generators; behind the fence it could not."""
    from sympy.polys.monomials import MonomialOps

    for number_of_generators in range(1, _MOST_GENERATORS + 1):
        operations = MonomialOps(number_of_generators)
        for name in ("mul", "pow", "mulpow", "ldiv", "div", "lcm", "gcd"):
            getattr(operations, name)()


def algebra(gold: str, answer: str) -> Opinion:
    """Return whether `answer` equals `gold`, both one expression in normal form."""
    import math_verify

    is_complex = _is_complex(gold) or _is_complex(answer)
    folds = not (_has_both_cases(gold) or _has_both_cases(answer))
    one, other = _read(gold, is_complex, folds), _read(answer, is_complex, folds)
    if one is None or other is None:
        return Opinion("unknown", "gold_unparsable" if one is None else "unparsable")
    rounded = _as_rounded(number(gold), other) or _as_rounded(number(answer), one)
    if rounded:
        return rounded
    try:
        same = math_verify.verify(one, other, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
    except Exception:  # sympy raises whatever it likes on what it cannot compare, and none of it is a verdict
        return Opinion("unknown", "incomparable")
    if not same:
        return Opinion("wrong", "different")
    return Opinion("right", "equivalent") if _same_magnitude(one, other) else Opinion("wrong", "different_number")


@functools.lru_cache(maxsize=512)  # the samples of one problem share its gold
def _read(normal: str, is_complex: bool, folds: bool) -> Any:
    """Return the sympy object a normal form stands for, or None where the grammar does not know it; `folds`: N and n are one unknown."""
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, normalize_latex

    rules = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False)
    latex = normalize_latex(as_latex(normal), rules)
    found = _parse(latex, is_complex, folds)
    # Of a chain of equations that makes no sense as one, the last side counts.
    return _parse(latex.rpartition("=")[2], is_complex, folds) if found is None and latex.count("=") > 1 else found


def _has_both_cases(normal: str) -> bool:
    """Whether a letter stands there large and small, as in R - r: those are two unknowns, which the grammar folds into one."""
    letters = set(_LETTERS.findall(_COMMANDS.sub("", normal)))
    return any(letter.swapcase() in letters for letter in letters)


def _parse(latex: str, is_complex: bool, folds: bool) -> Any:
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    try:
        found = _reader()(is_real=None if is_complex else True, config=ConversionConfig(lowercase_symbols=folds)).parse(latex)
    except Exception:  # the grammar says no in many ways
        return None
    return _with_imaginary_unit(found) if is_complex else found


def _with_imaginary_unit(found: Any) -> Any:
    """Return an expression in which `i` is the imaginary unit, not one more unknown; in a sum it may be the index."""
    import sympy

    if not isinstance(found, sympy.Expr) or found.has(sympy.Sum, sympy.Product):
        return found
    return found.xreplace({sympy.Symbol("i"): sympy.I})


@functools.cache
def _reader() -> Any:
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

    class Reader(_Latex2Sympy):  # type: ignore[misc]
        """latex2sympy, but for the numbers."""

        def parse_number(self, text: str) -> Any:
            """Return a number; `sympy.Number`, which stands here otherwise, evaluates the text as Python."""
            return number_without_eval(text)

    return Reader


def number_without_eval(text: str) -> Any:
    """Return the sympy number that digits stand for, with thousands commas, a decimal point or an exponent."""
    import sympy

    digits = text.replace(",", "")
    return sympy.Integer(int(digits)) if digits.isdigit() else sympy.Float(digits)


def _is_complex(normal: str) -> bool:
    from math_verify.grader import should_treat_as_complex

    return should_treat_as_complex(normal)


def _as_rounded(stated: Number | None, exact: Any) -> Opinion | None:
    """Compare a decimal with a number that no decimal is: it must be what the number rounds to, or is cut to, in six digits or more."""
    import sympy

    if stated is None or stated.places is None or stated.percent or not isinstance(exact, sympy.Expr) or not exact.is_number:
        return None
    with contextlib.suppress(ArithmeticError, AttributeError, TypeError, ValueError):
        value = exact.evalf(_DECIMALS)
        if not value.is_Float:
            return None
        return Opinion("right", "rounded") if rounds_to(stated, sympy.Rational(value)) else Opinion("wrong", "different_number")
    return None


def _same_magnitude(one: Any, other: Any) -> bool:
    """Undo a rounding of Math-Verify, which takes any two numbers near zero (1/2^99 and 1/2^98) for equal."""
    import sympy

    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr) and one.is_number and other.is_number):
        return True
    with contextlib.suppress(ArithmeticError, AttributeError, TypeError, ValueError):  # no number after all: nothing to undo
        one_value, other_value = (side.evalf(2 * ROUNDED_DIGITS) for side in (one, other))
        if one_value == 0 or other_value == 0:
            return True
        ratio = one_value / other_value
        return any(bool(abs(ratio * scale - 1) < 10**-ROUNDED_DIGITS) for scale in (1, 100, sympy.Rational(1, 100)))
    return True
