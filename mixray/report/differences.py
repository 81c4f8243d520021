"""The rows of gaps: which arms are compared, what is shown of them alone and all at once, and which mixture is best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mixray.errors import MixrayError
from mixray.report import gaps
from mixray.report.answers import Arm, SeedGroup
from mixray.report.gaps import Difference
from mixray.report.scopes import Statistics, headline, scopes
from mixray.report.tables import mean_accuracy

BEST_SINGLE = "mix - best single"


@dataclass(frozen=True)
class Wanted:
    """One comparison: the names of the row, and the groups that are compared, one or two of them easy ones."""

    kind: str
    hard: SeedGroup
    easy: tuple[SeedGroup, ...]


def gap_rows(groups: Sequence[SeedGroup], statistics: Statistics) -> list[dict[str, Any]]:
    """Return the wanted gaps of every student in every scope.

    Hard - easy, each mix against both and against the better of both, each merge against both its parents and the mix of its alpha,
    everything against untouched. `holds_jointly` speaks of all gaps of one student in one scope (see `_mark`).
    """
    rows: list[dict[str, Any]] = []
    for student in dict.fromkeys(group.student for group in groups):
        wanted = _wanted([group for group in groups if group.student == student])
        statistics.compare((each.hard, easy, _paired(each.hard, easy)) for each in wanted for easy in each.easy)
        for scope in scopes(next(group for group in groups if group.student == student)):
            rows += _mark([gap(each, scope, statistics) for each in wanted], 1 - statistics.settings.confidence)
    kinds = list(dict.fromkeys((row["student"], row["kind"], row["hard"], row["name"]) for row in rows))
    return sorted(rows, key=lambda row: kinds.index((row["student"], row["kind"], row["hard"], row["name"])))


def _wanted(groups: Sequence[SeedGroup]) -> list[Wanted]:
    untouched, *taught = groups
    trained = [group for group in taught if group.merged is None]
    found: list[Wanted] = []
    for by_alpha in _blends(trained):
        easy, hard = by_alpha.get(0.0), by_alpha.get(1.0)
        mixes = [group for alpha, group in by_alpha.items() if alpha not in (0.0, 1.0)]
        if hard and easy:
            found.append(Wanted("hard - easy", hard, (easy,)))
            found += [Wanted(BEST_SINGLE, mix, (easy, hard)) for mix in mixes]
        found += [Wanted("mix - easy", mix, (easy,)) for mix in mixes if easy]
        found += [Wanted("mix - hard", mix, (hard,)) for mix in mixes if hard]
    for merge in taught:
        found += _wanted_of_merge(merge, trained)
    return found + [Wanted("trained - untouched", group, (untouched,)) for group in taught]


def _blends(trained: Sequence[SeedGroup]) -> list[dict[float | None, SeedGroup]]:
    """Return, for each blend, its mixtures by alpha."""
    blends = dict.fromkeys(group.blend for group in trained)
    return [{group.alpha: group for group in trained if group.blend == blend} for blend in blends]


def _wanted_of_merge(merge: SeedGroup, trained: Sequence[SeedGroup]) -> list[Wanted]:
    """Return a merge against its two parents, and against the mixture that blends the same two at the same alpha in the rows."""
    if merge.merged is None:
        return []
    of = {group.label: group for group in trained}
    parents = (merge.merged.easy, merge.merged.hard)
    found = [Wanted(kind, merge, (of[name],)) for kind, name in zip(("merge - easy", "merge - hard"), parents, strict=True) if name in of]
    for by_alpha in _blends(trained):
        ends = tuple(by_alpha[end].label for end in (0.0, 1.0) if end in by_alpha)
        twin = by_alpha.get(merge.alpha)
        if ends == parents and twin and twin.label not in parents:
            found.append(Wanted("merge - mix", merge, (twin,)))
    return found


def gap(wanted: Wanted, scope: str, statistics: Statistics) -> dict[str, Any]:
    """Return one gap: `hard` minus `easy`, problem by problem; against several, that to the best of them (see `against_best`)."""
    told = [(easy, statistics.differences(wanted.hard, easy, _paired(wanted.hard, easy))[scope]) for easy in wanted.easy]
    easy, found = min(told, key=lambda pair: pair[1].estimate)
    if len(told) > 1:
        found = against_best([each for _, each in told])
    hard, rows = wanted.hard, _paired(wanted.hard, easy)
    of = scopes(hard)[scope].benchmarks
    return {
        "name": f"{hard.label} - {easy.label}" if len(told) == 1 else f"{hard.label} - best single ({easy.label})",
        "kind": wanted.kind,
        "student": hard.student,
        "benchmark": scope,
        "blend": hard.blend,
        "hard": hard.label,
        "easy": easy.label,
        "difference": found.estimate,
        "low": found.low,
        "high": found.high,
        "verdict": gaps.verdict(found, hard.label, easy.label),
        "p_value": found.p_value,
        "detectable": found.detectable(statistics.settings.confidence),
        "holds_jointly": False,
        "num_problems": sum(len(hard.answers[0][name].problem_ids) for name in of),
        "num_seeds": len(rows),
        "matched": hard.matched and easy.matched,
    }


def against_best(told: Sequence[Difference]) -> Difference:
    """Return the difference to the best of several rivals, whichever that truly is.

    The rival with the highest estimate is the likeliest to be overestimated, so the estimate leans against the mix. The interval runs
    from the least of the low ends to the least of the high ends: better than the best is shown only where better than each is shown, and
    for that no correction is needed (Berger 1982). Where the rivals are equally good the interval holds the truth somewhat less often
    above: at 95 % in no case less than 92.5 %.
    """
    least = min(told, key=lambda each: each.estimate)
    low, high = min(each.low for each in told), min(each.high for each in told)
    p_value = max(each.p_value for each in told) if low > 0 else min(told, key=lambda each: each.high).p_value if high < 0 else 1.0
    return Difference(least.estimate, low, high, least.standard_error, least.degrees, p_value)


def _mark(rows: list[dict[str, Any]], alpha: float) -> list[dict[str, Any]]:
    """Mark which of one student's gaps in one scope are still shown when all are to hold at once (Holm).

    The gap to the best single is no comparison of its own: it holds where those that it is made of hold.
    """
    alone = [row for row in rows if row["kind"] != BEST_SINGLE]
    for row, shown in zip(alone, gaps.holm([row["p_value"] for row in alone], alpha), strict=True):
        row["holds_jointly"] = shown
    for row in rows:
        if row["kind"] == BEST_SINGLE:
            of = [other for other in alone if other["hard"] == row["hard"] and other["kind"] in ("mix - easy", "mix - hard")]
            better, worse = row["low"] > 0, row["high"] < 0
            row["holds_jointly"] = (better and all(other["holds_jointly"] for other in of)) or (
                worse and any(other["holds_jointly"] and other["high"] < 0 for other in of)
            )
    return rows


def multiplicity(rows: Iterable[dict[str, Any]], scope: str, confidence: float) -> dict[str, Any]:
    """Return how many gaps were looked at in the headline, how many are shown alone and how many all at once, and the same in words."""
    family = [row for row in rows if row["benchmark"] == scope and row["kind"] != BEST_SINGLE]
    shown = sum(not row["low"] <= 0 <= row["high"] for row in family)
    jointly = sum(row["holds_jointly"] for row in family)
    return {
        "num_gaps": len(family),
        "num_shown": shown,
        "num_shown_jointly": jointly,
        "expected_by_chance": (1 - confidence) * len(family),
        "family": f"all gaps of one student on {scope}; the gap to the best single is made of two of them and is not counted again",
        "text": _in_words(family, scope, shown, jointly, (1 - confidence) * len(family)),
    }


def _in_words(family: Sequence[dict[str, Any]], scope: str, shown: int, jointly: int, by_chance: float) -> str:
    if not family:
        return "No gaps were looked at."
    if len(family) == 1:
        return f"One gap was looked at on {scope}: nothing has to be corrected for."
    several = ", for each student apart" if len({row["student"] for row in family}) > 1 else ""
    still = "None of them is" if not jointly else "All of them are" if jointly == shown else f"{jointly} of them {_are(jointly)}"
    return (
        f"{len(family)} gaps were looked at on {scope}; {shown} {_are(shown)} shown one by one. If no arm differed, about {by_chance:.1f}"
        f" would be by chance alone."
        + (f" {still} still shown when all are to hold at once (Holm's correction{several})." if shown else "")
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _paired(hard: SeedGroup, easy: SeedGroup) -> list[tuple[int, int]]:
    """Return which seed rows are compared: equal seeds, or every seed with the one untouched student."""
    if easy.mixture is None:
        return [(place, 0) for place in range(len(hard.arms))]
    places = {arm.seed: place for place, arm in enumerate(easy.arms)}
    rows = [(place, places[arm.seed]) for place, arm in enumerate(hard.arms) if arm.seed in places]
    if not rows:
        raise MixrayError(
            "Two mixtures have no training seed in common",
            seen=f"{hard.label}: {_seeds(hard.arms)}; {easy.label}: {_seeds(easy.arms)}",
            do="train both with the same seeds",
        )
    return rows


def _seeds(arms: Sequence[Arm]) -> list[int | None]:
    return [arm.seed for arm in arms]


def answer_rows(groups: Sequence[SeedGroup], statistics: Statistics) -> list[dict[str, Any]]:
    """Return, for each student, the mixture, or merge, with the highest accuracy and what is shown about it.

    It is `shown` to be the best only where it is shown better than every other mixture and than the untouched student.
    """
    rows = []
    for student in dict.fromkeys(group.student for group in groups):
        untouched, *trained = [group for group in groups if group.student == student]
        if not trained:
            continue
        scope = headline(untouched)
        best = max(trained, key=lambda group: mean_accuracy(group, scope))  # the first of equals: the smaller alpha
        statistics.compare((best, other, _paired(best, other)) for other in trained if other is not best)
        others = [gap(Wanted("best - other", best, (other,)), scope, statistics) for other in trained if other is not best]
        change = gap(Wanted("trained - untouched", best, (untouched,)), scope, statistics)
        rows.append(
            {
                "student": student,
                "benchmark": scope,
                "noun": "mixture or merge" if any(group.merged for group in trained) else "mixture",
                "best": best.label,
                "change": change,
                "others": sorted(others, key=lambda row: float(row["difference"])),
                "shown": all(row["low"] > 0 for row in (change, *others)),
            }
        )
    return rows
