"""How often a teacher's engine was started since its pool last grew, and what the last one that failed had to say.

In: notes that actors leave in the work folder. Out: an end to a pool that gets nowhere. Ray replaces dead actors without limit, which is
right while machines come and go and wrong for an engine that dies of its own input; only the lack of progress tells the two apart.

The driver clears the notes after every block, so one may be gone as soon as it was listed.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
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
            StoreError: the disk is full or read-only.
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
        """Keep the reason an engine gave for its end.

        Raises:
            StoreError: the disk is full or read-only.
        """
        self._write(path, f"{type(error).__name__}: {error}".strip())

    def num_died(self) -> int:
        """Return how many starts ended with a reason of their own since the pool last grew."""
        return len(self._told())

    def clear(self) -> None:
        """Forget the notes: the pool has grown, or a new run begins."""
        for path in self._notes():
            with contextlib.suppress(FileNotFoundError):
                self.store.fs.rm_file(path)

    def last_words(self) -> str | None:
        """Return the reason an engine gave for its end, where one did."""
        return next(iter(self._told()), None)

    def _told(self) -> list[str]:
        return [error for error in map(self._error, self._notes()) if error]

    def _error(self, path: str) -> str | None:
        """Return the reason in a note.

        One that cannot be read counts as a start without a reason. To count it as a death might end a pool whose engine is well; `limit`
        ends one whose engine is not, all the same.
        """
        try:
            error = json.loads(self.store.fs.cat_file(path))["error"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(error) if error else None

    def _notes(self) -> list[str]:
        self.store.fs.invalidate_cache()
        try:
            found = self.store.fs.ls(self.folder, detail=False)
        except FileNotFoundError:
            return []
        names = sorted(posixpath.basename(path) for path in found)
        return [f"{self.folder}/{name}" for name in names if name.endswith(".json")]  # not those being written

    def _write(self, path: str, error: str | None) -> None:
        self.store.put(path, json.dumps({"error": error}).encode())
