"""What the cards of students, mixtures and pools have in common: a head that the hub reads, tables, and where the text was taught from.

In: facts and artefacts. Out: Markdown. Only names, numbers and hashes are told: settings of a recipe may hold paths of the machine, and
addresses and keys of endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from mixray import shelf
from mixray.store import Artefact, Store

LICENSE_UNKNOWN = "unknown"
NOTHING = "–"
KEPT = "KEPT"
"""Stands in what is said of contamination where it was not left out."""
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"), (10**8, "10M<n<100M"))
LARGEST = "100M<n<1B"
COUNTED = ("num_traces", "right", "wrong", "unknown", "truncated")
_OF_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Teacher:
    """A pool as cards tell of it; figures are None where the pool, or its manifest, is no longer there."""

    name: str
    label: str
    model: str | None
    """The model's name, on the hub or at its endpoint; None of local models and imported traces."""
    how: str
    counts: Mapping[str, int | None]


def teachers_of(store: Store, pools: Mapping[str, str]) -> list[Teacher]:
    """Return what is told of each pool, given its hash by its name."""
    folders = {folder.rpartition("-")[2]: folder for folder in shelf.folders(store, "pools")}
    return [
        teacher(store.open("pools", folders[hash_])) if hash_ in folders else Teacher(name, f"pools/{name}-{hash_}", None, NOTHING, {})
        for name, hash_ in pools.items()
    ]


def teacher(pool: Artefact) -> Teacher:
    """Return what is told of a pool; of one with a judge's second opinions the teacher is that of the pool it was made of."""
    settings, asked = pool.made_by["settings"], pool
    made_of = pool.made_by["inputs"].get("pool")
    if made_of is not None:
        folder = next((each for each in shelf.folders(pool.store, "pools") if each.endswith(f"-{made_of}")), None)
        asked = pool.store.open("pools", folder) if folder else pool
    settings = asked.made_by["settings"]
    model = settings.get("model")
    named = "endpoint" in settings or (isinstance(model, str) and _OF_HUB.fullmatch(model) is not None)  # else a fingerprint
    how = "imported traces" if "traces" in settings else "a local model" if "model" in settings else NOTHING
    return Teacher(
        pool.name, pool.label, _without_folders(str(model)) if named else None, how, {key: pool.outcome.get(key) for key in COUNTED}
    )


def _without_folders(model: str) -> str:
    """Return a model's name; of one that an endpoint calls by its folder, the last part alone."""
    return model if not model.startswith(("/", "~", ".")) else model.rstrip("/").rpartition("/")[2]


def teachers_table(teachers: Iterable[Teacher]) -> str:
    """Return the pools with their teachers and verdicts."""
    rows = [
        [
            cell(each.name),
            code(each.model) if each.model else each.how,
            *(NOTHING if each.counts.get(key) is None else f"{each.counts[key]:,}" for key in COUNTED),
            code(each.label),
        ]
        for each in teachers
    ]
    return table(["pool", "teacher", "traces", "right", "wrong", "unknown", "truncated", "artefact"], rows)


def contamination(mixture: Artefact) -> str:
    """Return what is known of problems that the benchmarks ask, too, and of what became of them."""
    hash_ = mixture.made_by["inputs"].get("overlaps")
    folder = next((each for each in shelf.folders(mixture.store, "overlaps") if each.endswith(f"-{hash_}")), None)
    if folder is None:
        return "Whether its problems are in a benchmark is not known: the search for overlaps is no longer stored."
    overlaps = mixture.store.open("overlaps", folder)
    benchmarks = [key.removeprefix("benchmark ") for key in overlaps.made_by["inputs"] if key.startswith("benchmark ")]
    found, of = overlaps.outcome["num_contaminated"], overlaps.outcome["num_problems"]
    dropped = mixture.made_by["settings"].get("blend", {}).get("contaminated", "drop") == "drop"
    searched = f"Of {of:,} problems that were searched for overlaps with {', '.join(benchmarks) or 'no benchmark'}, {found:,} were found"
    return f"{searched}." if not found else f"{searched} and {'left out' if dropped else f'{KEPT}, as its recipe asks'}."


def page(head: Mapping[str, Any], parts: Iterable[str]) -> str:
    """Return a README.md: what the hub reads at its head, and what people read below."""
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)}---\n\n" + "\n\n".join(parts) + "\n"


def data_set_head(name: str, license_id: str | None, schema: pa.Schema, num_rows: int, num_bytes: int, shards: str) -> dict[str, Any]:
    """Return the head of a data set's card: licence, size, columns, and where the rows are."""
    return {
        "pretty_name": name,
        "license": license_id or LICENSE_UNKNOWN,
        "task_categories": ["text-generation"],
        "size_categories": [next((size for limit, size in SIZES if num_rows < limit), LARGEST)],
        "tags": ["distillation", "reasoning", "mixray"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": shards}]}],
        "dataset_info": {
            "features": [_feature(column) for column in schema],
            "splits": [{"name": "train", "num_bytes": num_bytes, "num_examples": num_rows}],
            "download_size": num_bytes,
            "dataset_size": num_bytes,
        },
    }


def license_told(license_id: str | None, models: str) -> str:
    """Return what is known of a data set's licence; `models` are those that answered."""
    if license_id is not None:
        return f"Licence: {license_id}, as whoever made it says; the problems and {models} have licences of their own."
    return f"Its licence is unknown: nobody said it, and those of the problems and of {models} hold for it, too."


def _feature(column: pa.Field) -> dict[str, Any]:
    """Return a column as `datasets` writes it into a card."""
    if pa.types.is_list(column.type):
        return {"name": column.name, "list": [_feature(inner) for inner in column.type.value_type]}
    names = {"double": "float64"}
    return {"name": column.name, "dtype": names.get(str(column.type), str(column.type))}


def columns_table(schema: pa.Schema, told: Mapping[str, str]) -> str:
    """Return the columns with their types, and what there is to say of them."""
    return table(["column", "type", "what"], [[column.name, cell(str(column.type)), told.get(column.name, "")] for column in schema])


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (titles, ["---"] * len(titles), *rows))


def cell(text: str) -> str:
    """Return a text as a table's cell can hold it."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return a text as code, whatever it holds."""
    return "`" + cell(text).replace("`", "'") + "`"
