"""Certificates that no machine trusts."""

from __future__ import annotations

import subprocess
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def self_signed(folder: Path, name: str = "elsewhere.example") -> tuple[str, str]:
    """Return the files of a certificate for a host called `name`, and of its key."""
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    _openssl("req", "-x509", *NEW_KEY, "-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key,
             "-out", certificate)  # fmt: skip
    return certificate, key


def signed_by_another(folder: Path, name: str = "elsewhere.example") -> tuple[str, str]:
    """Return the files of a chain, a certificate for `name` before that of its signer, and of its key; one folder has one signer."""
    signer, signer_key = str(folder / "signer.pem"), str(folder / "signer.key")
    asked, certificate, chain, key = (str(folder / f"{name}.{ending}") for ending in ("csr", "pem", "chain", "key"))
    if not Path(signer).exists():
        _openssl("req", "-x509", *NEW_KEY, "-days", "1", "-subj", "/CN=signer", "-keyout", signer_key, "-out", signer)
    _openssl("req", *NEW_KEY, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", asked)
    _openssl(
        "x509", "-req", "-in", asked, "-CA", signer, "-CAkey", signer_key, "-days", "1", "-copy_extensions", "copy", "-out", certificate
    )
    Path(chain).write_text(Path(certificate).read_text() + Path(signer).read_text())
    return chain, key


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
