"""A finding in words: what a contrast came to, what that shows, its name in a table. Pure."""

from __future__ import annotations

from collections.abc import Collection

from mixray.laboratory.findings import Contrasted

MARKS = {"as said": "as claimed", "against": "the other way", "open": "not shown"}
SAYS = {"above": "> 0", "below": "< 0", "differs": "≠ 0"}


def mark(each: Contrasted) -> str:
    """Return what a contrast shows, in words, with what keeps it from deciding."""
    if each.floor:
        return f"{MARKS[each.state]}, but {each.floor} learned nothing"
    if each.joint is None or each.state != "against":  # that all are as claimed needs no correction
        return MARKS[each.state]
    low, high = (end(each.measure, each.joint[name]) for name in ("low", "high"))
    return f"{MARKS[each.state]}, not jointly: at {100 * each.joint['confidence']:.2f} % [{low}, {high}]"


def interval(each: Contrasted) -> str:
    """Return `-12.3 [-15.0, -9.1] points`; with another digit where one alone would put zero in the place of an end."""
    scale, unit = (1, "tokens") if each.measure == "tokens" else (100, "points")
    value, low, high = (scale * number for number in (each.value, each.low, each.high))
    digits = 2 if any(0 < abs(end) < 0.05 for end in (low, high)) else 1
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] {unit}"


def end(measure: str, value: float) -> str:
    """Return an interval's end, `-15.0` or `+0.03`."""
    scaled = value if measure == "tokens" else 100 * value
    return f"{scaled:+.{2 if 0 < abs(scaled) < 0.05 else 1}f}"


def amount(measure: str, value: float) -> str:
    """Return `4.2 points`, or tokens."""
    return f"{value:.1f} tokens" if measure == "tokens" else f"{100 * value:.1f} points"


def short(terms: str, of: Collection[str] = ()) -> str:
    """Return a contrast as a table tells it; `of` are all contrasts told with it, which may be of one student alone."""
    words = terms.split()[0::2]
    names = [word.partition("/") for word in words]
    students = [student for student, _, _ in names]
    labels = [label for _, _, label in names]
    alone = len({word.partition("/")[0] for each in [terms, *of] for word in each.split()[0::2]}) == 1
    if len(words) == 4 and labels[:2] == labels[2:] and students[0] == students[1] != students[2] == students[3]:
        return f"{labels[0]} − {labels[1]}: {students[0]} less {students[2]}"
    if len(set(students)) > 1:
        return terms.replace("/", " ").replace(" - ", " − ")
    plain = terms.replace(f"{students[0]}/", "").replace(" - ", " − ")
    return plain if alone else f"{plain}: {students[0]}"
