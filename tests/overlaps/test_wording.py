"""The normal form of questions: what is the same in it, what is not, and that no text takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray.overlaps.wording import wording


def tokens(question: str) -> list[str]:
    return wording(question).tokens


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is $x$?", "what is x"),
        ("Solve \\(x^{2}=4\\) for $x$.", "solve $x^2 = 4$ for \\[x\\]"),
        (r"Evaluate $\frac{1}{2}+\dfrac34$.", r"Evaluate $\tfrac12 + \frac{3}{4}$"),
        (r"$\left( 3,\, 4 \right)$", "(3, 4)"),
        (r"$\displaystyle 3 \times 4$", r"3 \cdot 4"),
        ("3 × 4 − 2", "3 * 4 - 2"),
        (r"$a \leq b$ and $c\geqslant d$", r"$a\le b$ and $c \ge d$"),
        ("a ≤ b ≠ c", r"$a \le b \neq c$"),
        ("It costs \\$1,000.", "It costs $1{,}000"),
        ("He earns 60,000 dollars", r"He earns $60,\!000$ dollars"),
        ("x² + y¹²", "x^2 + y^{12}"),
        ("at 90° now", r"at $90^{\circ}$ now"),
        (r"\text{if } x > 2", "if $x>2$"),
        (r"the \textbf{first} $\mathrm{cm}$", "the first cm"),
        ("Janet’s ducks", "Janet's DUCKS"),
        ("a three-digit number", "a three digit number"),
        ("the $x$-axis", "the x axis"),
        ("a 5-foot pole", "a 5 foot pole"),
        ("the value (in dollars)", "the value, in dollars"),
        ("Wait -- what?", "wait what"),
        ("Fill in: 3 + ____ = 5", "Fill in: 3 + = 5"),
        (r"\begin{align*} x &= 1 \\ y &= 2 \end{align*}", "x = 1, y = 2"),
        ("Ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        ("Look. [asy] draw((0,0)--(1,1)); [/asy] Find $x$.", "Look. Find $x$."),
        ("Look. \\begin{tikzpicture}\\draw (0,0);\\end{tikzpicture} Find $x$.", "Look. Find $x$."),
        ("Look. \\includegraphics[width=3cm]{a_1.png} Find $x$.", "Look. Find $x$."),
        ("Half of .5", "half of 0.5"),
        (
            r"How many squares less than $2023$ are divisible by $5$? $\textbf{(A) }8\qquad\textbf{(B) }9\qquad\textbf{(C) }10$",
            "How many squares less than 2023 are divisible by 5?",
        ),
        ("Please simplify $\\sqrt{242}$ now. (A) 11 (B) $11\\sqrt2$ (C) 5", "Please simplify $\\sqrt{242}$ now."),
        ("How far is it, Jan? \n(A) 5\n(B) 6\n(C) 7\n(D) 8", "How far is it, Jan?"),
    ],
)
def test_dress_makes_no_difference(one: str, other: str) -> None:
    assert tokens(one) == tokens(other) != []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("z^4+z^2+1", "z^4-z^2+1"),
        ("Which of these is a prime? (A) 4 (B) 5 (C) 6", "Which of these is a prime? (A) 8 (B) 9 (C) 7"),
        (
            "Let $x$ be a number. (a) Find $x$. (b) Find $y$. (c) Find $z$.",
            "Let $x$ be a number. (a) Find $2x$. (b) Find $y$. (c) Find $z$.",
        ),
        ("Sum up what is here: f(a) 1 f(b) 2 f(c) 3", "Sum up what is here: f(a) 1 f(b) 2 f(c) 4"),
        ("2(x+1) = 5", "2x+1 = 5"),
        ("2^{n+1} = 8", "2^n+1 = 8"),
        (r"\frac{x+1}{2}", r"\frac{x}{2}+1"),
        ("[0, 1]", "(0, 1)"),
        ("5!", "5"),
        ("What is -3 + 5?", "What is 3 + 5?"),
        ("$f'(x)$", "$f(x)$"),
        (r"\sin 60", r"\cos 60"),
        ("3.5", "35"),
        ("5%", "5"),
        ("|x|", "x"),
        ("x < 3", r"x \le 3"),
        ("12 apples", "1 2 apples"),
        (r"\frac12", r"\frac{12}{1}"),
        ("x_1", "x^1"),
        ("Find $x$.", "Find $y$."),
        ("x - a", "x a"),
        ("7/3", "73"),
    ],
)
def test_meaning_makes_one(one: str, other: str) -> None:
    assert tokens(one) != tokens(other)


@pytest.mark.parametrize(
    ("question", "formula"),
    [
        ("Let $z$ be 3 and find $z+5$.", ["z", "3", "z", "+", "5"]),
        ("I have a dog and a cat.", []),
        ("Solve $a+1=i$.", ["a", "+", "1", "=", "i"]),
        ("If AB = 5, what is $xy+1$?", ["ab", "=", "5", "xy", "+", "1"]),
        ("Anna has twenty-five apples.", ["twenty", "five"]),
        (r"Is $\sin\theta \le 1$?", [r"\sin", r"\theta", r"\le", "1"]),
    ],
)
def test_which_tokens_are_formula(question: str, formula: list[str]) -> None:
    assert wording(question).formula == formula


def test_words_are_the_other_tokens_in_order() -> None:
    assert wording("Let $z$ be 3 and find $z+5$.").words == ["let", "be", "and", "find"]


@pytest.mark.parametrize(
    "wrapped",
    [
        "Solve: {}",
        "Problem 12. {}",
        "Q: {}",
        "Question: {}",
        "Solve the following math problem. {}",
        "You are an expert in mathematics. Please answer carefully: {}",
        "{} Let's think step by step and output the final answer within \\boxed{{}}.",
        "{} Please reason step by step, and put your final answer within $\\boxed{{}}$.",
        "{} Express your answer as a common fraction.",
        "{} Show your work. Explain your reasoning!",
    ],
)
@pytest.mark.parametrize("question", ["What is $2+3$?", "Compute $\\sin 60^\\circ$.", "Simplify $\\sqrt{720}$", "How many dogs are there?"])
def test_instructions_are_no_part_of_a_question(wrapped: str, question: str) -> None:
    assert tokens(wrapped.format(question)) == tokens(question)


@pytest.mark.parametrize(
    "question",
    ["Think of a number.", "Solve.", "Please find the number of pears.", "Show that the sum is even.", "Work is done by Ann. Who paid?"],
)
def test_what_asks_stays(question: str) -> None:
    kept = tokens(question)
    assert kept == tokens(question.removesuffix("."))
    assert len(kept) == len(question.split())


@pytest.mark.parametrize("question", ["", " \n\t", "?!…", "$$ $$", "🙂🙂", "\x00", "[asy] draw(); [/asy]"])
def test_some_questions_say_nothing(question: str) -> None:
    assert tokens(question) == []


def test_a_drawing_that_never_ends_stays() -> None:
    assert "draw" in tokens("Find it. [asy] draw(a);")


def test_scripts_without_blanks_have_a_token_for_each_sign() -> None:
    assert tokens("求三角形ABC的面积") == ["求", "三", "角", "形", "abc", "的", "面", "积"]


MEGABYTE = 10**6
HOSTILE = [
    *"{}[($\\'-_!.^🙂\x00 \n1a²",
    "[asy]", r"\frac ", r"\begin{array}{", r"\includegraphics[", r"\includegraphics[a]{", "1,000", ",000", "a-", "a'", "x^{",
    "step by step. ", "please ", "put your answer ", r"\boxed{", "(x", ")", "q ", "\ud800", "½",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE, ids=repr)
def test_a_megabyte_of_anything_takes_seconds_at_most(piece: str) -> None:
    much = piece * (MEGABYTE // len(piece.encode("utf-8", errors="surrogatepass")))
    began = time.process_time()
    wording(f"1{much}x")
    assert time.process_time() - began < 20


@settings(deadline=None)
@given(st.text())
def test_any_text_has_one_normal_form_whatever_its_blanks_and_case(text: str) -> None:
    form = wording(text)
    assert len(form.tokens) == len(form.in_formula)
    assert all(form.tokens)
    assert tokens(f"\n  {text}\t ") == form.tokens


@given(
    st.lists(st.sampled_from(["x", "+", "2", "how", "many", "=", "(", ")", "a", "is", "\\frac{1}{3}", "apples", "^2", "-", "solve", "."]))
)
def test_spacing_case_and_dollars_are_no_part_of_it(pieces: list[str]) -> None:
    plain = tokens(" ".join(pieces))
    assert tokens(" \\, ".join(pieces).upper()) == plain
    assert tokens("  \n".join(f"${piece}$" for piece in pieces)) == plain
