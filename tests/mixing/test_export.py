"""Exports are checked by loading them: every format gives the mixture's messages back, in training order."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, get_args

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from made_up_mixtures import make_mixture, make_pools

from mixray.errors import MixtureError, StoreError
from mixray.mixing import export as exporting
from mixray.mixing import shelf
from mixray.mixing.card import card
from mixray.mixing.export import FOLDERS, Format, export
from mixray.rows import EXAMPLE
from mixray.store import Artefact, Store

FORMATS = get_args(Format)
Messages = list[list[dict[str, str]]]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """Eight rows with a system turn, control characters and line separators. Read only."""
    store = Store(str(tmp_path_factory.mktemp("export") / "runs"))
    return make_mixture(store, "half", make_pools(store), [0, 1, 2, 3])


def messages(mixture: Artefact) -> Messages:
    return [row["messages"] for row in shelf.rows(mixture)]


def loaded(kind: str, path: Path, scratch: Path) -> datasets.Dataset:
    return datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(scratch / "cache"))


@pytest.mark.parametrize("form", ["messages-jsonl", "trl", "axolotl"])
def test_messages_are_one_object_for_each_line(form: Format, half: Artefact, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert export(half, out, form) == 8
    lines = out.read_text(encoding="utf-8").split("\n")
    assert (len(lines), lines[-1]) == (9, "")
    assert [json.loads(line) for line in lines[:-1]] == [{"messages": turns} for turns in messages(half)]
    rows = loaded("json", out, tmp_path)
    assert rows.column_names == ["messages"]
    assert rows["messages"][:] == messages(half)


def test_prompt_completion_splits_before_the_last_turn(half: Artefact, tmp_path: Path) -> None:
    assert export(half, tmp_path / "out.jsonl", "prompt-completion") == 8
    rows = loaded("json", tmp_path / "out.jsonl", tmp_path)
    assert rows.column_names == ["prompt", "completion"]
    assert [row["prompt"] + row["completion"] for row in rows] == messages(half)
    assert {tuple(turn["role"] for turn in row["completion"]) for row in rows} == {("assistant",)}


def test_llama_factory_finds_the_file_and_its_tags(half: Artefact, tmp_path: Path) -> None:
    assert export(half, tmp_path / "out", "llama-factory") == 8
    (described,) = [json.loads((tmp_path / "out/dataset_info.json").read_text())["half"]]
    assert (described["formatting"], described["columns"]) == ("sharegpt", {"messages": "messages"})
    rows = loaded("json", tmp_path / "out" / described["file_name"], tmp_path)
    tags = described["tags"]
    roles = {tags[f"{role}_tag"]: role for role in ("system", "user", "assistant")}
    told = [[{"role": roles[turn[tags["role_tag"]]], "content": turn[tags["content_tag"]]} for turn in row["messages"]] for row in rows]
    assert told == messages(half)


def test_parquet_keeps_where_each_row_is_from(half: Artefact, tmp_path: Path) -> None:
    assert export(half, tmp_path / "out.parquet", "parquet") == 8
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.equals(EXAMPLE)
    assert table.equals(half.read_table())
    assert loaded("parquet", tmp_path / "out.parquet", tmp_path)["messages"][:] == messages(half)


def test_a_data_set_is_loaded_both_ways(half: Artefact, tmp_path: Path) -> None:
    assert export(half, tmp_path / "out", "datasets") == 8
    one = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    two = datasets.load_from_disk(str(tmp_path / "out"))["train"]
    for rows in (one, two):
        assert rows.column_names == EXAMPLE.names
        assert rows.to_list() == half.read_table().to_pylist()
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "data", "dataset_dict.json", "train"]


def test_a_large_data_set_is_cut_into_shards_of_whole_size(half: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, sizes in ((3, [3, 3, 2]), (4, [4, 4]), (1, [1] * 8)):
        monkeypatch.setattr(exporting, "ROWS_PER_SHARD", size)
        folder = tmp_path / str(size)
        assert export(half, folder, "datasets") == 8
        shards = sorted((folder / "data").iterdir())
        assert [pq.read_metadata(shard).num_rows for shard in shards] == sizes
        assert shards[0].name == f"train-00000-of-{len(sizes):05}.parquet"
        rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
        assert rows["messages"][:] == messages(half)


def test_the_card_tells_license_size_pools_shares_and_hashes(half: Artefact) -> None:
    _, head, body = card(half).split("---\n", 2)
    told: dict[str, Any] = yaml.safe_load(head)
    assert (told["license"], told["size_categories"], told["task_categories"]) == ("unknown", ["n<1K"], ["text-generation"])
    assert told["mixray"]["hash"] == half.hash
    assert {name: pool["hash"] for name, pool in told["mixray"]["pools"].items()} == shelf.pool_hashes(half)
    assert told["mixray"]["pools"]["long"] | {"hash": ""} == {"hash": "", "asked": 0.5, "rows": 4, "tokens": 160, "loss_tokens": 120}
    assert f"`pools/long-{shelf.pool_hashes(half)['long']}`" in body
    assert "| long | 50.0% | 4 (50.0%) | 160 (74.1%) | 120 (88.2%) |" in body
    assert "| contaminated | 4 | 8 | 16 |" in body
    assert str(half.store.root) not in head + body, "nothing of the machine is told"
    assert "license: apache-2.0\n" in card(half, "apache-2.0")
    with pytest.raises(MixtureError, match="A license is wrong; seen: MIT: yes"):
        card(half, "MIT: yes")


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_written_over_unless_forced(form: Format, half: Artefact, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(half, out, form)
    with pytest.raises(MixtureError, match="nothing is written over"):
        export(half, out, form)
    assert export(half, out, form, force=True) == 8
    assert os.listdir(tmp_path) == ["out"]
    assert out.is_dir() == (form in FOLDERS)


def test_a_former_export_with_more_parts_gives_way(half: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ROWS_PER_SHARD", 3)
    export(half, tmp_path / "out", "datasets")
    monkeypatch.setattr(exporting, "ROWS_PER_SHARD", 50)
    export(half, tmp_path / "out", "datasets", force=True)
    assert len(list((tmp_path / "out/data").iterdir())) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_force_never_removes_what_is_no_export(form: Format, half: Artefact, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "data").mkdir(parents=True)
    (mine / "data" / "thesis.txt").write_text("years of work")
    with pytest.raises(MixtureError, match="no former export of this kind"):
        export(half, mine, form, force=True)
    assert (mine / "data" / "thesis.txt").read_text() == "years of work"
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize("form", FOLDERS)
def test_a_folder_never_replaces_a_file_or_a_link(form: Format, half: Artefact, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(MixtureError, match="no former export of this kind"):
            export(half, tmp_path / name, form, force=True)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_breaks_off_leaves_what_was_there(form: Format, half: Artefact, tmp_path: Path) -> None:
    copy = Store(str(tmp_path / "runs"))
    shutil.copytree(half.store.root, copy.root)
    broken = shelf.find(copy, "half")
    out = tmp_path / "new" / "out"
    export(broken, out, form)
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    part = max(Path(broken.path).glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match="not what its manifest says"):
        export(broken, out, form, force=True)
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    assert os.listdir(tmp_path / "new") == ["out"]


def test_a_place_that_cannot_be_written_is_told(half: Artefact, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MixtureError, match="A mixture cannot be exported"):
        export(half, tmp_path / "file" / "out", "trl")
