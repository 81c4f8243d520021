"""Answers that are there, judged in another way: what was asked alike need not be asked again.

In: two artefacts of answers (pools, scores). Out: whether they differ in nothing but who judged, or who checked the golds of what was
asked: a changed verifier may set other problems aside, and the problems both have were asked alike. Unfinished ones count where they
left a note: a verifier that fails half-way is mended, and by that another one, and the answers that were there still are.
"""

from __future__ import annotations

import json
import posixpath
from typing import Any

from mixray.store import Artefact, Store

JUDGED_BY = "judged_by"
NOTE = "made-by.json"
CHECKED_BY = "verifier"
"""The setting of a problem set that says who checked its golds, where that was not mixray."""


def sibling(artefact: Artefact) -> Artefact | None:
    """Return an artefact with the same answers judged in another way, where the store holds one.

    Of several one over the very same inputs comes first, then the one with the most answers.
    """
    found = []
    for folder in artefact.store.folders(artefact.kind):
        if folder.startswith(f"{artefact.name}-") and not folder.endswith(".replaced"):
            other = artefact.store.open(artefact.kind, folder)
            if other.hash != artefact.hash and asked_alike(artefact, other):
                found.append((other.made_by["inputs"] == artefact.made_by["inputs"], _num_answers(other), other))
    return max(found, key=lambda each: each[:2])[2] if found else None


def _num_answers(artefact: Artefact) -> int:
    return int(artefact.outcome.get("num_traces", artefact.outcome.get("rows", 0)))


def leave_note(artefact: Artefact) -> None:
    """Say in an artefact's work folder what is being made there, so that `unfinished` finds it."""
    artefact.store.fs.makedirs(artefact.work_path, exist_ok=True)
    artefact.store.put(f"{artefact.work_path}/{NOTE}", json.dumps(artefact.made_by, sort_keys=True).encode())


def unfinished(artefact: Artefact) -> list[Artefact]:
    """Return the unfinished artefacts, of those that left a note, whose answers were asked alike.

    One that is finished meanwhile is left out: its run removes the note.
    """
    store, found = artefact.store, []
    for path in sorted(store.fs.glob(f"{store.root}/.work/{artefact.kind}/{artefact.name}-*/{NOTE}")):
        name, _, hash_ = posixpath.basename(posixpath.dirname(path)).rpartition("-")
        try:
            note = store.fs.cat_file(path)
        except FileNotFoundError:
            continue
        other = Artefact(store, artefact.kind, name, hash_, json.loads(note))
        if name == artefact.name and hash_ != artefact.hash and asked_alike(artefact, other):
            found.append(other)
    return found


def asked_alike(one: Artefact, other: Artefact) -> bool:
    """Whether the answers of two artefacts were asked alike, and judged otherwise or not."""
    mine, theirs = one.made_by, other.made_by
    if _without(mine["settings"], JUDGED_BY) != _without(theirs["settings"], JUDGED_BY):
        return False
    if mine["format"] != theirs["format"] or mine["kind"] != theirs["kind"] or mine["inputs"].keys() != theirs["inputs"].keys():
        return False
    pairs = [(mine["inputs"][key], theirs["inputs"][key]) for key in mine["inputs"]]
    return all(first == second or _same_rows(one.store, first, second) for first, second in pairs)


def _same_rows(store: Store, first: str, second: str) -> bool:
    """Whether two inputs are problem sets of the same rows, whose golds were checked by different verifiers."""
    told = [_problem_settings(store, hash_) for hash_ in (first, second)]
    return None not in told and told[0] == told[1]


def _problem_settings(store: Store, hash_: str) -> dict[str, Any] | None:
    for folder in store.folders("problems"):
        if folder.endswith(f"-{hash_}"):
            return _without(store.open("problems", folder).made_by["settings"], CHECKED_BY)
    return None


def _without(settings: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != key}
