"""Math-Verify as it comes, with its own search for the answer: the policy others use, for comparison.

In: a gold and a whole response. Out: an `Opinion`. Runs in fenced child processes alone (`mixray.verify.child`). One thing is changed: what
the library hands to Python's `eval`, numbers and plain arithmetic such as `1/2`, is read by its LaTeX grammar instead.
"""

from __future__ import annotations

from typing import Any

from mixray.verify.numbers import Opinion
from mixray.verify.symbolic import number_without_eval


def judge(gold: str, response: str) -> Opinion:
    """Return what Math-Verify thinks of a response."""
    import math_verify

    one = math_verify.parse(f"\\boxed{{{gold}}}", parsing_timeout=None)
    other = math_verify.parse(response, parsing_timeout=None)
    if not one:
        return Opinion("unknown", "gold_unparsable")
    if not other:
        return Opinion("unknown", "no_answer")
    right = math_verify.verify(one, other, timeout_seconds=None)
    return Opinion("right", "equivalent") if right else Opinion("wrong", "different")


def warm() -> None:
    """Take `eval` out of the library, in this process, and load what it loads late."""
    _without_eval()
    judge("1/2", "so it is 2/4")
    judge("3", r"the final answer is $\boxed{3}$. I hope it is correct")


def _without_eval() -> None:
    import math_verify.parser
    from latex2sympy2_extended import latex2sympy2 as grammar

    def read(expression: str) -> Any:
        return grammar.latex2sympy(expression.replace("**", "^"))

    grammar.Number = number_without_eval  # of numbers with commas
    grammar._Latex2Sympy.parse_number = lambda self, text: number_without_eval(text)
    math_verify.parser.Number = number_without_eval
    math_verify.parser.parse_expr_cached = read
