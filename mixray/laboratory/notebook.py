"""The laboratory's findings on disk: `laboratory.json` holds every number, `laboratory.md` and the pictures tell the same.

Written again after each finding, so that what was found is there whatever becomes of the rest. What another run found of other claims
stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixray import report
from mixray.errors import MixrayError
from mixray.laboratory import page
from mixray.laboratory.claims import CLAIMS, Claim
from mixray.laboratory.findings import Finding

NUMBERS, PAGE, PICTURES = "laboratory.json", "laboratory.md", "laboratory"


@dataclass
class Notebook:
    """The findings in a folder, by claim, and the processor seconds that each recipe took on `machine`."""

    folder: Path
    findings: dict[str, Finding] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    machine: str = ""

    @classmethod
    def open(cls, folder: Path) -> Notebook:
        """Read what was found before.

        Raises:
            MixrayError: the file cannot be understood.
        """
        path = folder / NUMBERS
        if not path.is_file():
            return cls(folder)
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            findings = {name: Finding.of_json(each) for name, each in told["findings"].items() if name in CLAIMS}
            return cls(folder, findings, told["seconds"], told["machine"])
        except (ValueError, KeyError, TypeError) as error:
            raise MixrayError(
                "The laboratory's findings cannot be read", seen=f"{path}: {error}", do=f"restore {path} or remove it"
            ) from error

    def add(self, claim: Claim, finding: Finding, told: dict[str, Any]) -> None:
        """Take in a finding, with the pictures of it and of its report's content, and write everything."""
        self.findings[claim.name] = finding
        pictures = self.folder / PICTURES
        pictures.mkdir(parents=True, exist_ok=True)
        for old in page.own_pictures(claim, [path.stem for path in pictures.glob("*.svg")]):
            (pictures / f"{old}.svg").unlink()
        for name, picture in page.pictures(claim, finding, told).items():
            (pictures / f"{name}.svg").write_text(report.standalone(picture) + "\n", encoding="utf-8")
        self.write()

    def write(self) -> None:
        """Write numbers and page."""
        self.folder.mkdir(parents=True, exist_ok=True)
        findings = {name: self.findings[name].as_json() for name in CLAIMS if name in self.findings}
        told = {"machine": self.machine, "seconds": dict(sorted(self.seconds.items())), "findings": findings}
        (self.folder / NUMBERS).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        there = {path.stem for path in (self.folder / PICTURES).glob("*.svg")}
        (self.folder / PAGE).write_text(page.render(self.findings, self.seconds, self.machine, there), encoding="utf-8")


def apart(committed: Finding, found: Finding) -> list[str]:
    """Return where a new finding leaves the intervals of a former one, in words; nothing where each number lies inside and the verdict is
    the same."""
    before = {(each.terms, each.measure): each for each in committed.contrasts}
    now = {(each.terms, each.measure) for each in found.contrasts}
    told = [f"{terms}: committed, and not found" for terms, measure in before if (terms, measure) not in now]
    if found.verdict != committed.verdict:
        told.append(f"{found.verdict}, committed: {committed.verdict}")
    for each in found.contrasts:
        former = before.get((each.terms, each.measure))
        if former is None:
            told.append(f"{each.terms}: not among the committed ones")
        elif not former.low <= each.value <= former.high and each.value != former.value:
            told.append(f"{each.terms}: {each.value:.4f}, committed {former.value:.4f} [{former.low:.4f}, {former.high:.4f}]")
    return told


def is_same(committed: Finding, found: Finding) -> bool:
    """Whether every number of two findings is the same to the last digit."""
    return [vars(each) for each in committed.contrasts] == [vars(each) for each in found.contrasts] and committed.arms == found.arms


def held_against(committed: Finding | None, found: Finding) -> tuple[bool, list[str]]:
    """Return whether a finding lies inside the committed intervals, and what there is to say of it."""
    if committed is None:
        return False, ["nothing is committed"]
    told = apart(committed, found)
    return not told, told or ["the same" if is_same(committed, found) else "inside the intervals"]
