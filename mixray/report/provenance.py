"""Where every number comes from: the artefacts behind it with their settings, inputs, files and figures, back to the problems.

Artefacts are named by the run that reports; those they were made from are found in the same store by their hashes. Folders of the
machine are cut to their last part: settings say what was used, not where somebody keeps it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mixray.commits import MANIFEST
from mixray.report.answers import Arm
from mixray.store import Artefact, Store
from mixray.versions import versions

# Of an outcome only what is told in a line: no strata, no parts.
MOST_ENTRIES = 12
_PLACE = re.compile(r"^(?:file://)?(?:[A-Za-z]:[\\/]|[/~])")


def provenance(
    arms: Iterable[Arm],
    mixtures: Mapping[str, Artefact],
    pools: Mapping[str, Artefact],
    overlaps: Artefact,
    recipe: Mapping[str, Any],
    shifts: Mapping[str, Artefact],
) -> dict[str, Any]:
    """Return the artefacts with all that is known of them, the versions here, and the recipe."""
    arms = list(arms)
    models = {arm.model: f"model of {arm.name}" for arm in reversed(arms) if arm.trained is None}
    named = {
        **{f"pool {name}": artefact for name, artefact in pools.items()},
        "overlaps": overlaps,
        **{f"mixture {name}": artefact for name, artefact in mixtures.items()},
        **{f"student {arm.name}": arm.trained for arm in arms if arm.trained is not None},
        **{f"scores of {arm.name}": arm.scores for arm in arms},
        **{f"budgets of {arm.name}": arm.budgets for arm in arms if arm.budgets is not None},
        **{f"shifts of {name}": artefact for name, artefact in shifts.items()},
    }
    rows = [*_before(overlaps.store, named), *named.items()]
    labels = {artefact.hash: artefact.label for _, artefact in rows}
    return {
        "artefacts": [
            *({"role": role, "label": without_places(model), **_NOTHING} for model, role in reversed(models.items())),
            *(_row(role, artefact, labels) for role, artefact in rows),
        ],
        "versions": versions(),
        "recipe": without_places(dict(recipe)),
    }


_NOTHING: dict[str, Any] = {"kind": "models", "made": {}, "inputs": {}, "versions": {}, "files": [], "outcome": {}}


def _before(store: Store, named: Mapping[str, Artefact]) -> list[tuple[str, Artefact]]:
    """Return what the named artefacts were made from and what that was made from, as far as the store still has it, furthest first."""
    fs = store.fs
    kinds = sorted((path.rstrip("/") for path in fs.ls(store.root, detail=False) if fs.isdir(path)), reverse=True)
    kinds = [path for path in kinds if not posixpath.basename(path).startswith(".")]
    folders = [folder.rstrip("/") for path in kinds for folder in sorted(fs.ls(path, detail=False), reverse=True)]
    places = {folder.rpartition("-")[2]: folder for folder in folders}
    known = {artefact.hash for artefact in named.values()}
    found: list[tuple[str, Artefact]] = []
    waiting = list(named.values())
    while waiting:
        for role, hash_ in sorted(waiting.pop(0).made_by["inputs"].items()):
            if hash_ not in known and hash_ in places and fs.exists(f"{places[hash_]}/{MANIFEST}"):
                known.add(hash_)
                artefact = store.open(*places[hash_].split("/")[-2:])
                found.insert(0, (role, artefact))
                waiting.append(artefact)
    return found


def _row(role: str, artefact: Artefact, labels: Mapping[str, str]) -> dict[str, Any]:
    manifest = artefact.manifest()
    outcome, settings = manifest["outcome"], manifest["settings"]
    return {
        "role": role,
        "label": artefact.label,
        "kind": artefact.kind,
        "made": without_places(settings),
        "inputs": {name: labels.get(hash_, hash_) for name, hash_ in sorted(manifest["inputs"].items())},
        "versions": manifest.get("versions", {}),  # artefacts of earlier versions tell none
        "files": [{key: entry[key] for key in ("path", "bytes", "sha256", "rows") if key in entry} for entry in manifest["files"]],
        "outcome": without_places({key: value for key, value in outcome.items() if _is_small(value)}),
    }


def _is_small(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) <= MOST_ENTRIES and not any(isinstance(each, dict | list) for each in value.values())
    return not isinstance(value, list)


def without_places(value: Any) -> Any:
    """Return plain JSON values with every folder or file of this machine cut to `…/` and its last part."""
    if isinstance(value, dict):
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(each) for each in value]
    if isinstance(value, str) and _PLACE.match(value) and "\n" not in value:
        return "…/" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value
