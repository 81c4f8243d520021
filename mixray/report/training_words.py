"""What the curves of a training show, and what they do not, in words: for the page and the Markdown alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mixray.report import numerals
from mixray.report.curves import MOST_POINTS, SMOOTHED_PARTS

Row = Mapping[str, Any]

DANGER = (
    "A lower training loss of another mixture does not mean a better student: these are losses on different texts."
    " Which student is better is told by the accuracies alone."
)
NOTES = {
    "loss": (
        f"Strong: smoothed over one in {SMOOTHED_PARTS} of the steps; pale: as it was. A line that still falls at its end could have used"
        " more steps; one that leaps, a lower learning rate. Two mixtures are two texts: the lower line is not the better student."
    ),
    "loss_tokens": (
        "The same losses by what was paid for them: a step on long traces trains more tokens than one on short ones. Equal tokens are still"
        " not equal texts: a lower line is not a better student here either."
    ),
    "grad_norm": (
        "Before clipping; of each point's steps the greatest. A spike is a step to look at. A small norm says that little moves, not that"
        " much was learned."
    ),
    "learning_rate": (
        "Every arm should have the same shape, over its own number of steps. Where the rate nears zero the loss flattens by itself: that is"
        " no sign that there was nothing left to learn."
    ),
}
THINNED = (
    f"A curve is drawn with at most {MOST_POINTS} points; where there are more steps, a point is the mean over the trained tokens of"
    " equally many steps. First and last loss are those of single steps, and so noisy."
)


def told(report: Row, student: str) -> list[str]:
    """Return what one student's curves show here: whether the loss fell, which is lowest and whose accuracy is highest, what is missing."""
    arms = [row["arm"] for row in report["arms"] if row["student"] == student and row["mixture"] is not None]
    if not arms:
        return ["Nothing was trained."]
    losses = {
        arm: [value for value in report["curves"][arm]["smoothed_loss"] if value is not None] for arm in arms if arm in report["curves"]
    }
    losses = {arm: values for arm, values in losses.items() if values}
    return [*_fallen(losses), *_lowest(report, student, losses), *_missing([arm for arm in arms if arm not in losses])]


def _fallen(losses: Mapping[str, Sequence[float]]) -> list[str]:
    several = {arm: values for arm, values in losses.items() if len(values) > 1}
    risen = [arm for arm, values in several.items() if values[-1] >= values[0]]
    if risen:
        ends = (f"{arm} ({numerals.loss(losses[arm][0])} to {numerals.loss(losses[arm][-1])})" for arm in risen)
        return [f"The smoothed loss did not fall in {', '.join(ends)}."]
    return ["The smoothed loss fell in every arm that has a curve."] if several else []


def _lowest(report: Row, student: str, losses: Mapping[str, Sequence[float]]) -> list[str]:
    """Hold the lowest loss against the highest accuracy: the one picture of why the two must not be mixed up."""
    groups = [row for row in report["groups"] if row["student"] == student and any(arm in losses for arm in row["arms"])]
    if len(groups) < 2:
        return []
    last = {row["label"]: fmean(losses[arm][-1] for arm in row["arms"] if arm in losses) for row in groups}
    lowest = min(groups, key=lambda row: last[row["label"]])
    highest = max(groups, key=lambda row: float(row["overall"]["accuracy"]))
    ends = f"{lowest['label']} ends at the lowest loss ({numerals.loss(last[lowest['label']])})"
    if lowest is highest:
        return [f"{ends} and has the highest accuracy here; the one does not follow from the other."]
    other = f"{highest['label']}, at {numerals.loss(last[highest['label']])}"
    accuracies = numerals.accuracy(lowest["overall"]), numerals.accuracy(highest["overall"])
    return [f"{ends} with an accuracy of {accuracies[0]}; {other}, has the highest accuracy: {accuracies[1]}."]


def _missing(arms: list[str]) -> list[str]:
    if not arms:
        return []
    return [
        f"No curve, as no log of steps was written (a student merged from others, or trained by an earlier version): {', '.join(arms)}."
    ]
