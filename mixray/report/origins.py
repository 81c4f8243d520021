"""Where each number of the page comes from: a block per artefact, per arm and per gap, and the anchors that lead to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixray.naming import UNTOUCHED

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

    def made(self, student: str, label: str, what: str) -> str | None:
        """Return the anchor of the one artefact of an arm that is its `model`, `token shifts`, ...; of several seeds, the arm's."""
        return self._only(student, label, [source for source in self._sources(student, label) if source["what"] == what])

    def asked(self, cost: Row) -> str | None:
        """Return the anchor of the pool that an arm's teacher was paid for; of several pools, the arm's."""
        pools = [source for source in self._sources(cost["student"], cost["label"]) if source["what"] == "pool"]
        return self._only(cost["student"], cost["label"], pools)

    def gain(self, student: str, label: str) -> str | None:
        """Return the anchor of what an arm gained over the untouched student."""
        return self.anchors.get(("gap", student, label, UNTOUCHED)) or self.arm(student, label)

    def _sources(self, student: str, label: str) -> list[dict[str, Any]]:
        anchor = self.arm(student, label)
        return next((block["sources"] for block in self.arms if block["anchor"] == anchor), [])

    def _only(self, student: str, label: str, sources: Sequence[Row]) -> str | None:
        anchors = {source["anchor"] for source in sources}
        return (anchors.pop() if len(anchors) == 1 else None) or self.arm(student, label)

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
    sources = [
        {"arm": of, "what": what, "label": label, "anchor": anchors.get(("artefact", label))} for of, what, label in _told_of(report, group)
    ]
    return {
        "anchor": f"arm-{place}", "student": group["student"], "label": group["label"], "seeds": group["seeds"], "sources": sources,
    }  # fmt: skip


def _told_of(report: Row, group: Row) -> Iterator[tuple[str, str, str]]:
    """Yield whose, what, and the label of each artefact that numbers of a group are made from."""
    by_role = {row["role"]: row["label"] for row in report["provenance"]["artefacts"]}
    for arm in (row for row in report["arms"] if row["arm"] in group["arms"]):
        yield arm["arm"], "answers", arm["scores_artefact"]
        if arm["budgets_artefact"]:
            yield arm["arm"], "budgets", arm["budgets_artefact"]
        if shifts := by_role.get(f"shifts of {arm['arm']}"):
            yield arm["arm"], "token shifts", shifts
        if model := arm["trained_artefact"] or arm["model"]:
            yield arm["arm"], "model", model
    if mixture := by_role.get(f"mixture {group['mixture']}"):
        yield group["label"], "mixture", mixture
    key = group["student"], group["label"]
    used = [name for cost in report["costs"] if (cost["student"], cost["label"]) == key for name in cost["used_shares"]]
    for name in used:
        if pool := by_role.get(f"pool {name}"):
            yield name, "pool", pool
