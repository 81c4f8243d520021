"""Reports that are there already: one by what a user calls it, those of a store, the newest that tells of an artefact.

In: a store, a folder, a file or an address. Out: the content of report.json, and the store its artefacts lie in, where that is known.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from mixray import shelf
from mixray.errors import MixrayError, SourceError
from mixray.store import Artefact, Store

KIND, FILE = "reports", "report.json"
NEEDED = ("name", "groups", "gaps", "arms", "provenance")


@dataclass(frozen=True)
class Found:
    """A report.

    Attributes:
        place: what to call it: the artefact's label, or the address it was read from.
        told: the content of report.json.
        store: where its artefacts lie; None where the file lies by itself.
    """

    place: str
    told: Mapping[str, Any]
    store: Store | None

    def artefact(self, label: str | None) -> Artefact | None:
        """Return an artefact that the report names, where it is still there."""
        if self.store is None or label is None:
            return None
        kind, _, folder = label.partition("/")
        try:
            return self.store.open(kind, folder)
        except MixrayError:  # removed, or of a store that cannot be reached any more
            return None


def find(store: Store, text: str) -> Found:
    """Return the report that `text` means: a report.json, a folder with one, an address of either, or a name in the store.

    Raises:
        StoreError: none fits, or several do.
        SourceError: what is there is no report.
    """
    if "://" in text or text.endswith(".json") or (Path(text) / FILE).is_file():
        return _read(text)
    return of(shelf.open_only(store, KIND, text, shelf.fitting(store, KIND, text)))


def of(report: Artefact) -> Found:
    """Return the report in an artefact.

    Raises:
        SourceError: it is damaged, or of a version that told less.
    """
    try:
        return Found(report.label, _checked(report.read_json(FILE), report.label), report.store)
    except (OSError, ValueError) as error:
        raise _unreadable(report.label, error) from error


def every(store: Store) -> Iterator[Found]:
    """Yield the reports of a store that can be read, the newest first."""
    artefacts = [store.open(KIND, folder) for folder in shelf.folders(store, KIND)]
    for report in sorted(artefacts, key=_written, reverse=True):
        try:
            yield of(report)
        except SourceError:  # another version's: whoever looks for facts looks on
            continue


def newest_with(store: Store, label: str) -> Found | None:
    """Return the newest report of a store that names an artefact among what it was made from; None where none does."""

    def names_it(found: Found) -> bool:
        return any(row["label"] == label for row in found.told["provenance"]["artefacts"])

    return next(filter(names_it, every(store)), None)


def scores_label(report: Mapping[str, Any], arm: Mapping[str, Any]) -> str | None:
    """Return the label of an arm's scores."""
    role = f"scores of {arm['arm']}"
    told = next((row["label"] for row in report["provenance"]["artefacts"] if row["role"] == role), None)
    return arm.get("scores_artefact") or told


def _written(report: Artefact) -> tuple[str, str]:
    try:
        return report.store.fs.modified(f"{report.path}/manifest.json").isoformat(), report.folder
    except (OSError, NotImplementedError):  # a filesystem without times: the order of names
        return "", report.folder


def _read(address: str) -> Found:
    """Read a report.json, or the one in a folder; its store is two folders up, where it lies among `reports`."""
    path = address.rstrip("/")
    path = path if path.endswith(".json") else f"{path}/{FILE}"
    try:
        with fsspec.open(path, "rb") as file:
            told = _checked(json.loads(file.read()), path)
    except (OSError, ValueError, ImportError) as error:
        raise _unreadable(path, error) from error
    whole = path if "://" in path else str(Path(path).absolute())
    folder = posixpath.dirname(whole)
    root, kind = posixpath.split(posixpath.dirname(folder))
    if kind != KIND:
        return Found(path, told, None)
    return Found(f"{KIND}/{posixpath.basename(folder)}", told, Store(root))


def _checked(told: Any, place: str) -> dict[str, Any]:
    missing = [key for key in NEEDED if not isinstance(told, dict) or key not in told]
    if missing:
        raise SourceError("This is no report, or one of an earlier version", seen=place, rule=f"it tells {', '.join(missing)}")
    return dict(told)


def _unreadable(place: str, error: Exception) -> SourceError:
    return SourceError(
        "A report cannot be read", seen=place, rule=str(error), do="name a report.json, its folder, or see `mixray report ls`"
    )
