"""What an endpoint must have before it listens: keys fit for who can reach it, and a certificate that works.

In: the recipe's `serve` part. Out: its keys and what its owner should know, or an error. Nothing is started: a certificate is tried in
memory, so that a run of hours does not end on a file that was missing all along.
"""

from __future__ import annotations

import ipaddress
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from mixray.certificates import certificates
from mixray.errors import ServingError
from mixray.recipe import Serve
from mixray.serving.keys import SHORTEST_OPEN_KEY, load_keys, refuse_short

OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Openness:
    """Who may ask, as (name, key), none where nobody chose a key; and what the owner should know."""

    keys: list[tuple[str, str]]
    warnings: tuple[str, ...]


def check(serve: Serve, key: str | None = None) -> Openness:
    """Look at what an endpoint is to be opened with.

    Args:
        serve: the recipe's part.
        key: goes before those of serve.keys_file and MIXRAY_API_KEY.

    Raises:
        ServingError: keys cannot be read, are missing or too short for a host that others can reach, or the certificate does not work.
    """
    keys = load_keys(serve.keys_file, key)
    warnings = []
    if serve.keys_file is not None and key is None and Path(serve.keys_file).stat().st_mode & OTHERS:
        warnings.append(f"others on this machine may open {serve.keys_file}: `chmod 600` it")
    if not is_loopback(serve.host):
        if not keys:
            raise ServingError(
                "An endpoint that others can reach needs a key of your own",
                seen=f"serve.host {serve.host}",
                do="put keys into serve.keys_file or MIXRAY_API_KEY; `openssl rand -hex 24` makes one",
            )
        refuse_short(keys, SHORTEST_OPEN_KEY)
        if serve.tls_cert is None:
            warnings.append(
                f"{serve.host} speaks plain http: whoever is on the way reads keys and answers; set serve.tls_cert and serve.tls_key"
            )
    if serve.tls_cert is not None and serve.tls_key is not None:
        try_certificate(serve.tls_cert, serve.tls_key)
    return Openness(keys, tuple(warnings))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def try_certificate(tls_cert: str, tls_key: str) -> None:
    """Shake hands as the endpoint and its own client will, in memory.

    Raises:
        ServingError: a file is missing or cannot be read, the two do not fit, or the certificate is not valid now.
    """
    for setting, file in (("serve.tls_cert", tls_cert), ("serve.tls_key", tls_key)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise ServingError(
                "A file for https cannot be read", seen=f"{setting} {file}: {error.strerror}", do="check its path and its mode"
            ) from error
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(tls_cert, tls_key, password=_nobody_is_asked)
        _shake_hands(certificates(tls_cert), server)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
        raise ServingError(
            "The certificate cannot be used",
            seen=f"{tls_cert} with {tls_key}: {reason}",
            rule="a PEM chain that begins with the endpoint's own certificate, valid now, and its key without a password",
            do="check serve.tls_cert and serve.tls_key",
        ) from error


def _nobody_is_asked() -> str:
    raise ValueError("the key has a password")


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
