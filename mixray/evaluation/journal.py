"""Answers kept as they come, in files that a killed run leaves whole or torn and the next one reads.

In: answers. Out: the same answers after any kill. In a local store each answer is with the system as soon as it came, so a killed
process loses none; elsewhere those since the last flush are lost. A torn line is asked again. A run that another attempt has taken over
from keeps no more answers: it ends with the next flush.
"""

from __future__ import annotations

import json
import posixpath
import time
import uuid
from dataclasses import asdict
from typing import BinaryIO

from mixray.evaluation.client import StudentAnswer
from mixray.evaluation.exam import Name
from mixray.store import Artefact

FLUSH_SECONDS = 2.0


class Journal:
    """The unfinished answers of one artefact, in its work folder; a context that leaves all that was added behind."""

    def __init__(self, artefact: Artefact) -> None:
        self.fs, self.folder, self.is_local = artefact.store.fs, artefact.work_path, artefact.store.is_local
        self._fence = artefact.fence
        self._pending: list[bytes] = []
        self._flushed = time.monotonic()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Journal:
        """Begin; no file is made before the first answer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what came."""
        self.flush()
        if self._file is not None:
            self._file.close()

    def read(self) -> dict[Name, StudentAnswer]:
        """Return what earlier runs left, by question; files that another run removes meanwhile, for it is done, count as not there."""
        self.fs.invalidate_cache()
        try:
            paths = sorted(self.fs.ls(self.folder, detail=False))
        except FileNotFoundError:
            return {}
        kept: dict[Name, StudentAnswer] = {}
        for path in paths:
            if posixpath.basename(path).endswith(".jsonl"):
                kept |= self._answers(path)
        return kept

    def _answers(self, path: str) -> dict[Name, StudentAnswer]:
        try:
            lines = self.fs.cat_file(path).split(b"\n")
        except FileNotFoundError:
            return {}
        return {answer.name: answer for answer in map(_parse, lines) if answer is not None}

    def add(self, answer: StudentAnswer) -> None:
        """Keep an answer, at once or with the next flush."""
        line = (json.dumps(asdict(answer), ensure_ascii=False) + "\n").encode("utf-8", errors="replace")
        if self.is_local:
            self._local_file().write(line)
        else:
            self._pending.append(line)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not with the store yet, as one new object.

        Raises:
            FencedOut: another attempt has taken over.
        """
        if self._fence is not None:
            self._fence.check()
        if self._pending:
            self.fs.makedirs(self.folder, exist_ok=True)
            self.fs.pipe_file(self._new_path(), b"".join(self._pending))
            self._pending.clear()
        self._flushed = time.monotonic()

    def _local_file(self) -> BinaryIO:
        """Return this run's own file: what a killed one tore is never written on."""
        if self._file is None:
            self.fs.makedirs(self.folder, exist_ok=True)
            self._file = open(self._new_path(), "ab", buffering=0)  # noqa: SIM115 - open as long as the journal
        return self._file

    def _new_path(self) -> str:
        return f"{self.folder}/{uuid.uuid4().hex}.jsonl"


def _parse(line: bytes) -> StudentAnswer | None:
    try:
        fields = json.loads(line)
        benchmark, problem_id, sample, budget = fields.pop("name")
        return StudentAnswer(name=Name(str(benchmark), str(problem_id), int(sample), int(budget)), **fields)
    except (ValueError, TypeError, KeyError):  # the line of a killed run, cut anywhere: its question is asked again
        return None
