"""How often a teacher's engine was started since its pool last grew, and what the last one that failed had to say.

In: notes that actors leave in the work folder. Out: an end to a pool that gets nowhere. Ray replaces dead actors without limit, which is
right while machines come and go and wrong for an engine that dies of its own input; only the lack of progress tells the two apart.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from mixray.errors import TeacherError
from mixray.store import Store


@dataclass(frozen=True)
class Attempts:
    """The starts of a teacher's engines; `limit` of them without a new row are too many."""

    store: Store
    folder: str
    limit: int

    def begin(self) -> str:
        """Note a start; return the note's path.

        Raises:
            TeacherError: there were too many since the pool last grew.
        """
        notes = self._notes()
        if len(notes) >= self.limit:
            raise TeacherError(
                "A teacher's engine does not keep running",
                seen=self.last_words() or "it was killed without a word",
                rule=f"{len(notes)} starts without a new row are enough (max_restarts)",
                do="check the model and the memory, then run again: finished rows are kept",
            )
        self.store.fs.makedirs(self.folder, exist_ok=True)
        path = f"{self.folder}/{uuid.uuid4().hex}.json"
        self._write(path, None)
        return path

    def died(self, path: str, error: BaseException) -> None:
        """Keep the reason an engine gave for its end."""
        self._write(path, f"{type(error).__name__}: {error}".strip())

    def num_died(self) -> int:
        """Return how many starts ended with a reason of their own since the pool last grew."""
        return len(self._told())

    def clear(self) -> None:
        """Forget the notes: the pool has grown, or a new run begins."""
        for path in self._notes():
            self.store.fs.rm_file(path)

    def last_words(self) -> str | None:
        """Return the reason an engine gave for its end, where one did."""
        return next(iter(self._told()), None)

    def _told(self) -> list[str]:
        told = [json.loads(self.store.fs.cat_file(path))["error"] for path in self._notes()]
        return [error for error in told if error]

    def _notes(self) -> list[str]:
        self.store.fs.invalidate_cache()
        return sorted(self.store.fs.ls(self.folder, detail=False)) if self.store.fs.exists(self.folder) else []

    def _write(self, path: str, error: str | None) -> None:
        self.store.fs.pipe_file(path, json.dumps({"error": error}).encode())
