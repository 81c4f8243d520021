"""Rows that cannot be used: set aside with a reason, counted, and kept in a file beside what the others made.

In: rows with a reason each. Out: `quarantine.jsonl`, and how many rows went there for which reason. A source of millions of rows may set
most of them aside, so they are never held in memory.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixray.store import Artefact

FILE = "quarantine.jsonl"
MOST_DETAIL_CHARACTERS = 500
COPIED_CHARACTERS = 2**20


class BadRow(ValueError):
    """A row that is to be set aside: why in one word, and in detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class SetAside:
    """A row that is of no use: `reason` is one word to count by, `detail` is for whoever looks into it, `content` is an excerpt."""

    row: int
    reason: str
    detail: str
    content: str

    def told(self) -> dict[str, Any]:
        """Return its line of the quarantine."""
        return {"row": self.row, "reason": self.reason, "detail": self.detail[:MOST_DETAIL_CHARACTERS], "content": self.content}


class Quarantine:
    """The rows set aside so far; its own file goes when it is no longer used."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self._first: dict[str, SetAside] = {}
        self._file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 - it lives as long as this object

    @classmethod
    def of(cls, artefact: Artefact) -> Quarantine:
        """Return what a committed artefact has set aside, for the one that takes its place."""
        kept = cls()
        path = f"{artefact.path}/{FILE}"
        if artefact.store.fs.exists(path):
            with artefact.store.fs.open(path, "rt", encoding="ascii") as lines:
                for line in lines:
                    kept.put(SetAside(**json.loads(line)))
        return kept

    def put(self, one: SetAside) -> None:
        """Set a row aside."""
        self.reasons[one.reason] += 1
        self._first.setdefault(one.reason, one)
        self._file.write(json.dumps(one.told()) + "\n")

    def summary(self) -> str:
        """Return each reason with its count, and the first row that the commonest one struck; empty where no row was set aside."""
        if not self.reasons:
            return ""
        counted = self.reasons.most_common()
        example = self._first[counted[0][0]]
        return f"{', '.join(f'{count:,} {reason}' for reason, count in counted)}; row {example.row}: {example.detail[:300]}"

    def outcome(self) -> dict[str, Any]:
        """Return `num_set_aside` and `set_aside` ({reason: rows}) for a manifest."""
        return {"num_set_aside": self.reasons.total(), "set_aside": dict(sorted(self.reasons.items()))}

    def write_into(self, folder: Path) -> None:
        """Copy the rows into `folder`, where there are any."""
        if not self.reasons:
            return
        self._file.seek(0)
        with (folder / FILE).open("w", encoding="ascii") as out:
            while chunk := self._file.read(COPIED_CHARACTERS):
                out.write(chunk)
