"""What a recipe's arms say of a claim: the contrasts with their intervals, and a verdict that follows from them alone.

In: a claim, the graph of its recipe, finished, and its report. Out: a `Finding`, as plain as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mixray import report
from mixray.errors import MixrayError
from mixray.graph import Graph
from mixray.laboratory.claims import Claim, Wanted
from mixray.naming import UNTOUCHED
from mixray.pipeline import told_of
from mixray.recipe import Recipe
from mixray.store import Artefact
from mixray.tiny.styles import STYLE_WORDS
from mixray.verify import POLICY

State = Literal["as said", "against", "open"]
CASES = 3
"""How many problems are told with their answers."""
CASE_BYTES = 200_000
TEACHER = ("teacher", "right", "num_traces", "mean_right_tokens")
Verdict = Literal["shown here", "not shown here", "contradicted here"]


@dataclass(frozen=True)
class Contrasted:
    """One contrast: what it came to at `confidence`, and whether that is what the claim says of it."""

    terms: str
    measure: report.Measure
    says: str
    deciding: bool
    confidence: float
    value: float
    low: float
    high: float
    detectable: float
    state: State
    jointly: bool = True
    """Whether the state holds at a confidence that all deciding contrasts share (Bonferroni)."""
    joint: dict[str, float] | None = None
    """Of a contrast whose state does not: that confidence, the ends of the interval there, and what would have been shown."""
    floor: str = ""
    """Of two gaps that are held against each other: the one between two arms of which neither learned anything, if there is one."""

    @property
    def decided(self) -> tuple[State, bool]:
        """What the verdict is made of: the state, and whether it holds jointly. A gap on the floor leaves everything open."""
        return ("open", True) if self.floor else (self.state, self.jointly)


@dataclass(frozen=True)
class Finding:
    """What one claim came to. `arms` are rows of the report: accuracy with interval, rows, tokens, cut-offs; `cases` are problems with the
    answers of several arms, where the claim asks for them; `teachers` are the pools.
    """

    claim: str
    recipe: str
    report: str
    verdict: Verdict
    contrasts: list[Contrasted]
    arms: list[dict[str, Any]]
    words: list[dict[str, Any]]
    cases: list[dict[str, Any]] = field(default_factory=list)
    teachers: list[dict[str, Any]] = field(default_factory=list)
    policy: str = ""
    """Of the verdicts (`verify.POLICY`): it is in the hash of everything that was made from them."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Finding:
        """Return what `as_json` wrote down."""
        return cls(**{**told, "contrasts": [Contrasted(**each) for each in told["contrasts"]]})


def find(claim: Claim, recipe: Recipe, graph: Graph, made: Artefact) -> Finding:
    """Hold a claim against the arms of its recipe.

    Raises:
        MixrayError: the recipe does not have the arms that the claim names.
    """
    groups = report.read_groups([told_of(arm) for arm in graph.arms])
    told = made.read_json("report.json")
    learned = _learned(groups, recipe)
    contrasts = [
        _contrasted(wanted, wanted in claim.deciding, claim, recipe, graph, groups, learned) for wanted in (*claim.deciding, *claim.beside)
    ]
    alike = {(group.student, group.label) for group in groups if _are_alike(group)}
    num_rows = {mixture["name"].partition(" of ")[0]: mixture["num_rows"] for mixture in told["mixtures"]}
    arms = []
    for row in told["groups"]:
        arm = (row["student"], row["label"])
        more = {"alike": arm in alike, "learned": learned.get(arm, True), "num_rows": num_rows.get(row["mixture"])}
        arms += [each | more for each in _arms(row)]
    return Finding(
        claim.name, claim.recipe, made.label, verdict(claim, [each.decided for each in contrasts if each.deciding]), contrasts, arms,
        words=_words(told["shifts"]) if "words" in claim.pictures else [],
        cases=_cases(graph, told) if "cases" in claim.pictures else [],
        teachers=[{key: pool[key] for key in TEACHER} for pool in told["pools"]],
        policy=POLICY,
    )  # fmt: skip


def _learned(groups: Sequence[report.SeedGroup], recipe: Recipe) -> dict[tuple[str, str], bool]:
    """Return, by student and label, whether an arm is shown to be above its untouched student."""
    with_untouched = {group.student for group in groups if group.label == UNTOUCHED}
    found = {}
    for group in groups:
        if group.label != UNTOUCHED and group.student in with_untouched:
            terms = " - ".join(f"{group.student}/{label}@{group.benchmarks[0]}" for label in (group.label, UNTOUCHED))
            found[group.student, group.label] = report.estimate(terms, "accuracy", groups, recipe.report, recipe.seed).low > 0
    return found


def on_floor(terms: str, learned: Mapping[tuple[str, str], bool]) -> str:
    """Return the first gap of a difference of two gaps whose arms both learned nothing; nothing where there is none.

    Such a gap is no larger than chance, whatever the arms were taught: by how much another one differs from it tells how well the other's
    easy arm learned, and not what is asked.
    """
    read = [(term.student, term.label) for term in report.read_terms(terms)]
    if len(read) != 4:
        return ""
    gaps = (read[:2], read[2:])
    return next(
        (" and ".join(f"{student}/{label}" for student, label in gap) for gap in gaps if not any(learned.get(arm, True) for arm in gap)), ""
    )


def _contrasted(
    wanted: Wanted,
    deciding: bool,
    claim: Claim,
    recipe: Recipe,
    graph: Graph,
    groups: Sequence[report.SeedGroup],
    learned: Mapping[tuple[str, str], bool],
) -> Contrasted:
    alone = recipe.report.confidence
    shared = 1 - (1 - alone) / len(claim.deciding) if deciding else alone
    told = {each: _estimated(wanted, each, recipe, graph, groups) for each in (alone, shared)}
    states = {each: state_of(wanted.says, found.low, found.high) for each, found in told.items()}
    confidence = shared if claim.takes_any else alone  # one of k is enough, and each may be shown by chance
    found, state = told[confidence], states[confidence]
    jointly = state == states[shared]
    ends = {name: getattr(told[shared], name) for name in ("low", "high", "detectable")}
    return Contrasted(
        wanted.terms, wanted.measure, wanted.says, deciding, confidence, found.value, found.low, found.high, found.detectable,
        state, jointly, None if jointly else {"confidence": shared, **ends},
        on_floor(wanted.terms, learned) if wanted.measure == "accuracy" else "",
    )  # fmt: skip


def _estimated(wanted: Wanted, confidence: float, recipe: Recipe, graph: Graph, groups: Sequence[report.SeedGroup]) -> report.Estimate:
    settings = recipe.report.model_copy(update={"confidence": confidence})
    if wanted.measure != "style":
        return report.estimate(wanted.terms, wanted.measure, groups, settings, recipe.seed)
    shifts = [arm.shifts for arm in graph.arms if arm.mix and arm.shifts and f"{arm.student}/{arm.mix.name}" == wanted.terms]
    if not shifts or recipe.shifts is None:
        raise MixrayError("A claim about words names an arm without shifts", seen=wanted.terms, do="give its recipe `shifts`")
    return report.style_shift(shifts, STYLE_WORDS, recipe.shifts.marginal_rank, confidence)


def state_of(says: str, low: float, high: float) -> State:
    """Return whether an interval is where a claim says, on the other side of zero, or holds it."""
    if low <= 0 <= high:
        return "open"
    return "as said" if says == "differs" or (low > 0) == (says == "above") else "against"


def verdict(claim: Claim, states: Sequence[tuple[State, bool]]) -> Verdict:
    """Return what follows of the deciding contrasts' states and whether each holds jointly.

    That all are as claimed needs no correction. That one of many is against does: with ten at 95 % one in four claims would be
    contradicted by chance.
    """
    found = {state for state, _ in states}
    if claim.takes_any:
        return "shown here" if "as said" in found else "contradicted here" if found == {"against"} else "not shown here"
    return "shown here" if found == {"as said"} else "contradicted here" if ("against", True) in states else "not shown here"


def _are_alike(group: report.SeedGroup) -> bool:
    """Whether all seeds came to the same answers: a seed shuffles rows, and where their order is a setting it changes nothing."""
    blocks = [group.block(name) for name in group.benchmarks]
    return len(group.arms) > 1 and all(bool((block == block[0]).all()) for block in blocks)


def _arms(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is told of an arm, of each benchmark by itself: the same problems asked in two ways are not twice as many."""
    return [
        {
            "student": row["student"],
            "label": row["label"] if len(row["scores"]) == 1 else f"{row['label']}@{benchmark}",
            "alpha": row["alpha"],
            "num_seeds": len(row["seeds"]),
            "matched": row["matched"],
            "benchmark": benchmark,
            **{key: scores[key] for key in ("accuracy", "low", "high", "truncated_share", "num_problems", "mean_response_tokens")},
        }
        for benchmark, scores in row["scores"].items()
    ]


def _words(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "student": row["student"],
            "label": row["label"],
            "shifted": row["shifted"],
            "low": row["low"],
            "high": row["high"],
            "words": [[top["word"], top["mean_shift"]] for top in row["top_words"][:8]],
        }
        for row in rows
    ]


def _cases(graph: Graph, told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the report's first case for each of its sentences that compare more than two arms."""
    responses = report.gather([told_of(arm) for arm in graph.arms], told, CASE_BYTES)
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for case in responses.cases(told):
        if len(case["labels"]) > 2:
            first.setdefault((case["student"], case["why"]), case)
    return [
        {
            "why": case["why"],
            "student": case["student"],
            "problem": case["problem_id"],
            "question": case["problem"]["question"],
            "gold": case["problem"]["gold"],
            "answers": [
                {"label": label, **{key: answer[key] for key in ("text", "right", "samples")}} for label, answer in case["columns"]
            ],
        }
        for case in list(first.values())[:CASES]
    ]
