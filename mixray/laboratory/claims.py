"""What is claimed, by whom, which recipe tests it here, and which contrasts decide. Data only.

A claim is written down with the contrasts that decide before it is measured. Where its recipe, its contrasts or the rule of the verdict
were changed afterwards, `before` keeps the verdict that was told first and says why it changed.

Contrasts are written as in `report/contrasts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mixray.report import Measure

Sign = Literal["above", "below", "differs"]
_PAIRS = (("long", "short"), ("large", "small"))


@dataclass(frozen=True)
class Wanted:
    """One contrast and what the claim says of it."""

    terms: str
    says: Sign
    measure: Measure = "accuracy"


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: of its row, its plots and its place on the page.
        title: in a few words.
        says: the claim in a sentence.
        source: who says so, and where.
        recipe: the shipped recipe that tests it.
        deciding: the contrasts that decide.
        beside: contrasts told beside them that decide nothing.
        pictures: which plots and tables of the report stand in the page, beside that of the contrasts.
        takes_any: whether one deciding contrast is enough; else all must hold.
        quick: whether it belongs to the quick subset.
        note: what one must know to read the result.
        before: the verdict as it was first measured, and why it is another one, where it is.
    """

    name: str
    title: str
    says: str
    source: str
    recipe: str
    deciding: tuple[Wanted, ...]
    beside: tuple[Wanted, ...] = ()
    pictures: tuple[Literal["alpha", "scaling", "words", "cases"], ...] = ()
    takes_any: bool = False
    quick: bool = False
    note: str = ""
    before: str = ""


def _gap(student: str, hard: str, easy: str) -> str:
    return f"{student}/{hard} - {student}/{easy}"


def _gaps_apart(one: str, other: str, hard: str, easy: str) -> str:
    """Return by how much one student's gap is above another's."""
    return f"{_gap(one, hard, easy)} - {other}/{hard} + {other}/{easy}"


def _both_gaps(*students: str) -> tuple[Wanted, ...]:
    return tuple(Wanted(_gap(student, *pair), "below") for pair in _PAIRS for student in students)


def _both_gaps_apart(one: str, other: str, says: Sign) -> tuple[Wanted, ...]:
    return tuple(Wanted(_gaps_apart(one, other, *pair), says) for pair in _PAIRS)


_JOINTLY = (
    "Contradicted here at first ({}): one deciding contrast on the other side was enough. Of {} one is there by chance more often than one "
    "alone, so it has to be there at a confidence that all share since; that was changed after they were measured."
)
_FLOOR = (
    "Contradicted here at first ({}). Of the gaps that are held against each other one is between two arms that learned nothing, and can "
    "only be close to zero; such a contrast decides nothing since, either way. That was changed after it was measured; in its place {} "
    "stands beside."
)

PAPER = (
    Claim(
        "gap-long", "Small students learn less from long traces", "Small students are better taught short traces than long ones, and the "
        "gap shrinks or turns with size.", "Takeaway 1; Table 1, Figure 2", "lab/gap-long",
        (
            Wanted(_gap("student-xs", "long", "short"), "below"),
            Wanted(_gap("student-s", "long", "short"), "below"),
            Wanted(_gaps_apart("student-m", "student-xs", "long", "short"), "above"),
        ),
        (
            Wanted(_gap("student-m", "long", "short"), "above"),
            Wanted(_gaps_apart("student-m", "student-s", "long", "short"), "above"),
        ),
        pictures=("scaling",),
        before=_FLOOR.format("student-m less student-xs: -33.0 [-49.4, -16.6] points", "student-m less student-s"),
    ),
    Claim(
        "gap-large", "Small students learn less from large teachers", "The smallest students are better taught by a small teacher than by "
        "a large one, and the gap turns with size.", "Takeaway 2; Table 2, Figure 3", "lab/gap-large",
        (
            Wanted(_gap("student-xs", "large", "small"), "below"),
            Wanted(_gaps_apart("student-m", "student-xs", "large", "small"), "above"),
        ),
        (
            Wanted(_gap("student-s", "large", "small"), "below"),
            Wanted(_gap("student-m", "large", "small"), "above"),
            Wanted(_gaps_apart("student-m", "student-s", "large", "small"), "above"),
        ),
        pictures=("scaling",),
        note="The large teacher of this world is terse rather than better: it skips steps, and is right less often than the small one, "
        "which spells them out and has the size of student-s. Size and style differ at once, as they do in the paper.",
        before=_FLOOR.format("student-m less student-xs: -27.7 [-33.9, -21.4] points", "student-m less student-s"),
    ),
    Claim(
        "knowledge", "Domain knowledge makes the gap smaller", "A student that knows more of the domain has a smaller long gap and a "
        "smaller large-teacher gap than one that knows less.", "Takeaway 3; Figure 4", "lab/knowledge",
        _both_gaps_apart("student-s-expert", "student-s-novice", "above"), _both_gaps("student-s-novice", "student-s-expert"),
    ),
    Claim(
        "base-instruct", "Base students have the larger gap", "A base student's gaps are more negative than those of an instruct student "
        "made from it.", "Takeaway 4; Figure 5", "lab/base-instruct",
        _both_gaps_apart("student-s", "student-s-instruct", "below"), _both_gaps("student-s", "student-s-instruct"),
    ),
    Claim(
        "shifts", "What shifts is style", "Of a student taught long traces, words of style shift more often than words of content.",
        "Takeaway 5; Figures 8 to 12", "lab/shifts",
        (Wanted("student-m-short/long", "above", "style"),), (Wanted("student-s/long", "above", "style"),), pictures=("words",), quick=True,
        note="The student that decides solves the whole task in the short style, as the paper's instruct students solve theirs in their "
        "own. It cannot tell style from content cleanly: a short trace names neither people nor things, so that these words of content are "
        "as foreign to that student as any style. The contrast is of how often words shift, where the paper lists those that shift most.",
        before="Contradicted here at first, when the base student was asked (-25.4 [-28.5, -22.4] points). It has met all styles on "
        "shorter problems, so that what is new to it is content (later days, larger numbers); another student decides since, and the base "
        "student's contrast stands beside.",
    ),
    Claim(
        "mix", "A mix beats either source alone", "A fifth of long traces beats long and short traces alone; a fifth of the large "
        "teacher's beats the large and the small teacher's alone.", "Takeaway 6; Table 3", "lab/mix",
        tuple(
            Wanted(f"student-s/{mix} - student-s/{single}", "above")
            for mix, singles in (("mix-0.2", ("short", "long")), ("size-0.2", ("small", "large")))
            for single in singles
        ),
        quick=True,
        before=_JOINTLY.format("-12.3 [-19.7, -4.9] and -16.8 [-26.1, -7.5] points", 4),
    ),
    Claim(
        "alpha", "An alpha of 0.2 is best", "Of the mixing weights 0, 0.2, 0.4, 0.6, 0.8 and 1 the best is 0.2, for long traces and for a "
        "large teacher.", "Figure 6", "lab/alpha",
        tuple(
            Wanted(f"student-s/{blend}-0.2 - student-s/{other}", "above")
            for blend, others in (("mix", ("short", "mix-0.4", "mix-0.6", "mix-0.8", "long")),
                                  ("size", ("small", "size-0.4", "size-0.6", "size-0.8", "large")))
            for other in others
        ),
        pictures=("alpha",),
        before=_JOINTLY.format("-12.3 [-19.7, -4.9] and -16.8 [-26.1, -7.5] points", 10),
    ),
    Claim(
        "lengths", "Long traces make long answers", "Students taught long traces answer at greater length than those taught a mix, and "
        "these at greater length than those taught short ones.", "Section 4.2, Figure 7", "lab/mix",
        (
            Wanted("student-s/long - student-s/mix-0.2", "above", "tokens"),
            Wanted("student-s/mix-0.2 - student-s/short", "above", "tokens"),
        ),
        pictures=("cases",), quick=True,
    ),
)  # fmt: skip


CONTROLS = (
    Claim(
        "matched", "The published mixes were trained otherwise", "An instruct student that is taught a mix in steps of 80 rows, "
        "beside pure arms in steps of 8, does better than one taught the same mix as they are.", "control C1; the released settings",
        "lab/matched",
        (Wanted("student-s-instruct/mix80 - student-s-instruct/mix-0.2", "above"),),
        (
            Wanted("student-s-instruct/mix80 - student-s-instruct/short", "above"),
            Wanted("student-s-instruct/mix-0.2 - student-s-instruct/short", "above"),
            Wanted("student-s/mix80 - student-s/mix-0.2", "above"),
        ),
        note="Few updates can protect a student that is good already, and none that is not.",
        before="Contradicted here at first, when the base student was asked (-21.6 [-28.6, -14.1] points: in 18 steps it learns next to "
        "nothing); the instruct student decides since.",
    ),
    Claim(
        "tokens", "A fifth of what?", "A share of 0.2 by tokens gives another student than a share of 0.2 by rows.", "control C2",
        "lab/tokens", (Wanted("student-s/by-tokens - student-s/mix-0.2", "differs"),),
    ),
    Claim(
        "sharing", "Who gets which problem", "How problems are shared between two pools changes the student.", "control C3", "lab/sharing",
        tuple(Wanted(f"student-s/{other} - student-s/mix-0.2", "differs") for other in ("disjoint", "paired", "independent")),
        takes_any=True,
        note="All arms have as many rows.",
        before="Shown here at first (disjoint: +14.0 [+9.2, +18.8] points), when each arm had as many rows as it could (476 to 696): "
        "those with more did better.",
    ),
    Claim(
        "too-long", "Cutting is worse than dropping", "A student taught long traces cut at a limit is worse than one for whom those beyond "
        "the limit are left out.", "control C4; W2", "lab/too-long",
        (Wanted("student-s/cut - student-s/dropped", "below"),),
        (Wanted("student-s/cut - student-s/dropped", "above", "tokens"), Wanted("student-s/dropped - student-s/long", "differs")),
        note="Whoever drops has fewer rows, and takes fewer steps: that is what the choice is in practice, and it favours cutting.",
    ),
    Claim(
        "scale", "More data closes the long gap", "With about four times the problems the gap of long against short traces is less "
        "negative.",
        "control C7; Through the Valley (2506.07712)", "lab/scale",
        (Wanted(
            "student-s/long - student-s/short - student-s/quarter-long + student-s/quarter-short", "above"),),
        (
            *(Wanted(f"student-s/{size}long - student-s/{size}short", "below") for size in ("quarter-", "half-", "")),
            Wanted("student-s/long - student-s/short - student-s/half-long + student-s/half-short", "above"),
        ),
        note="As many epochs of each, so that a quarter of the problems is also a quarter of the steps.",
        before=_FLOOR.format("-24.1 [-39.4, -8.8] points", "all problems less half of them"),
    ),
    Claim(
        "order", "Easy first, hard later", "Rows of the easy pool first, or a share of hard rows that grows, do better than the same share "
        "shuffled.", "control C8; curriculum distillation (EMNLP 2025)", "lab/order",
        (Wanted("student-s/easy-first - student-s/mix-0.2", "above"), Wanted("student-s/staged - student-s/mix-0.2", "above")),
        (Wanted("student-s/hard-first - student-s/mix-0.2", "below"),),
        takes_any=True,
        note="A seed orders the rows of one pool, or of one stretch, among themselves. In a first run it did not, so that an arm with an "
        "order was one student, whatever the seeds (staged - mix-0.2: +4.3 [-4.0, +12.8] points).",
    ),
    Claim(
        "lora", "Adapters change the gap", "With adapters in the place of all weights the gap of long against short traces is another.",
        "control C9; Tables 1 and 2 change the method at 14B", "lab/lora",
        (Wanted(_gaps_apart("student-s-lora", "student-s", "long", "short"), "differs"),),
        (Wanted(_gap("student-s-lora", "long", "short"), "below"), Wanted(_gap("student-s", "long", "short"), "below")),
    ),
)  # fmt: skip


FOLLOW_UPS = (
    Claim(
        "merge", "The twin in weight space", "Merging the long and the short student at alpha 0.2 gives another accuracy than mixing their "
        "traces at 0.2.", "our question, after Long-to-Short by Model Merging (2503.20641)", "lab/merge",
        (Wanted("student-s/soup-0.2 - student-s/mix-0.2", "differs"),),
        (Wanted("student-s/soup-0.2 - student-s/short", "above"), Wanted("student-s/soup-0.2 - student-s/mix-0.2", "differs", "tokens")),
    ),
    Claim(
        "tags", "One student, two modes", "A student taught a mix with mode tags answers at greater length with the long tag than with the "
        "short one.", "Thinkless (2505.13379)", "lab/tags",
        (Wanted("student-s/tagged@think - student-s/tagged@brief", "above", "tokens"),),
        (Wanted("student-s/tagged@think - student-s/tagged@brief", "differs"),),
        note="Asked in the turn that was taught, the tag on a line of its own; in a first run it stood on the question's line "
        "(+151.7 [+147.7, +155.7] tokens).",
    ),
    Claim(
        "fit", "Hard traces where they fit", "Giving the hard traces to the problems where they fit the student best does better than "
        "giving them to any.", "Rank-Surprisal Ratio (2601.14249)", "lab/fit",
        (Wanted("student-s/fitting - student-s/mix-0.2", "above"),),
    ),
    Claim(
        "best-of-n", "The shortest of several", "Of several right samples of a long trace the shortest teaches better than the longest.",
        "our question, after Towards Widening the Distillation Bottleneck (2503.01461)", "lab/best-of-n",
        (Wanted("student-s/shortest - student-s/longest", "above"),),
        (Wanted("student-s/shortest - student-s/longest", "below", "tokens"),),
    ),
    Claim(
        "budget", "A budget costs accuracy", "A student taught long traces that is made to answer after 96 tokens is right less often than "
        "one that may go on.", "our question, after Making Small Language Models Efficient Reasoners (2505.07961)", "lab/budget",
        (Wanted("student-s/long@tiny<96 - student-s/long", "below"),),
        (Wanted("student-s/short@tiny<96 - student-s/short", "below"), Wanted("student-s/long@tiny<192 - student-s/long", "below")),
    ),
)  # fmt: skip

CLAIMS = {claim.name: claim for claim in (*PAPER, *CONTROLS, *FOLLOW_UPS)}
GROUPS = {"The paper": PAPER, "What the paper does not control": CONTROLS, "What others propose": FOLLOW_UPS}
