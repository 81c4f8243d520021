"""Where each number of the page comes from: a block per artefact, per arm and per gap, and the anchors that lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Origins:
    """Blocks in the order they are shown, and the anchors of each."""

    artefacts: list[dict[str, Any]]
    arms: list[dict[str, Any]]
    gaps: list[dict[str, Any]]
    anchors: dict[Any, str] = field(repr=False)

    def artefact(self, label: str | None) -> str | None:
        """Return the anchor of an artefact by its label, None where the report tells nothing of it."""
        return self.anchors.get(("artefact", label))

    def source(self, role: str) -> str | None:
        """Return the anchor of an artefact by its role: `pool long`, `mixture mix-0.2`."""
        return self.anchors.get(("role", role))

    def arm(self, student: str, label: str) -> str | None:
        """Return the anchor of an arm pooled over its seeds."""
        return self.anchors.get(("arm", student, label))

    def gap(self, gap: Row) -> str | None:
        """Return the anchor of the two arms a gap lies between."""
        return self.anchors.get(("gap", gap["student"], gap["hard"], gap["easy"]))


def of(report: Row) -> Origins:
    """Return the blocks of a report."""
    anchors: dict[Any, str] = {}
    artefacts: list[dict[str, Any]] = []
    for row in report["provenance"]["artefacts"]:
        anchor = anchors.setdefault(("artefact", row["label"]), f"artefact-{len(artefacts)}")
        anchors.setdefault(("role", row["role"]), anchor)
        if anchor == f"artefact-{len(artefacts)}":
            artefacts.append({"anchor": anchor, "roles": [row["role"]], **row})
        else:  # the untouched model stands behind several arms
            next(each for each in artefacts if each["anchor"] == anchor)["roles"].append(row["role"])
    arms = [_arm_block(report, row, place, anchors) for place, row in enumerate(report["groups"])]
    for block in arms:
        anchors["arm", block["student"], block["label"]] = block["anchor"]
    gaps: list[dict[str, Any]] = []
    for row in report["gaps"]:
        key = ("gap", row["student"], row["hard"], row["easy"])
        if key not in anchors:
            anchors[key] = f"gap-{len(gaps)}"
            ends = [{"label": row[end], "anchor": anchors.get(("arm", row["student"], row[end]))} for end in ("hard", "easy")]
            gaps.append({"anchor": anchors[key], **{name: row[name] for name in ("student", "hard", "easy", "num_seeds")}, "ends": ends})
    return Origins(artefacts, arms, gaps, anchors)


def _arm_block(report: Row, group: Row, place: int, anchors: Mapping[Any, str]) -> dict[str, Any]:
    by_role = {row["role"]: row["label"] for row in report["provenance"]["artefacts"]}
    sources = []
    for arm in (row for row in report["arms"] if row["arm"] in group["arms"]):
        scores = arm["scores_artefact"]
        model = arm["trained_artefact"] or arm["model"]
        for what, label in (("answers", scores), ("model", model)):
            if label:
                sources.append({"arm": arm["arm"], "what": what, "label": label, "anchor": anchors.get(("artefact", label))})
    mixture = by_role.get(f"mixture {group['mixture']}")
    if mixture:
        sources.append({"arm": group["label"], "what": "mixture", "label": mixture, "anchor": anchors.get(("artefact", mixture))})
    return {
        "anchor": f"arm-{place}", "student": group["student"], "label": group["label"], "seeds": group["seeds"], "sources": sources,
    }  # fmt: skip
