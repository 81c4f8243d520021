"""Where keys come from, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixray.errors import ServingError
from mixray.serving.keys import Keys, load_keys


def test_a_file_holds_keys_with_and_without_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXRAY_API_KEY", "from-the-environment, and-another")
    (tmp_path / "keys").write_text("# who may ask\nanna:sk-1234:5678\n\n  sk-abcdefgh  \n")
    assert load_keys(str(tmp_path / "keys")) == [("anna", "sk-1234:5678"), ("key-2", "sk-abcdefgh")]
    assert load_keys(None) == [("key-1", "from-the-environment"), ("key-2", "and-another")]
    assert load_keys(None, "given") == [("key-1", "given")]
    monkeypatch.delenv("MIXRAY_API_KEY")
    assert load_keys(None) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no key"), ("# none\n", "holds no key"), ("short", "cannot be used"), ("has a space", "cannot be used"),
     ("anna:12345678\nanna:87654321", "there twice"), ("a:12345678\nb:12345678", "there twice")],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_is_refused_without_telling_a_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ServingError, match=message) as caught:
        load_keys(str(tmp_path / "keys"))
    assert not any(secret in str(caught.value) for secret in ("12345678", "short", "has a space"))
    with pytest.raises(ServingError, match="cannot be read"):
        load_keys(str(tmp_path / "nowhere"))


def test_only_digests_are_kept() -> None:
    keys = Keys.of([("a", "key-of-a"), ("b", "key-of-b")])
    assert [keys.who(f"Bearer {key}".encode()) for key in ("key-of-a", "key-of-b", "key-of-c", "")] == ["a", "b", None, None]
    assert keys.who(b"") is None
    assert "key-of" not in repr(keys)
