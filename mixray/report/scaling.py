"""How a gap changes with the student's size; and how large a student is, read from what lies there: no model is loaded."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mixray.models import resolve
from mixray.report.answers import Arm
from mixray.store import Artefact

TENSORS = ".safetensors"
ADAPTER = "adapter"


def scaling_rows(gaps: Sequence[Mapping[str, Any]], sizes: Mapping[str, int | None]) -> list[dict[str, Any]]:
    """Return the gaps that at least two students have, by kind, name and scope; students by size, those of unknown size last."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for gap in gaps:
        # Which single is the best differs from student to student; the question does not.
        name = gap["name"] if gap["kind"] != "mix - best single" else f"{gap['hard']} - best single"
        point = {"student": gap["student"], "num_parameters": sizes.get(gap["student"])}
        found.setdefault((gap["kind"], name, gap["benchmark"]), []).append(
            {**point, **{key: gap[key] for key in ("difference", "low", "high")}}
        )
    return [
        {
            "kind": kind,
            "name": name,
            "benchmark": benchmark,
            "points": sorted(points, key=lambda point: (point["num_parameters"] is None, point["num_parameters"] or 0, point["student"])),
        }
        for (kind, name, benchmark), points in found.items()
        if len({point["student"] for point in points}) > 1
    ]


def num_parameters(arms: Iterable[Arm]) -> dict[str, int | None]:
    """Return each student's number of parameters; None where neither its folder nor a student trained from it tells."""
    found: dict[str, int | None] = {}
    for arm in arms:
        if found.get(arm.student) is None:
            found[arm.student] = _of_folder(arm.model) if arm.trained is None else _of_artefact(arm.trained)
    return found


def _of_folder(model: str) -> int | None:
    """Return how many values the weights of a model folder hold; None for a hub id, or a name that leads nowhere."""
    folder = Path(resolve(model)) if model.startswith("tiny:") else Path(model).expanduser()
    files = sorted(path for path in folder.glob(f"*{TENSORS}") if not path.name.startswith(ADAPTER)) if folder.is_dir() else []
    if not files:
        return None
    return sum(_in_file(path.open("rb")) for path in files)


def _of_artefact(student: Artefact) -> int | None:
    manifest = student.manifest()
    told = manifest["outcome"].get("num_parameters")
    if told is not None:
        return int(told)
    names = [entry["path"] for entry in manifest["files"] if entry["path"].endswith(TENSORS)]
    if not names or any(name.startswith(ADAPTER) for name in names):
        return None
    return sum(_in_file(student.store.fs.open(f"{student.path}/{name}", "rb")) for name in names)


def _in_file(opened: BinaryIO) -> int:
    """Return how many values a safetensors file holds, told by its header alone: eight bytes of length, then JSON."""
    with opened as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(_values(header))


def _values(header: Mapping[str, Any]) -> Iterator[int]:
    return (math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
