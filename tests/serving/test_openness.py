"""What an endpoint is opened with: looked at before anything starts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from certificate import self_signed, signed_by_another
from command_line import called

from mixray import pipeline
from mixray.errors import ServingError
from mixray.progress import Display
from mixray.recipe import Serve
from mixray.serving import check

LONG = "0123456789abcdef"


def test_certificates_that_work_are_taken_as_they_are(tmp_path: Path) -> None:
    for certificate, key in (self_signed(tmp_path), signed_by_another(tmp_path)):
        assert check(Serve(tls_cert=certificate, tls_key=key), LONG).warnings == ()


def test_certificates_that_cannot_work_are_told_before_ray_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIXRAY_API_KEY", raising=False)
    monkeypatch.setattr(pipeline, "ray_session", lambda: pytest.fail("Ray was started"))
    certificate, key = self_signed(tmp_path)
    _, anothers = signed_by_another(tmp_path)
    (tmp_path / "text").write_text("no PEM")
    nowhere = str(tmp_path / "nowhere.pem")
    for cert_file, key_file, message in (
        (nowhere, key, f"serve.tls_cert {nowhere}: No such file"),
        (certificate, nowhere, f"serve.tls_key {nowhere}: No such file"),
        (certificate, str(tmp_path), "Is a directory"),
        (certificate, anothers, "KEY_VALUES_MISMATCH"),
        (str(tmp_path / "text"), key, "cannot be used"),
        (certificate, certificate, "cannot be used"),
    ):
        with pytest.raises(ServingError, match=message):
            pipeline.serve({}, Serve(port=0, tls_cert=cert_file, tls_key=key_file), Display(io.StringIO()))


def test_the_command_says_which_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "serve",
        "tiny:student-s",
        "--storage",
        str(tmp_path),
        "--set",
        "serve.tls_cert=/nowhere/c",
        "--set",
        "serve.tls_key=/nowhere/k",
    ]
    assert called(*given) == 1
    assert "serve.tls_cert /nowhere/c" in capsys.readouterr().err


def test_others_are_let_in_with_long_keys_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIXRAY_API_KEY", raising=False)
    keys = tmp_path / "keys"
    keys.write_text(f"anna:{LONG}\nbert:{LONG[:-1]}\n")
    keys.chmod(0o600)
    assert check(Serve(keys_file=str(keys))).warnings == ()
    with pytest.raises(ServingError, match="bert: 15 characters; rule: 16 or more") as caught:
        check(Serve(host="0.0.0.0", keys_file=str(keys)))
    assert LONG[:-1] not in str(caught.value)
    with pytest.raises(ServingError, match="needs a key of your own"):
        check(Serve(host="0.0.0.0"))
    assert "plain http" in check(Serve(host="0.0.0.0"), LONG).warnings[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_of_keys_that_others_may_open_is_told(mode: int, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(LONG)
    keys.chmod(mode)
    (warning,) = check(Serve(keys_file=str(keys))).warnings
    assert f"others on this machine may open {keys}" in warning
