"""Two reports held against each other: what went in that is not the same, and what came out, with intervals.

In: two reports, of one recipe or of two, of one store or of two. Out: plain dictionaries (`mixray compare --json`).

An accuracy is compared problem by problem where both stores still hold the arms' answers and both asked the same problems, which is looked
at in questions and golds, not in names; else from the intervals that the reports tell, by their squared distances (Newcombe 1998, method
10), which is wider. Each difference is B - A and stands alone: how many would show by chance is said beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixray.errors import MixrayError
from mixray.report import gaps
from mixray.report.found import Found, scores_label
from mixray.report.intervals import Interval
from mixray.report.samples import Answers, read_answers
from mixray.report.scopes import OVERALL
from mixray.rows import digest, keyed_draw
from mixray.store import Artefact

Row = Mapping[str, Any]
SCORE = ("accuracy", "low", "high", "num_problems", "num_samples")
GAP = ("difference", "low", "high", "verdict")
QUESTION = ["problem_id", "question", "gold"]
SETTINGS = ("confidence", "num_resamples", "bootstrap", "seed")


def compare(first: Found, second: Found) -> dict[str, Any]:
    """Return what differs between report A (`first`) and report B (`second`); `drawn`: the statistics of B, used for the differences."""
    one, two = first.told, second.told
    groups = [{(row["student"], row["label"]): row for row in told["groups"]} for told in (one, two)]
    both = [key for key in groups[0] if key in groups[1]]
    scores = [row for key in both for row in _scores(first, second, groups[0][key], groups[1][key])]
    told = {
        "first": {"report": first.place, "name": one["name"]},
        "second": {"report": second.place, "name": two["name"]},
        "headline": _headline(one, two),
        "drawn": {key: two.get(key) for key in ("confidence", "num_resamples", "seed")},
        "recipe": differing(_flat(one["provenance"].get("recipe", {})), _flat(two["provenance"].get("recipe", {}))),
        "statistics": differing(_statistics(one), _statistics(two)),
        "versions": differing(one["provenance"].get("versions", {}), two["provenance"].get("versions", {})),
        "artefacts": differing(*({row["role"]: row["label"] for row in told["provenance"]["artefacts"]} for told in (one, two))),
        "scores": scores,
        "gaps": _gaps(one, two),
        "only_first": [_name(key) for key in groups[0] if key not in groups[1]],
        "only_second": [_name(key) for key in groups[1] if key not in groups[0]],
    }
    return {**told, "num_shown": sum(_is_shown(row) for row in scores), "expected_by_chance": _by_chance(one, two, scores)}


def _statistics(told: Row) -> dict[str, Any]:
    """Return how a report's intervals were made; those that do not say had no other bootstrap."""
    return {key: told.get(key, "problems" if key == "bootstrap" else None) for key in SETTINGS}


def differing(first: Row, second: Row) -> list[dict[str, Any]]:
    """Return a row for each key whose value is not the same; None where one side has none."""
    keys = dict.fromkeys([*first, *second])
    return [{"key": key, "first": first.get(key), "second": second.get(key)} for key in keys if first.get(key) != second.get(key)]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return a recipe's values by their dotted keys, so that one changed number is one row."""
    if isinstance(value, Mapping):
        return {key: inner for name, each in value.items() for key, inner in _flat(each, f"{path}.{name}" if path else str(name)).items()}
    return {path: value}


def _name(key: tuple[str, str]) -> dict[str, str]:
    return {"student": key[0], "label": key[1]}


def _headline(one: Row, two: Row) -> str | None:
    """Return what both reports speak of; None where it is not the same."""
    benchmarks = [set(told["groups"][0]["scores"]) for told in (one, two) if told["groups"]]
    same = len(benchmarks) == 2 and benchmarks[0] == benchmarks[1]
    return one.get("headline") if same and one.get("headline") == two.get("headline") else None


def _scores(first: Found, second: Found, one: Row, two: Row) -> Iterator[dict[str, Any]]:
    """Yield, for one student and label, each benchmark that both reports tell, and the mean of all where both have the same ones."""
    scopes = {name: (name,) for name in one["scores"] if name in two["scores"]}
    if len(scopes) > 1 and set(one["scores"]) == set(two["scores"]):
        scopes[OVERALL] = tuple(scopes)
    pairs = _Pairs(first, second, one, two)
    for scope, benchmarks in scopes.items():
        sides = [row["scores"].get(scope, row["overall"]) for row in (one, two)]
        interval, how, reason = pairs.difference(scope, benchmarks, sides)
        yield {
            "student": one["student"],
            "label": one["label"],
            "benchmark": scope,
            **{name: {key: side.get(key) for key in SCORE} for name, side in zip(("first", "second"), sides, strict=True)},
            "seeds": {"first": one.get("seeds"), "second": two.get("seeds")},
            "difference": interval.estimate,
            "low": None if math.isnan(interval.low) else interval.low,
            "high": None if math.isnan(interval.high) else interval.high,
            "how": how,
            "why": reason,
            "verdict": _verdict(interval, how),
        }


def _verdict(interval: Interval, how: str) -> str:
    if how == "same answers":
        return "the same"
    return "no interval" if math.isnan(interval.low) else gaps.verdict(interval, "B", "A")


class _Pairs:
    """The answers of the arms that one student and label have in two reports, read when first wanted."""

    def __init__(self, first: Found, second: Found, one: Row, two: Row) -> None:
        self.told = (first.told, second.told)
        self.labels = [_labels(found.told, row) for found, row in ((first, one), (second, two))]
        self.key = (str(one["student"]), str(one["label"]))
        self.seeds = [seed for seed in self.labels[0] if seed in self.labels[1]]
        self.sides, self.missing = self._read(first, second)
        self.same = bool(self.sides) and self._are_the_same()

    def _read(self, first: Found, second: Found) -> tuple[list[list[_Told]], str]:
        """Return both sides' answers of each common seed, or why they are not to be had."""
        if not self.seeds:
            return [], "no training seed in common"
        sides: list[list[_Told]] = []
        for name, found, labels in (("A", first, self.labels[0]), ("B", second, self.labels[1])):
            artefacts = [found.artefact(labels[seed]) for seed in self.seeds]
            if any(artefact is None for artefact in artefacts):
                gone = "lies without its store" if found.store is None else "names answers that are not there any more"
                return [], f"{name} {gone}"
            try:
                sides.append([_Told(artefact) for artefact in artefacts if artefact is not None])
            except (MixrayError, pa.ArrowInvalid):  # damaged, or of a version whose rows told less
                return [], f"the answers of {name} cannot be read"
        return sides, ""

    def _are_the_same(self) -> bool:
        """Whether both sides hold the same bytes: a label is of what made them, and two machines need not make the same of it."""
        if not len(self.seeds) == len(self.labels[0]) == len(self.labels[1]):
            return False
        return all(one.files == two.files for one, two in zip(*self.sides, strict=True))

    def difference(self, scope: str, benchmarks: Sequence[str], sides: Sequence[Row]) -> tuple[Interval, str, str]:
        """Return B - A with its interval, how it was had (`paired`, `unpaired`, `same answers`), and why not paired."""
        if self.same:
            return Interval(0.0, 0.0, 0.0), "same answers", ""
        if not self.sides:
            return self._unpaired(sides, self.missing)
        if any(not one.asked[name] & two.asked[name] for one, two in zip(*self.sides, strict=True) for name in benchmarks):
            return self._unpaired(sides, "the problems are not the same")
        pairs = [self._pairs(name, keyed_draw(self.told[1]["seed"], "compare", *self.key, scope, name)) for name in benchmarks]
        confidence, num_resamples = self.told[1]["confidence"], self.told[1]["num_resamples"]
        reason = "" if len(self.seeds) == max(map(len, self.labels)) else f"over the {len(self.seeds)} training seeds that both have"
        return gaps.difference(pairs, confidence, num_resamples), "paired", reason

    def _pairs(self, benchmark: str, seed: int) -> gaps.Pairs:
        """Return both sides' shares of right samples of each problem."""
        one, two = (np.stack([told.answers[benchmark].right for told in side]) for side in self.sides)
        return gaps.Pairs(two, one, seed)

    def _unpaired(self, sides: Sequence[Row], reason: str) -> tuple[Interval, str, str]:
        told = unpaired(*(Interval(side["accuracy"], side["low"], side["high"]) for side in sides))
        if self.told[0]["confidence"] != self.told[1]["confidence"]:
            return Interval(told.estimate, math.nan, math.nan), "unpaired", f"{reason}; the intervals are of two confidences"
        return told, "unpaired", reason


def unpaired(first: Interval, second: Interval) -> Interval:
    """Return second - first of two shares that were measured apart, from their own intervals (Newcombe 1998, method 10)."""
    estimate = second.estimate - first.estimate
    below = math.hypot(second.estimate - second.low, first.high - first.estimate)
    above = math.hypot(second.high - second.estimate, first.estimate - first.low)
    return Interval(estimate, max(-1.0, estimate - below), min(1.0, estimate + above))


class _Told:
    """One arm's answers, and what was asked in each benchmark: the artefact it came from, and a digest of questions and golds."""

    def __init__(self, scores: Artefact) -> None:
        self.answers: dict[str, Answers] = read_answers(scores)
        self.files = [entry["sha256"] for entry in scores.manifest()["files"]]
        inputs = scores.made_by["inputs"]
        self.asked = {name: {inputs[key]} if (key := f"benchmark {name}") in inputs else set() for name in self.answers}
        table = scores.read_table()
        if not set(QUESTION) <= set(table.column_names):  # of an earlier version
            return
        for name, keys in self.asked.items():
            rows = table.filter(pc.equal(table.column("benchmark"), name)).select(QUESTION).to_pylist()
            keys.add(digest(sorted({json.dumps(list(row.values())) for row in rows})))


def _labels(report: Row, group: Row) -> dict[Any, str | None]:
    """Return the label of the scores of each arm of a group, by training seed."""
    arms = {arm["arm"]: arm for arm in report["arms"]}
    return {arms[name]["seed"]: scores_label(report, arms[name]) for name in group["arms"] if name in arms}


def _gaps(one: Row, two: Row) -> list[dict[str, Any]]:
    """Return the gaps that both reports tell, side by side."""
    sides = [
        {(gap["student"], gap["benchmark"], gap["kind"], gap["hard"], gap["easy"]): gap for gap in told["gaps"]} for told in (one, two)
    ]
    return [
        {
            **{name: gap[name] for name in ("student", "benchmark", "kind", "name")},
            **{name: {part: side[key][part] for part in GAP} for name, side in zip(("first", "second"), sides, strict=True)},
            "verdict_changed": gap["verdict"] != sides[1][key]["verdict"],
        }
        for key, gap in sides[0].items()
        if key in sides[1]
    ]


def _is_shown(row: Row) -> bool:
    return row["low"] is not None and (row["low"] > 0 or row["high"] < 0)


def _by_chance(one: Row, two: Row, scores: Sequence[Row]) -> float:
    """Return how many of the differences would be shown although nothing differed."""
    looked_at = sum(row["how"] != "same answers" and row["low"] is not None for row in scores)
    return round(looked_at * (1 - min(one["confidence"], two["confidence"])), 6)
