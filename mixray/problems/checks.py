"""Is the gold what its row says it is?

In: drafts, and the verifier. Out: problems, or rows set aside. Three questions are put to the verifier, for a thousand rows at a time:

  * Does the gold, given as an answer, count as right? Where it does not, no teacher could ever be right.
  * Does a worked solution, read as a response, come to another answer? Where the verifier cannot tell, the row passes.
  * Where the gold is read out of a solution: is an earlier box of it another answer? Then the last one may be but a part of the whole, or
    one of several that would do. Boxes that stand together (`\\boxed{2} or \\boxed{3}`) are one gold to the verifier.

Where the user has a verifier of their own, the first question is put to it, with the gold in a box and bare: it must hold neither for
wrong, unless it holds the other for right. What the built-in verifier answers to the second and third, it may overrule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mixray.problems.drafts import Draft, checked
from mixray.problems.formats import BOX
from mixray.quarantine import BadRow, SetAside

Verify = Callable[[Sequence[str | None], Sequence[str | None], Sequence[str | None] | None, bool], Sequence[Any]]
"""`verify(responses, golds, finish_reasons, unboxed)`: objects with `verdict`, `verdict_reason` and `answer`."""


@dataclass(frozen=True)
class Claim:
    """Something a row says its gold is."""

    index: int
    """Of the draft."""
    reason: str
    """Why the row is set aside where the claim does not hold."""
    response: str


def sift(
    drafts: Sequence[Draft | SetAside], verify: Verify, unboxed_solutions: bool, own: Verify | None = None
) -> list[dict[str, Any] | SetAside]:
    """Return each draft as a PROBLEM row, or set aside where its gold cannot be trusted; the order stays.

    Args:
        drafts: the rows that could be read, and those that were set aside before.
        verify: the verifier.
        unboxed_solutions: whether the last number of a solution without a box is its answer.
        own: the user's own verifier.

    Raises:
        VerifyError: the verifier itself fails.
    """
    sifted, claims = _golds_found(list(drafts), verify)
    for index, one in enumerate(sifted):
        if isinstance(one, Draft):
            if own is None:
                claims.append(Claim(index, "gold_not_itself", _boxed(one)))
            claims += [Claim(index, "solution_disagrees", solution) for solution in one.solutions]
    solutions = [claim for claim in claims if claim.reason == "solution_disagrees"]
    others = [claim for claim in claims if claim.reason != "solution_disagrees"]
    for group, unboxed in ((others, False), (solutions, unboxed_solutions)):
        for index, refused in _denied(group, sifted, verify, unboxed, own):
            sifted[index] = refused
    for index, refused in _not_themselves(sifted, own) if own else ():
        sifted[index] = refused
    return [one.problem if isinstance(one, Draft) else one for one in sifted]


def _golds_found(drafts: list[Draft | SetAside], verify: Verify) -> tuple[list[Draft | SetAside], list[Claim]]:
    """Take each boxed gold out of its box; with it come the claims of the boxes before the last."""
    boxed = [(index, one) for index, one in enumerate(drafts) if isinstance(one, Draft) and one.boxed]
    claims: list[Claim] = []
    verdicts = verify([one.problem["answer"] for _, one in boxed], [None] * len(boxed), None, False) if boxed else []
    for (index, one), verdict in zip(boxed, verdicts, strict=True):
        text, gold = one.problem["answer"], (verdict.answer or "").strip()
        try:
            if not gold:
                raise BadRow("empty_gold", "the last box holds nothing" if verdict.answer is not None else "no box is closed")
            drafts[index] = one.with_gold(checked(gold, "the last box"))
        except BadRow as error:
            drafts[index] = one.refused(error.reason, error.detail)
            continue
        # What the verifier finds in the text up to a further box is the box before that.
        claims += [Claim(index, "several_answers", text[: match.start()]) for match in list(BOX.finditer(text))[1:]]
    return drafts, claims


def _denied(
    claims: list[Claim], sifted: list[Draft | SetAside], verify: Verify, unboxed: bool, own: Verify | None
) -> list[tuple[int, SetAside]]:
    """Return the rows with a claim that does not hold, and that the user's own verifier does not hold for right."""
    asked = [(claim, one) for claim in claims if isinstance(one := sifted[claim.index], Draft)]
    if not asked:
        return []
    verdicts = verify([claim.response for claim, _ in asked], [one.problem["answer"] for _, one in asked], None, unboxed)
    judged = zip(asked, verdicts, strict=True)
    denied = [(claim, one, verdict) for (claim, one), verdict in judged if not _holds(claim, one.problem["answer"], verdict)]
    if own is not None and denied:
        said = own([claim.response for claim, _, _ in denied], [one.problem["answer"] for _, one, _ in denied], None, unboxed)
        denied = [row for row, opinion in zip(denied, said, strict=True) if opinion.verdict != "right"]
    return [(claim.index, one.refused(claim.reason, _told(claim, one.problem["answer"], verdict))) for claim, one, verdict in denied]


def _not_themselves(sifted: list[Draft | SetAside], own: Verify) -> list[tuple[int, SetAside]]:
    """Return the rows whose gold the user's own verifier holds for wrong, in a box or bare, and in neither way for right."""
    asked = [(index, one) for index, one in enumerate(sifted) if isinstance(one, Draft)]
    golds = [one.problem["answer"] for _, one in asked]
    in_a_box, bare = own([_boxed(one) for _, one in asked], golds, None, False), own(golds, golds, None, False)
    found = []
    for (index, one), *both in zip(asked, in_a_box, bare, strict=True):
        said = [opinion.verdict for opinion in both]
        if "wrong" in said and "right" not in said:
            detail = f"the verifier does not hold the gold {one.problem['answer']!r} for right: {said[0]} in a box, {said[1]} bare"
            found.append((index, one.refused("gold_not_itself", detail)))
    return found


def _boxed(one: Draft) -> str:
    return f"\\boxed{{{one.problem['answer']}}}"


def _holds(claim: Claim, gold: str, verdict: Any) -> bool:
    if claim.reason == "gold_not_itself":
        return bool(verdict.verdict == "right")
    if not verdict.answer or verdict.verdict != "wrong":
        return True
    return claim.reason == "several_answers" and gold.startswith(f"{verdict.answer}, ")  # the first of boxes that stand together


def _told(claim: Claim, gold: str, verdict: Any) -> str:
    if claim.reason == "several_answers":
        return f"the last box says {gold!r}, an earlier one {verdict.answer!r}"
    return f"the gold is {gold!r}, the answer read {verdict.answer!r}: {verdict.verdict}, {verdict.verdict_reason}"
