"""Rows of files and data sets: all of them, in order, the broken ones in their place."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixray import files
from mixray.errors import SourceError
from mixray.files import Unreadable, content_checksum, excerpt, raw_rows

ROWS = [{"id": "a", "text": "one\ntwo, three"}, {"id": "b", "text": 'say "four" ∞'}]


def written(path: Path, rows: list[dict[str, str]]) -> str:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    lines = [json.dumps(row) for row in rows]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return str(path)
    if kind == "csv":
        quoted = [",".join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in rows]
        text = "\n".join([",".join(rows[0]), *quoted])
    else:
        text = f"[{', '.join(lines)}]" if kind == "json" else "\n".join(lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["p.jsonl", "p.json", "p.csv", "p.parquet", "P.JSONL", "p.jsonl.gz", "p.csv.gz", "p.json.gz"])
def test_every_kind_of_file_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    assert list(raw_rows(written(tmp_path / name, ROWS))) == ROWS


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv.gz", "p.parquet"])
def test_a_remote_file_is_read_as_a_local_one(name: str, tmp_path: Path) -> None:
    content = Path(written(tmp_path / name, ROWS)).read_bytes()
    fsspec.filesystem("memory").pipe_file(f"/mixray/{name}", content)
    assert list(raw_rows(f"memory://mixray/{name}")) == ROWS
    before = content_checksum(f"memory://mixray/{name}")
    assert content_checksum(f"memory://mixray/{name}") == before
    fsspec.filesystem("memory").pipe_file(f"/mixray/{name}", content + b"\n")
    assert content_checksum(f"memory://mixray/{name}") != before


def test_a_json_file_may_hold_a_row_per_line(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("\n \n" + "\n".join(map(json.dumps, ROWS)))
    assert list(raw_rows(str(tmp_path / "p.json"))) == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,text\r\na,one\r\n\r\nb,two\r\n", encoding="utf-8-sig")
    assert list(raw_rows(str(tmp_path / "p.csv"))) == [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}]


@pytest.mark.parametrize(
    ("kind", "line", "reason", "told"),
    [
        ("jsonl", "not json", "not_json", "Expecting value"),
        ("jsonl", '{"text": "cut o', "not_json", "Unterminated string"),
        ("jsonl", "[" * 20_000, "not_json", "recursion"),
        ("jsonl", '{"text": ' + "9" * 5000 + "}", "not_json", "limit"),
        ("jsonl", '{"text": "' + "x" * 40_000 + '"}', "too_long", "40,012 bytes"),
        ("csv", "a,one,more", "ragged", "line 2: 3 values for 2 columns"),
        ("csv", "a", "ragged", "1 values for 2 columns"),
        ("csv", '"a"b,one', "not_csv", "lines 2 to 2"),
        ("csv", "a," + "x" * 40_000, "too_long", "40,002 bytes"),
    ],
)
def test_a_broken_row_stands_in_its_place(
    kind: str, line: str, reason: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE_BYTES", 30_000)
    monkeypatch.setattr(files, "CHUNK_BYTES", 1000)
    good = '{"id": "b", "text": "two"}' if kind == "jsonl" else "b,two"
    (tmp_path / f"p.{kind}").write_text("\n".join([*(["id,text"] if kind == "csv" else []), line, good]))
    broken, after = raw_rows(str(tmp_path / f"p.{kind}"))
    assert isinstance(broken, Unreadable)
    assert broken.reason == reason
    assert told in broken.detail
    assert broken.content.isascii()
    assert len(broken.content) <= 2000
    assert after == {"id": "b", "text": "two"}


def test_a_stray_quote_does_not_pass_for_a_value(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('id,text\na,one\nb,"two\nc,three\n')
    first, broken = raw_rows(str(tmp_path / "p.csv"))
    assert first == {"id": "a", "text": "one"}
    assert isinstance(broken, Unreadable)
    assert "lines 3 to 4" in broken.detail


def test_a_parquet_text_that_is_no_text_stands_in_its_place(tmp_path: Path) -> None:
    texts = pa.array([b"one", b"\xed\xa0\x80", b"three"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"text": texts}), tmp_path / "p.parquet")
    one, broken, three = raw_rows(str(tmp_path / "p.parquet"))
    assert [one, three] == [{"text": "one"}, {"text": "three"}]
    assert isinstance(broken, Unreadable)
    assert broken.reason == "not_text"


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(st.binary().map(lambda line: line.replace(b"\n", b""))), chunk=st.integers(1, 50), longest=st.integers(1, 30))
def test_lines_come_whole_whatever_the_chunks(lines: list[bytes], chunk: int, longest: int) -> None:
    data = b"\n".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LONGEST_LINE_BYTES", longest)
        got = list(files._lines(data[start : start + chunk] for start in range(0, len(data), chunk)))
    expected = lines[:-1] if lines and not lines[-1] else lines  # a newline at the end begins no line
    assert got == [(line[:longest], len(line)) for line in expected]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.txt", b"text", r"unknown kind.*p\.txt.*\.jsonl, \.json, \.csv, \.parquet"),
        ("p.gz", b"text", r"unknown kind"),
        ("p.parquet", b"no parquet", r"cannot be read.*p\.parquet.*Parquet"),
        ("p.jsonl.gz", b"no gzip", r"cannot be read.*[Nn]ot a gzipped file"),
        ("p.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 100_000)[:500], r"cannot be read.*EOFError"),
        ("p.jsonl.xz", lzma.compress(b'{"a": 1}\n' * 100_000)[:100], r"cannot be read.*EOFError"),
        ("p.json", b'[{"a": 1},', r"cannot be read.*JSONDecodeError"),
    ],
)
def test_a_file_that_breaks_off_is_an_error(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=told):
        list(raw_rows(str(tmp_path / name)))


@pytest.mark.parametrize("source", ["nowhere.jsonl", "memory://nowhere/p.jsonl", "nosuchplace://p.jsonl"])
def test_a_missing_file_is_told(source: str) -> None:
    with pytest.raises(SourceError, match=f"cannot be read.*{source}"):
        list(raw_rows(source))
    with pytest.raises(SourceError, match=f"cannot be read.*{source}"):
        content_checksum(source)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `datasets` library with an empty cache of its own, and no hub."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_a_folder_is_a_data_set_with_splits(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    written(folder / "train.jsonl", ROWS)
    written(folder / "test.jsonl", ROWS[:1])
    assert list(raw_rows(f"hf:{folder}")) == ROWS
    assert list(raw_rows(f"hf:{folder}", "test")) == ROWS[:1]
    before = content_checksum(f"hf:{folder}")
    written(folder / "test.jsonl", ROWS)
    assert content_checksum(f"hf:{folder}") != before
    with pytest.raises(SourceError, match=r"cannot be read.*validation"):
        list(raw_rows(f"hf:{folder}", "validation"))


@pytest.mark.usefixtures("offline")
def test_a_hub_data_set_that_cannot_be_had_is_told() -> None:
    with pytest.raises(SourceError, match=r"cannot be read.*hf:nobody/nothing:main@abc"):
        list(raw_rows("hf:nobody/nothing:main@abc"))
    assert content_checksum("hf:nobody/nothing:main@abc") is None


nested: Any = []
for _ in range(100_000):
    nested = [nested]


@pytest.mark.parametrize("row", [{"text": "x" * 10_000_000}, "\ud800" * 10_000, ["∞"] * 10_000, nested, {"a": nested}, None, 3])
def test_an_excerpt_is_short_and_ascii(row: Any) -> None:
    assert excerpt(row).isascii()
    assert len(excerpt(row)) <= 2000
