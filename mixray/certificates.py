"""Whom a client of ours trusts: the machine's authorities, or one certificate of our own and nobody else.

In: nothing, or a PEM file. Out: a context for https. Nothing is kept.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import httpx

PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def certificates(tls_cert: str | None = None) -> ssl.SSLContext:
    """Return what an httpx client verifies by.

    Args:
        tls_cert: PEM file whose first certificate is the only one to trust, by whatever name its holder is called: for an endpoint of our
            own, which is asked at an address that its certificate need not name. What the machine trusts, where None.

    Raises:
        OSError: the file cannot be read; ssl.SSLError, a kind of it, where it holds no certificate.
    """
    if tls_cert is None:
        return httpx.create_ssl_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A name says nothing more of a peer that shows this very certificate, and proves that it has its key.
    context.check_hostname = False
    # One that an authority has signed ends the chain as a self-signed one does. The signers beside it in the file are not trusted: with
    # no name to check, they would let in whomever else they have signed.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=_first_certificate(Path(tls_cert)))
    return context


def _first_certificate(file: Path) -> str:
    found = PEM_CERTIFICATE.search(file.read_bytes())
    if found is None:
        raise ssl.SSLError(f"{file} holds no PEM certificate")
    return found[0].decode("ascii", errors="replace")
