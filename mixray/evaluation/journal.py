"""Answers kept as they come, in small files that a killed run leaves whole or torn and the next one reads.

In: answers. Out: the same answers, after any kill but for those since the last flush. A torn line is asked again.
"""

from __future__ import annotations

import json
import posixpath
import uuid
from dataclasses import asdict

from mixray.evaluation.client import Answer
from mixray.store import Artefact


class Journal:
    """The unfinished answers of one artefact, in its work folder."""

    def __init__(self, artefact: Artefact) -> None:
        self.fs, self.folder = artefact.store.fs, artefact.work_path
        self.pending: list[Answer] = []

    def read(self) -> dict[tuple[str, str, int], Answer]:
        """Return what earlier runs left, by question."""
        self.fs.invalidate_cache()
        if not self.fs.exists(self.folder):
            return {}
        kept = {}
        for path in sorted(self.fs.ls(self.folder, detail=False)):
            if posixpath.basename(path).endswith(".jsonl"):
                for line in self.fs.cat_file(path).split(b"\n"):
                    answer = _parse(line)
                    if answer is not None:
                        kept[answer.name] = answer
        return kept

    def add(self, answer: Answer) -> None:
        """Take an answer; `flush` keeps it."""
        self.pending.append(answer)

    def flush(self) -> None:
        """Write what came since the last flush as one new file: a kill can tear this one and no other."""
        if self.pending:
            lines = [json.dumps(asdict(answer), ensure_ascii=False) for answer in self.pending]
            self.fs.makedirs(self.folder, exist_ok=True)
            text = "\n".join(lines) + "\n"
            self.fs.pipe_file(f"{self.folder}/{uuid.uuid4().hex}.jsonl", text.encode("utf-8", errors="replace"))
            self.pending.clear()


def _parse(line: bytes) -> Answer | None:
    try:
        fields = json.loads(line)
        benchmark, problem_id, sample = fields.pop("name")
        return Answer(name=(str(benchmark), str(problem_id), int(sample)), **fields)
    except (ValueError, TypeError, KeyError):  # the line of a killed run, cut anywhere: its question is asked again
        return None
