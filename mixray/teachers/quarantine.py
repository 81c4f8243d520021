"""Rows of an import that made no trace: counted in memory, kept in a file.

In: rows with a reason each. Out: `quarantine.jsonl`, and how many rows went there for which reason. An import of millions of rows may set
most of them aside, so they are never held in memory.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from mixray.files import excerpt
from mixray.store import Artefact

FILE = "quarantine.jsonl"
MOST_DETAIL_CHARACTERS = 500
COPIED_CHARACTERS = 2**20


class Quarantine:
    """The rows set aside so far; its own file goes when it is no longer used."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.first = ""
        """What was wrong with the first row."""
        self._file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 - it lives as long as this object

    @classmethod
    def of(cls, pool: Artefact) -> Quarantine:
        """Return what a committed pool has set aside, for the pool that takes its place."""
        kept = cls()
        path = f"{pool.path}/{FILE}"
        if pool.store.fs.exists(path):
            with pool.store.fs.open(path, "rt", encoding="ascii") as lines:
                for line in lines:
                    kept.reasons[json.loads(line)["reason"]] += 1
                    kept._file.write(line)
        return kept

    def put(self, number: int, row: Any, reason: str, detail: str) -> None:
        """Set row `number` aside: `reason` is one word to count by, `detail` is for whoever looks into it."""
        detail = detail[:MOST_DETAIL_CHARACTERS]
        self.first = self.first or f"row {number}: {detail}"
        self.reasons[reason] += 1
        self._file.write(json.dumps({"row": number, "reason": reason, "detail": detail, "content": excerpt(row)}) + "\n")

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
