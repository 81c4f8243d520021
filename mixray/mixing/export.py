"""Mixtures for other trainers: the rows of one in the form that each of them reads.

In: a mixture. Out: a file or a folder, whole or not there. A few hundred rows are in memory at a time. The files of the trainers hold what
is trained and nothing else; `parquet` and `datasets` keep the columns that say where each row comes from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from mixray.errors import MixtureError
from mixray.export import appearing_whole, save_as_data_set, write_json_lines, write_parquet
from mixray.mixing import shelf
from mixray.mixing.card import SHARDS, SPLIT, card
from mixray.rows import EXAMPLE
from mixray.staging import Staging
from mixray.store import Artefact

Format = Literal["messages-jsonl", "trl", "axolotl", "prompt-completion", "llama-factory", "parquet", "datasets"]
FOLDERS = ("llama-factory", "datasets")
"""The formats that are a folder rather than a file."""
ROWS_PER_SHARD = 50_000


def export(mixture: Artefact, out: Path, form: Format, license_id: str | None = None, force: bool = False) -> int:
    """Write a mixture's rows, in training order, to `out`; return how many.

    Args:
        mixture: what to write.
        out: the file, or the folder for `llama-factory` and `datasets`.
        form: `messages-jsonl`, which TRL and axolotl read alike, so `trl` and `axolotl` are other names of it; `prompt-completion` for TRL;
            `llama-factory`; `parquet`; `datasets`, which `load_dataset` and `load_from_disk` both read.
        license_id: of the data, for the card of `datasets`; unknown where it is not said.
        force: replace a former export.

    Raises:
        MixtureError: `out` is taken, or cannot be written.
    """
    with appearing_whole(out, "mixture", MixtureError, force) as staged:
        if form == "llama-factory":
            return _write_llama_factory(mixture, staged)
        if form == "datasets":
            count = write_hub_folder(mixture, staged, license_id)
            # `load_from_disk` reads Arrow files of its own and nothing else; as a dictionary of splits they leave `load_dataset` its way.
            save_as_data_set(sorted(staged.glob(SHARDS)), staged, SPLIT)
            return count
        if form == "parquet":
            return write_parquet(staged, _tables(mixture), EXAMPLE)
        told = (prompt_completion(messages) if form == "prompt-completion" else {"messages": messages} for messages in _messages(mixture))
        return write_json_lines(staged, told)


def prompt_completion(messages: list[dict[str, str]]) -> dict[str, Any]:
    """Return a conversation as the turns that are asked and the one turn that is learned."""
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def write_hub_folder(mixture: Artefact, folder: Path, license_id: str | None) -> int:
    """Fill a new folder as the hub keeps data sets: a card and parquet files; return the number of rows."""
    (folder / "data").mkdir(parents=True)
    num_shards = max(1, math.ceil(mixture.outcome["num_rows"] / ROWS_PER_SHARD))
    tables, count = _cut(_tables(mixture), ROWS_PER_SHARD), 0
    for shard in range(num_shards):
        path = folder / f"data/{SPLIT}-{shard:05}-of-{num_shards:05}.parquet"
        count += write_parquet(path, _up_to(tables, ROWS_PER_SHARD), EXAMPLE)
    (folder / "README.md").write_text(card(mixture, license_id), encoding="utf-8")
    return count


def _cut(tables: Iterator[pa.Table], size: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of which none reaches beyond a multiple of `size`."""
    num_rows = 0
    for table in tables:
        while table.num_rows:
            part = table.slice(0, size - num_rows % size)
            yield part
            num_rows += part.num_rows
            table = table.slice(part.num_rows)


def _up_to(tables: Iterator[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    taken = 0
    while taken < num_rows and (table := next(tables, None)) is not None:
        taken += table.num_rows
        yield table


def _tables(mixture: Artefact) -> Iterator[pa.Table]:
    return (table.select(EXAMPLE.names).cast(EXAMPLE) for table in shelf.batches(mixture))


def _messages(mixture: Artefact) -> Iterator[list[dict[str, str]]]:
    return (row["messages"] for row in shelf.rows(mixture, ["messages"]))


def _write_llama_factory(mixture: Artefact, folder: Path) -> int:
    folder.mkdir()
    file_name = f"{mixture.name}.jsonl"
    described = {
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"},
    }
    Staging(folder).write_json("dataset_info.json", {mixture.name: described})
    return write_json_lines(folder / file_name, ({"messages": messages} for messages in _messages(mixture)))
